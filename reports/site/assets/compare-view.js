/* Which part of a picture a pane shows, and the gestures that change it. */
(function (sb) {
  "use strict";

  const LARGEST = 256; // pane pixels per picture pixel
  const STEP = 1.25;

  /** Position and zoom of panes of one size that show the same part of a picture.
   *
   *  x, y: picture coordinates of the pane's top left corner; scale: CSS pixels per picture pixel.
   */
  class View {
    constructor(width, height, changed) {
      Object.assign(this, { width, height, changed, x: 0, y: 0, scale: 1, paneWidth: 1, paneHeight: 1, fitted: true });
    }

    get fitScale() {
      return Math.min(this.paneWidth / this.width, this.paneHeight / this.height);
    }

    /** Whether there is something outside of the pane. */
    get canPan() {
      return this.scale > this.fitScale * 1.001;
    }

    /** The pane has another size: what was fitted stays fitted, otherwise the centre stays. */
    resize(paneWidth, paneHeight) {
      const centre = [this.x + this.paneWidth / this.scale / 2, this.y + this.paneHeight / this.scale / 2];
      Object.assign(this, { paneWidth, paneHeight });
      if (this.fitted) return this.fit();
      this.x = centre[0] - paneWidth / this.scale / 2;
      this.y = centre[1] - paneHeight / this.scale / 2;
      this._settle();
    }

    fit() {
      this.fitted = true;
      this.scale = this.fitScale;
      this._settle();
    }

    /** Another scale; the picture's point below (px, py) of the pane stays where it is. */
    zoomTo(scale, px = this.paneWidth / 2, py = this.paneHeight / 2) {
      const smallest = Math.min(this.fitScale, 1);
      const next = Math.min(Math.max(scale, smallest), LARGEST);
      this.x += px / this.scale - px / next;
      this.y += py / this.scale - py / next;
      this.scale = next;
      this.fitted = Math.abs(next - this.fitScale) < 1e-9;
      this._settle();
    }

    zoomBy(steps, px, py) {
      this.zoomTo(this.scale * STEP ** steps, px, py);
    }

    /** Moves the picture by CSS pixels. */
    pan(dx, dy) {
      this.x -= dx / this.scale;
      this.y -= dy / this.scale;
      this._settle();
    }

    /** For drawing on a canvas of `ratio` device pixels per CSS pixel. */
    onCanvas(ratio) {
      return { x: this.x, y: this.y, scale: this.scale * ratio };
    }

    /** What is smaller than the pane is centred; what is larger covers it. */
    _settle() {
      const settle = (position, pane, size) =>
        pane >= size ? (size - pane) / 2 : Math.min(Math.max(position, 0), size - pane);
      this.x = settle(this.x, this.paneWidth / this.scale, this.width);
      this.y = settle(this.y, this.paneHeight / this.scale, this.height);
      this.changed();
    }
  }

  /** Pointer, wheel and keys on a pane.
   *
   *  divider: {active(), near(px), move(px), step(direction)}: dragged where the pointer is near it, or where there is
   *  nothing to pan. The wheel zooms while the pane has the focus (a click gives it) or with Ctrl: a page that is only
   *  scrolled past is left alone.
   */
  function gestures(pane, view, divider) {
    const pointers = new Map();
    let dragsDivider = false;
    const place = (event) => {
      const box = pane.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const centre = () => {
      const points = [...pointers.values()];
      const mean = (axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length;
      const spread = points.length < 2 ? 0 : Math.hypot(points[0][0] - points[1][0], points[0][1] - points[1][1]);
      return [mean(0), mean(1), spread];
    };

    pane.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      pane.focus({ preventScroll: true });
      pane.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, place(event));
      const [px] = place(event);
      dragsDivider = pointers.size === 1 && divider.active() && (divider.near(px) || !view.canPan);
      if (dragsDivider) divider.move(px);
    });
    pane.addEventListener("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) return;
      const before = centre();
      pointers.set(event.pointerId, place(event));
      const after = centre();
      if (dragsDivider) return divider.move(after[0]);
      view.pan(after[0] - before[0], after[1] - before[1]);
      if (before[2] && after[2]) view.zoomTo(view.scale * after[2] / before[2], after[0], after[1]);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      pane.addEventListener(name, (event) => pointers.delete(event.pointerId));
    }
    pane.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== pane) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? event.deltaY * 33 : event.deltaY;
      view.zoomBy(-Math.max(-3, Math.min(3, lines / 100)), ...place(event));
    }, { passive: false });
    pane.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (key(event.key)) event.preventDefault();
    });

    const arrows = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    function key(name) {
      if (name === "+" || name === "=") view.zoomBy(1);
      else if (name === "-") view.zoomBy(-1);
      else if (name === "0") view.fit();
      else if (name === "1") view.zoomTo(1);
      else if (name in arrows && view.canPan) view.pan(...arrows[name].map((unit) => unit * view.paneWidth / 10));
      else if (name in arrows && arrows[name][0] && divider.active()) divider.step(-arrows[name][0]);
      else return false;
      return true;
    }
  }

  sb.View = View;
  sb.gestures = gestures;
})((window.splatbench = window.splatbench || {}));
