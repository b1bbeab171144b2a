/* Draws Gaussians at any scale with WebGL2: splatbench.createRenderer(canvas). The mathematics is that of
   docs/renderer.md; beyond native resolution the same function is evaluated at finer positions. */
(function (sb) {
  "use strict";

  const KEPT = 4; // pictures whose numbers stay on the GPU
  const MAX_K = 32;
  const MAX_SAMPLES = 4; // along each side of a shown pixel, where the view is smaller than the picture
  const MAX_TARGET = 2 ** 24; // pixels of a float target
  const GREATEST = 3.4e38;
  const NO_WEBGL = "This browser offers no WebGL2, which drawing Gaussians needs; choose decoded pixels instead.";
  const LOST = "The browser has taken the graphics away from this page; they come back when it can.";

  class Renderer {
    constructor(canvas) {
      this.canvas = canvas;
      this.info = { ok: false, precision: null, samples: 1, message: "" };
      this.pictures = new Map();
      this.lost = (event) => {
        event.preventDefault(); // asks for the context to be restored
        this.stop(LOST);
      };
      this.restored = () => this.start();
      this.gl = canvas.getContext("webgl2", { antialias: false, depth: false, preserveDrawingBuffer: true });
      if (!this.gl) {
        this.stop(NO_WEBGL);
        return;
      }
      canvas.addEventListener("webglcontextlost", this.lost);
      canvas.addEventListener("webglcontextrestored", this.restored);
      this.start();
    }

    start() {
      this.pictures.clear();
      this.target = null;
      try {
        this.gpu = new sb.drawing.Gpu(this.gl);
        const precision = this.gpu.blendFormat === this.gl.RGBA32F ? "32F" : "16F";
        Object.assign(this.info, { ok: true, precision, message: "" });
      } catch (error) {
        this.stop(error.message);
      }
    }

    stop(message) {
      this.gpu = null;
      Object.assign(this.info, { ok: false, message });
    }

    /**
     * Draws what `splatbench.s2d.gaussians` gives.
     *
     * @param {Object} gaussians
     * @param {{x: number, y: number, scale: number}} view picture coordinates of the canvas' top left corner, and
     *   canvas pixels per picture pixel.
     * @returns {boolean} whether it was drawn; if not, info.message is a sentence that says why.
     */
    draw(gaussians, view) {
      if (!this.gpu) return false;
      this.info.message = "";
      try {
        checkDrawable(gaussians, view);
        this.show(gaussians, view);
      } catch (error) {
        this.info.message = error.message;
        this.gpu.into(null, this.canvas.width, this.canvas.height);
        this.gl.clearColor(0, 0, 0, 0);
        this.gl.clear(this.gl.COLOR_BUFFER_BIT);
        return false;
      }
      return true;
    }

    show(gaussians, view) {
      const { width, height } = this.canvas;
      const most = Math.min(this.gpu.maxSide / Math.max(width, height), Math.sqrt(MAX_TARGET / (width * height)));
      const samples = Math.max(1, Math.min(MAX_SAMPLES, Math.ceil(1 / view.scale), Math.floor(most)));
      this.info.samples = samples;
      const picture = this.picture(gaussians);
      const last = gaussians.layers[gaussians.layers.length - 1];
      // a level that is coarser than the picture is a picture to be enlarged, not a function to be looked into
      const own = last.size[0] === gaussians.size[0] && last.size[1] === gaussians.size[1];
      const base = this.base(gaussians, picture, gaussians.layers.length - (own ? 1 : 0));
      const place = { ...view, scale: view.scale * samples, width: width * samples, height: height * samples };
      const drawn = this.scratch(place.width, place.height, last);
      if (own) this.drawLayer(last, picture, drawn, place);
      this.resolve(drawn, base, own ? last : null, gaussians, place, { width, height, samples });
    }

    /** The GPU's side of a picture; the one not drawn for longest makes room. */
    picture(gaussians) {
      const found = this.pictures.get(gaussians) || { layers: new Map(), base: null };
      this.pictures.delete(gaussians);
      this.pictures.set(gaussians, found);
      if (this.pictures.size > KEPT) {
        const [oldest, { layers, base }] = this.pictures.entries().next().value;
        layers.forEach((layer) => this.gpu.free(layer));
        if (base) this.gpu.free({ textures: [base.texture] });
        this.pictures.delete(oldest);
      }
      return found;
    }

    layer(layer, picture) {
      if (picture.layers.has(layer)) return picture.layers.get(layer);
      const prepared = sb.drawing.prepare(layer);
      const numbers = this.gpu.numbers(prepared.numbers);
      const made = { limit: Math.min(prepared.limit, GREATEST), numbers, textures: [numbers], instances: [] };
      if (prepared.instances) {
        made.rows = this.gpu.instances(prepared.instances);
        made.instances.push(made.rows);
      } else {
        const { tilesX, tilesY, starts, ids } = prepared.lists;
        made.lists = { tiles: [tilesX, tilesY], starts: this.gpu.list(starts), ids: this.gpu.list(ids) };
        made.textures.push(made.lists.starts, made.lists.ids);
      }
      picture.layers.set(layer, made);
      return made;
    }

    /** A float target that is used again while size and format stay. */
    scratch(width, height, layer) {
      const blends = layer.blend === "sum" || layer.blend === "signed";
      const format = blends ? this.gpu.blendFormat : this.gpu.plainFormat;
      const old = this.target;
      if (old && old.width === width && old.height === height && old.format === format) return old.texture;
      if (old) this.gpu.free({ textures: [old.texture] });
      this.target = null;
      this.target = { width, height, format, texture: this.gpu.texture(format, width, height) };
      return this.target.texture;
    }

    /** One layer, not clamped, into a texture. `place`: {x, y, scale, width, height} in this layer's pixels. */
    drawLayer(layer, picture, texture, place) {
      const { gl, gpu } = this;
      const made = this.layer(layer, picture);
      gpu.into(texture, place.width, place.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const corner = [Math.fround(place.x), Math.fround(place.y)];
      const tile = [place.x, place.y].map((at) => Math.floor(at / sb.drawing.TILE));
      const values = {
        numbers: made.numbers,
        corner,
        cornerRest: [place.x - corner[0], place.y - corner[1]],
        scale: place.scale,
        limit: made.limit,
        target: [place.width, place.height],
        indefinite: layer.blend === "signed",
        ...made.lists,
        cornerTile: tile,
        inTile: [place.x - sb.drawing.TILE * tile[0], place.y - sb.drawing.TILE * tile[1]],
        background: layer.background,
        epsilon: layer.topk ? layer.topk.epsilon : 0,
      };
      const { SUM_VERTEX, SUM_FRAGMENT, FULL_VERTEX, ALPHA_FRAGMENT, topkFragment } = sb.drawing.shaders;
      if (made.rows) {
        gpu.use(gpu.program("sum", SUM_VERTEX, SUM_FRAGMENT), values);
        gl.enable(gl.BLEND);
        gl.blendFunc(gl.ONE, gl.ONE);
        gl.bindVertexArray(made.rows.array);
        gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, made.rows.count);
        gl.bindVertexArray(null);
        gl.disable(gl.BLEND);
      } else {
        const { k } = layer.topk;
        const fragment = layer.blend === "topk" ? topkFragment(k) : ALPHA_FRAGMENT;
        gpu.use(gpu.program(layer.blend === "topk" ? `topk ${k}` : "alpha", FULL_VERTEX, fragment), values);
        gpu.cover();
      }
    }

    /** The first `count` layers composed at their own resolutions: {texture, size}, or null for none. */
    base(gaussians, picture, count) {
      if (count === 0 || picture.base) return picture.base;
      let base = null;
      for (const layer of gaussians.layers.slice(0, count)) {
        const [height, width] = layer.size;
        if (width * height > MAX_TARGET) {
          throw new Error(`A level of ${width} x ${height} pixels is more than the ${MAX_TARGET} that a page draws.`);
        }
        const place = { x: 0, y: 0, scale: 1, width, height };
        this.drawLayer(layer, picture, this.scratch(width, height, layer), place);
        const texture = this.gpu.texture(this.gpu.plainFormat, width, height);
        this.resolve(this.target.texture, base, layer, layer, place, { width, height, samples: 1, texture });
        if (base) this.gpu.free({ textures: [base.texture] });
        base = { texture, size: layer.size };
      }
      picture.base = base;
      return base;
    }

    /** From what a layer has drawn to a picture, on the canvas or in `shown.texture`; no layer: the base alone. */
    resolve(drawn, base, layer, { size }, place, shown) {
      const { gpu } = this;
      const range = (layer && layer.range) || { low: 0.5, high: 0.5 };
      gpu.into(shown.texture || null, shown.width, shown.height);
      const { FULL_VERTEX, RESOLVE_FRAGMENT } = sb.drawing.shaders;
      gpu.use(gpu.program("resolve", FULL_VERTEX, RESOLVE_FRAGMENT), {
        drawn,
        base: base ? base.texture : drawn,
        hasBase: base !== null,
        show: !shown.texture,
        stretch: [range.high - range.low, range.low - 0.5],
        corner: [place.x, place.y],
        size: [size[1], size[0]],
        baseRatio: base ? [base.size[1] / size[1], base.size[0] / size[0]] : [1, 1],
        scale: place.scale,
        gamma: layer ? layer.gamma : 1,
        samples: shown.samples,
        shownRows: shown.height,
      });
      gpu.cover();
    }

    /** Gives all memory of the GPU back; nothing is drawn afterwards. */
    dispose() {
      this.canvas.removeEventListener("webglcontextlost", this.lost);
      this.canvas.removeEventListener("webglcontextrestored", this.restored);
      if (this.gpu) this.gpu.dispose();
      this.pictures.clear();
      this.target = null;
      this.stop("This view has been closed.");
    }
  }

  function checkDrawable(gaussians, { x, y, scale }) {
    if (!(Number.isFinite(x) && Number.isFinite(y) && scale > 0 && scale < Infinity)) {
      throw new Error(`A view needs a finite corner and a scale above 0, got ${x}, ${y} and ${scale}.`);
    }
    const topk = gaussians.layers.find((layer) => layer.blend === "topk" && layer.topk.k > MAX_K);
    if (topk) throw new Error(`The ${topk.topk.k} largest responses are averaged; this page chooses at most ${MAX_K}.`);
  }

  /**
   * A renderer on a canvas that has no context yet.
   *
   * Its info: {ok, precision: "32F" or "16F" of sums, samples: per canvas pixel and side, message: a sentence where
   * nothing can be drawn}. It throws nothing.
   */
  sb.createRenderer = (canvas) => new Renderer(canvas);
})((window.splatbench = window.splatbench || {}));
