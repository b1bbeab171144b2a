/* One side of a comparison: its canvases, and what is drawn on them. */
(function (sb) {
  "use strict";

  const MOST_ELLIPSES = 6000; // more cannot be told apart, and take long

  /** Left or right. Nothing is ever read back from a canvas: pictures of pages that are opened as files forbid it. */
  class Side {
    /**
     * @param name "Left" or "Right"
     * @param spec of sb.compare
     * @param ready called when something has been loaded that can be drawn now
     */
    constructor(name, spec, ready) {
      Object.assign(this, { name, spec, ready, source: null, layer: "pixels", image: null, gaussians: null });
      this.pixels = sb.element("canvas");
      this.drawn = sb.element("canvas", { class: "compare-drawn" });
      this.overlay = sb.element("canvas");
      this.caption = sb.element("span", { class: "compare-caption", "aria-hidden": "true" });
      this.message = sb.element("p", { class: "compare-message", role: "alert", hidden: true });
      this.element = sb.element(
        "div", { class: "compare-side compare-" + name.toLowerCase() },
        this.pixels, this.drawn, this.overlay, this.caption, this.message,
      );
      this.said = new Map();
      this.loads = 0;
    }

    /** Shows a source: loads what its layers need, then draws. A later call overtakes an earlier one. */
    async show(source, layer, withGaussians) {
      const load = ++this.loads;
      const changed = source !== this.source;
      Object.assign(this, { source, layer });
      this.caption.textContent = this.name + ": " + source.label;
      if (changed) Object.assign(this, { image: null, gaussians: null });
      const needsGaussians = source.file && (withGaussians || layer === "gaussians" || layer === "density");
      this.say("errors", "");
      const results = await Promise.allSettled([
        source.image ? sb.picture(source.image) : null,
        needsGaussians ? sb.gaussiansOf(source.file) : this.gaussians,
      ]);
      if (load !== this.loads) return;
      [this.image, this.gaussians] = results.map((result) => (result.status === "fulfilled" ? result.value : null));
      const errors = results.filter((result) => result.status === "rejected").map((result) => result.reason.message);
      if (!source.image && !source.file) errors.push("There is no picture and no encoded file of it here.");
      this.say("errors", errors.join(" "));
      this.ready();
    }

    /** Shows a sentence on the picture; each kind has one at a time, an empty one takes it away. */
    say(kind, text) {
      if ((this.said.get(kind) || "") === text) return;
      this.said.set(kind, text);
      const all = [...this.said.values()].filter(Boolean);
      this.message.textContent = all.length ? this.name + ": " + all.join(" ") : "";
      this.message.hidden = !all.length;
    }

    /** Draws the chosen layer.
     *
     *  against: the image that errors are taken to, or null; settings: {gain, ellipses, sigma}.
     *  Returns {ellipses: what drawEllipses returns, density: what drawDensity returns}, where they were drawn.
     */
    draw(view, ratio, against, settings) {
      for (const canvas of [this.pixels, this.drawn, this.overlay]) fitCanvas(canvas, view, ratio);
      const here = view.onCanvas(ratio);
      const error = this.layer === "error";
      const context = this.pixels.getContext("2d");
      context.clearRect(0, 0, this.pixels.width, this.pixels.height);
      this.pixels.style.filter = error ? "brightness(" + settings.gain + ")" : "";
      if (this.image && (against || !error)) this._paint(context, this.image, here);
      if (error && this.image && against) {
        context.globalCompositeOperation = "difference";
        this._paint(context, against, here);
        context.globalCompositeOperation = "source-over";
      }
      this._drawGaussians(here);
      return this._drawOverlay(here, settings);
    }

    _paint(context, image, view) {
      const [width, height] = extent(image, this.spec);
      // Beyond one canvas pixel per image pixel, every image pixel is a square.
      context.imageSmoothingEnabled = view.scale * width / image.naturalWidth <= 1;
      context.imageSmoothingQuality = "high";
      context.save();
      this._clip(context, view);
      context.drawImage(image, -view.x * view.scale, -view.y * view.scale, width * view.scale, height * view.scale);
      context.restore();
    }

    _drawGaussians(view) {
      const wanted = this.layer === "gaussians" && this.gaussians;
      const drawn = Boolean(wanted) && this._renderer().draw(this.gaussians, view);
      this.say("renderer", wanted && !drawn ? this.renderer.info.message : "");
      this.drawn.hidden = !drawn;
      if (!drawn) return;
      const [left, top, right, bottom] = this._frame(view);
      const { width, height } = this.drawn;
      const share = [top / height, 1 - right / width, 1 - bottom / height, left / width];
      this.drawn.style.clipPath = "inset(" + share.map((part) => 100 * Math.max(0, part) + "%").join(" ") + ")";
    }

    _renderer() {
      if (!this.renderer) {
        this.renderer = sb.createRenderer(this.drawn);
        this.drawn.addEventListener("webglcontextrestored", this.ready);
      }
      return this.renderer;
    }

    _drawOverlay(view, settings) {
      // An empty overlay is taken away: behind slow WebGL frames Chromium may show what was cleared for seconds.
      this.overlay.hidden = !this.gaussians || !(settings.ellipses || this.layer === "density");
      this.overlay.width = this.overlay.width; // a new bitmap, for the same reason, rather than clearRect
      if (this.overlay.hidden) return {};
      const context = this.overlay.getContext("2d");
      const done = {};
      context.save();
      this._clip(context, view);
      if (this.layer === "density") done.density = sb.drawDensity(context, this.gaussians, view);
      context.restore();
      if (settings.ellipses) {
        done.ellipses = sb.drawEllipses(context, this.gaussians, view, { sigma: settings.sigma, limit: MOST_ELLIPSES });
      }
      return done;
    }

    /** The picture's place on a canvas: left, top, right, bottom. */
    _frame(view) {
      const place = (x, y) => [(x - view.x) * view.scale, (y - view.y) * view.scale];
      return [...place(0, 0), ...place(this.spec.width, this.spec.height)];
    }

    _clip(context, view) {
      const [left, top, right, bottom] = this._frame(view);
      context.beginPath();
      context.rect(left, top, right - left, bottom - top);
      context.clip();
    }

    dispose() {
      this.loads++;
      if (this.renderer) this.renderer.dispose();
      this.element.remove();
    }
  }

  /** Sides of the area that an image covers, in picture pixels. The last pixels of a reduced image may hang over. */
  function extent(image, spec) {
    const step = spec.reduced || 1;
    if (image.naturalWidth === Math.ceil(spec.width / step)) return [image.naturalWidth * step, image.naturalHeight * step];
    return [spec.width, spec.height];
  }

  function fitCanvas(canvas, view, ratio) {
    const width = Math.max(1, Math.round(view.paneWidth * ratio));
    const height = Math.max(1, Math.round(view.paneHeight * ratio));
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
  }

  sb.ComparisonSide = Side;
})((window.splatbench = window.splatbench || {}));
