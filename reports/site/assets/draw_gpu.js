/* A thin layer over WebGL2 for draw.js: programs, textures of numbers, float targets, and an end to all of them. */
(function (sb) {
  "use strict";

  const LIST_WIDTH = 2048;
  const GAUSSIANS_PER_ROW = 512;

  class Gpu {
    /** @throws {Error} with a sentence, where the context cannot draw into numbers. */
    constructor(gl) {
      this.gl = gl;
      const full = gl.getExtension("EXT_color_buffer_float");
      const half = full || gl.getExtension("EXT_color_buffer_half_float");
      if (!half) {
        throw new Error("This browser's graphics cannot draw into floating-point pictures (EXT_color_buffer_float).");
      }
      const blends = full && gl.getExtension("EXT_float_blend");
      this.plainFormat = full ? gl.RGBA32F : gl.RGBA16F;
      this.blendFormat = blends ? gl.RGBA32F : gl.RGBA16F;
      this.maxSide = gl.getParameter(gl.MAX_TEXTURE_SIZE);
      this.programs = new Map();
      this.textures = new Set();
      this.buffers = new Set();
      this.arrays = new Set();
      this.framebuffer = gl.createFramebuffer();
    }

    compile(kind, source) {
      const shader = this.gl.createShader(kind);
      this.gl.shaderSource(shader, source);
      this.gl.compileShader(shader);
      return shader;
    }

    program(key, vertex, fragment) {
      const { gl } = this;
      if (this.programs.has(key)) return this.programs.get(key);
      const handle = gl.createProgram();
      const shaders = [this.compile(gl.VERTEX_SHADER, vertex), this.compile(gl.FRAGMENT_SHADER, fragment)];
      shaders.forEach((shader) => gl.attachShader(handle, shader));
      gl.linkProgram(handle);
      if (!gl.getProgramParameter(handle, gl.LINK_STATUS) && !gl.isContextLost()) {
        const why = [gl.getProgramInfoLog(handle), ...shaders.map((shader) => gl.getShaderInfoLog(shader))].join(" ");
        throw new Error(`This browser's graphics refuse a shader (${key}): ${why.trim()}`);
      }
      shaders.forEach((shader) => gl.deleteShader(shader)); // the program keeps them while it lives
      const uniforms = new Map();
      const count = gl.getProgramParameter(handle, gl.ACTIVE_UNIFORMS) || 0;
      for (let i = 0; i < count; i++) {
        const { name, type } = gl.getActiveUniform(handle, i);
        uniforms.set(name, { type, at: gl.getUniformLocation(handle, name) });
      }
      this.programs.set(key, { handle, uniforms });
      return this.programs.get(key);
    }

    /** Makes a program current and sets its uniforms; textures are given as textures. */
    use(program, values) {
      const { gl } = this;
      const set = {
        [gl.FLOAT]: (at, v) => gl.uniform1f(at, v),
        [gl.FLOAT_VEC2]: (at, v) => gl.uniform2f(at, v[0], v[1]),
        [gl.INT_VEC2]: (at, v) => gl.uniform2i(at, v[0], v[1]),
        [gl.INT]: (at, v) => gl.uniform1i(at, v),
        [gl.BOOL]: (at, v) => gl.uniform1i(at, v ? 1 : 0),
      };
      gl.useProgram(program.handle);
      let unit = 0;
      for (const [name, { type, at }] of program.uniforms) {
        if (set[type]) {
          set[type](at, values[name]);
        } else {
          gl.activeTexture(gl.TEXTURE0 + unit);
          gl.bindTexture(gl.TEXTURE_2D, values[name]);
          gl.uniform1i(at, unit++);
        }
      }
    }

    texture(internal, width, height, format, type, data) {
      const { gl } = this;
      if (Math.max(width, height) > this.maxSide) {
        throw new Error(`This browser's graphics hold ${this.maxSide} numbers a side, not ${width} x ${height}.`);
      }
      const texture = gl.createTexture();
      this.textures.add(texture);
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
        gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
      }
      if (data) gl.texImage2D(gl.TEXTURE_2D, 0, internal, width, height, 0, format, type, data);
      else gl.texStorage2D(gl.TEXTURE_2D, 1, internal, width, height);
      return texture;
    }

    /** The packed numbers of `drawing.prepare`. */
    numbers(values) {
      const { gl } = this;
      const width = GAUSSIANS_PER_ROW * sb.drawing.TEXELS;
      const rows = Math.max(1, Math.ceil(values.length / (4 * width)));
      const padded = new Float32Array(4 * width * rows);
      padded.set(values);
      return this.texture(gl.RGBA32F, width, rows, gl.RGBA, gl.FLOAT, padded);
    }

    /** A list of indices. */
    list(values) {
      const { gl } = this;
      const rows = Math.max(1, Math.ceil(values.length / LIST_WIDTH));
      const padded = new Uint32Array(LIST_WIDTH * rows);
      padded.set(values);
      return this.texture(gl.R32UI, LIST_WIDTH, rows, gl.RED_INTEGER, gl.UNSIGNED_INT, padded);
    }

    /** Rows of five whole numbers, one per instance. */
    instances(rows) {
      const { gl } = this;
      const array = gl.createVertexArray();
      const buffer = gl.createBuffer();
      this.arrays.add(array);
      this.buffers.add(buffer);
      gl.bindVertexArray(array);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, rows, gl.STATIC_DRAW);
      [[0, 1, 0], [1, 4, 4]].forEach(([at, count, offset]) => {
        gl.enableVertexAttribArray(at);
        gl.vertexAttribIPointer(at, count, gl.INT, 20, offset);
        gl.vertexAttribDivisor(at, 1);
      });
      gl.bindVertexArray(null);
      return { array, buffer, count: rows.length / 5 };
    }

    /** Draws follow into this texture; into the canvas with null. */
    into(texture, width, height) {
      const { gl } = this;
      gl.bindFramebuffer(gl.FRAMEBUFFER, texture ? this.framebuffer : null);
      if (texture) {
        gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
        if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE && !gl.isContextLost()) {
          throw new Error(`This browser's graphics cannot draw into a picture of ${width} x ${height} numbers.`);
        }
      }
      gl.viewport(0, 0, width, height);
    }

    /** One triangle over the whole target. */
    cover() {
      this.gl.drawArrays(this.gl.TRIANGLES, 0, 3);
    }

    free({ textures = [], instances = [] }) {
      for (const texture of textures) {
        this.gl.deleteTexture(texture);
        this.textures.delete(texture);
      }
      for (const { array, buffer } of instances) {
        this.gl.deleteVertexArray(array);
        this.gl.deleteBuffer(buffer);
        this.arrays.delete(array);
        this.buffers.delete(buffer);
      }
    }

    dispose() {
      this.textures.forEach((texture) => this.gl.deleteTexture(texture));
      this.arrays.forEach((array) => this.gl.deleteVertexArray(array));
      this.buffers.forEach((buffer) => this.gl.deleteBuffer(buffer));
      this.programs.forEach(({ handle }) => this.gl.deleteProgram(handle));
      this.gl.deleteFramebuffer(this.framebuffer);
      [this.textures, this.arrays, this.buffers, this.programs].forEach((all) => all.clear());
    }
  }

  sb.drawing = Object.assign(sb.drawing || {}, { Gpu });
})((window.splatbench = window.splatbench || {}));
