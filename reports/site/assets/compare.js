/* Two pictures compared: slider or side by side, zoom, error maps, and the Gaussians behind the pixels. */
(function (sb) {
  "use strict";

  const NAMES = ["Left", "Right"];
  const NEAR = 24; // CSS pixels in which a press takes hold of the divider
  const KEYS = " After a click on the picture the wheel zooms, and so do + and −; 0 fits, 1 shows pixels one to one, " +
    "arrow keys move.";
  const HINTS = {
    slider: "Drag the divider, or the picture once it is larger than the frame." + KEYS,
    side: "Drag a picture once it is larger than its frame: both move together." + KEYS,
  };

  /** Puts a comparison into an element.
   *
   *  spec: {title, width, height: of the picture in pixels; reduced: factor by which images are averaged down, or
   *  absent; original: id or null; left, right: ids; sources: [{id, label, group, stage, image: url or null, file: key
   *  of splatbench.file or null, why_no_file: text or absent, facts: [[name, text], ...]}]}.
   *  Sources of the same group that have a stage are stages of one result, in the order given.
   *  Returns {state, view, dispose()}.
   */
  sb.compare = function (root, spec) {
    if (!spec.sources.length) {
      root.replaceChildren(sb.element("p", { class: "notice" }, "There is no picture to compare."));
      return null;
    }
    return new Comparison(root, spec);
  };

  class Comparison {
    constructor(root, spec) {
      this.root = root;
      this.spec = spec;
      this.sources = new Map(spec.sources.map((source) => [source.id, source]));
      this.original = this.sources.get(spec.original) || null;
      this.state = { layout: "slider", divider: 50, against: this.original ? "original" : "other", gain: 4, sigma: 0 };
      this.chosen = [spec.left, spec.right].map((id) => {
        const source = this.sources.get(id) || spec.sources[0];
        return { source, layer: firstLayer(source) };
      });
      this.factNames = sb.comparisonParts.factNames(spec.sources);
      this.view = new sb.View(spec.width, spec.height, () => this._redraw());
      this.sides = NAMES.map((name) => new sb.ComparisonSide(name, spec, () => this._redraw()));
      this._build();
      this._watch();
      this._show();
    }

    _build() {
      const parts = sb.comparisonParts;
      this.controls = NAMES.map((name, side) => parts.sideControls(name, this.spec, {
        source: (id) => this._choose(side, this.sources.get(id), this.chosen[side].layer),
        layer: (layer) => this._choose(side, this.chosen[side].source, layer),
      }));
      this.shared = parts.sharedControls(this.state, Boolean(this.original), {
        zoom: (steps) => this.view.zoomBy(steps),
        fit: () => this.view.fit(),
        native: () => this.view.zoomTo(1 / (window.devicePixelRatio || 1)),
        set: (name, value) => this._set(name, value),
        swap: () => this._swap(),
      });
      this.alternative = sb.element("div", { role: "img" });
      this.handle = sb.element("div", { class: "compare-handle", "aria-hidden": "true" });
      this.stage = sb.element(
        "div", { class: "compare-stage", tabindex: 0, role: "group" },
        this.alternative, this.sides.map((side) => side.element), this.handle,
      );
      this.range = sb.element("input", {
        type: "range", min: 0, max: 100, step: 0.5, value: 50, class: "compare-range compare-divider",
        "aria-label": "Divider between left and right", oninput: () => this._divide(this.range.valueAsNumber),
      });
      this.status = sb.element("p", { class: "sr", role: "status" });
      this.notes = sb.element("p", { class: "compare-notes" });
      this.hint = sb.element("p", { class: "compare-hint" });
      this.facts = sb.element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Facts of both sides" });
      this.root.classList.add("compare");
      this.root.replaceChildren(
        sb.element("div", { class: "compare-sources" }, this.controls.map((part) => part.node)),
        this.stage, this.range, this.shared.node, this.notes, this.hint, this.status, this.facts,
      );
      sb.gestures(this.stage, this.view, {
        active: () => this.state.layout === "slider",
        near: (px) => Math.abs(px - this._dividerPlace()) < NEAR,
        move: (px) => this._divide(100 * px / this.view.paneWidth),
        step: (direction) => this._divide(this.state.divider + 2 * direction),
      });
    }

    _watch() {
      this.observer = new ResizeObserver(() => this._layOut());
      this.observer.observe(this.stage);
    }

    /** Sizes of the panes: as wide as the page, as high as the picture is then, at most seven tenths of the window. */
    _layOut() {
      const side = this.state.layout === "side";
      const width = (this.stage.clientWidth - (side ? 2 : 0)) / (side ? 2 : 1);
      const height = Math.min(width * this.spec.height / this.spec.width, 0.7 * window.innerHeight);
      this.stage.dataset.layout = this.state.layout;
      const hint = HINTS[this.state.layout];
      if (this.hint.textContent !== hint) {
        this.hint.textContent = hint;
        this.stage.setAttribute("aria-label", this.spec.title + ". " + hint);
      }
      this.stage.style.height = Math.round(height) + "px";
      this.range.hidden = this.handle.hidden = side;
      if (width > 0) this.view.resize(width, Math.round(height));
      this._divide(this.state.divider);
    }

    _dividerPlace() {
      return this.view.paneWidth * this.state.divider / 100;
    }

    _divide(percent) {
      this.state.divider = Math.min(Math.max(percent, 0), 100);
      this.range.value = this.state.divider;
      this.range.setAttribute("aria-valuetext", Math.round(this.state.divider) + " % left");
      this.stage.style.setProperty("--divider", this.state.divider + "%");
    }

    _set(name, value) {
      this.state[name] = value;
      if (name === "layout") this._layOut();
      if (name === "sigma") this._show();
      else this._redraw();
    }

    _choose(side, source, layer) {
      const possible = !sb.comparisonParts.obstacle(source, layer);
      this.chosen[side] = { source, layer: possible ? layer : firstLayer(source) };
      this._show();
    }

    _swap() {
      this.chosen.reverse();
      this._show();
    }

    /** Everything that depends on what is chosen. */
    _show() {
      const loads = this.chosen.map(({ source, layer }, side) => {
        this.controls[side].update(source, layer);
        return this.sides[side].show(source, layer, this.state.sigma > 0);
      });
      this._whileLoading([...loads, this._loadOriginal()]);
      this.shared.update({
        error: this.chosen.some(({ layer }) => layer === "error"),
        gaussians: this.chosen.some(({ source }) => source.file),
      });
      this.facts.hidden = !this.chosen.some(({ source }) => source.facts.length);
      this.facts.replaceChildren(sb.comparisonParts.factsTable(NAMES, this.chosen.map(({ source }) => source), this.factNames));
      const text = this.chosen.map(({ source, layer }, side) => NAMES[side] + ": " + source.label + layerName(layer)).join(". ");
      this.alternative.setAttribute("aria-label", text);
      this.status.textContent = text;
    }

    async _whileLoading(loads) {
      const mine = (this.loading = Promise.all(loads));
      this.stage.setAttribute("aria-busy", "true");
      await mine;
      if (mine === this.loading) this.stage.setAttribute("aria-busy", "false");
    }

    async _loadOriginal() {
      if (!this.original || this.originalImage || !this.chosen.some(({ layer }) => layer === "error")) return;
      try {
        this.originalImage = await sb.picture(this.original.image);
        this._redraw();
      } catch (error) {
        this.sides.forEach((side) => side.say("original", "Original: " + error.message));
      }
    }

    _redraw() {
      if (this.waiting) return;
      this.waiting = requestAnimationFrame(() => {
        this.waiting = 0;
        this._draw();
      });
    }

    _draw() {
      const ratio = window.devicePixelRatio || 1;
      const settings = { gain: this.state.gain, ellipses: this.state.sigma > 0, sigma: this.state.sigma };
      const results = this.sides.map((side, index) => {
        const against = this.state.against === "original" ? this.originalImage : this.sides[1 - index].image;
        return side.draw(this.view, ratio, against || null, settings);
      });
      this.stage.classList.toggle("zoomed", this.view.canPan);
      this.shared.zoom.textContent = sb.significant(100 * this.view.scale * ratio) + " %";
      this.notes.replaceChildren(...sb.comparisonNotes(this, results));
    }

    dispose() {
      this.observer.disconnect();
      cancelAnimationFrame(this.waiting);
      for (const side of this.sides) side.dispose();
      this.root.replaceChildren();
    }
  }

  function firstLayer(source) {
    return source.image || !source.file ? "pixels" : "gaussians";
  }

  function layerName(layer) {
    return layer === "pixels" ? "" : " (" + sb.comparisonParts.LAYERS.find(([key]) => key === layer)[1] + ")";
  }
})((window.splatbench = window.splatbench || {}));
