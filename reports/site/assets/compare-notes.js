/* What is said below a comparison about what it shows: scale of errors, how many ellipses, the density's colours. */
(function (sb) {
  "use strict";

  const NAMES = ["Left", "Right"];

  /** Lines for the layers that are shown now. results: of the sides' draw(). */
  sb.comparisonNotes = function (comparison, results) {
    const { spec, state, view } = comparison;
    const lines = [];
    const step = spec.reduced || 1;
    if (step > 1) {
      lines.push("Pictures are averaged down to one pixel for each " + step + " × " + step + " pixels; Gaussians are drawn in full.");
    }
    if (comparison.chosen.some(({ layer }) => layer === "error")) {
      const other = state.against === "original" ? "the original" : "the other side";
      const exact = view.scale * (window.devicePixelRatio || 1) < 1 / step ? " At this zoom it is taken of averaged pixels." : "";
      lines.push("Error map: |picture − " + other + "| of each channel, × " + state.gain + "; brightest from " + shown(255 / state.gain) + " of 255 on." + exact);
    }
    results.forEach((result, side) => {
      if (result.ellipses) lines.push(NAMES[side] + ": " + ellipses(result.ellipses, state.sigma));
      if (result.density) lines.push(density(NAMES[side], result.density));
    });
    return lines.map((line) => sb.element("span", {}, ...[line].flat()));
  };

  function shown(value) {
    return Number.isInteger(value) ? String(value) : value.toFixed(1);
  }

  function ellipses(result, sigma) {
    return sb.number(result.drawn, 0) + " of " + sb.number(result.total, 0) + " Gaussians in view drawn as ellipses at " + sigma + " σ.";
  }

  function density(name, result) {
    const ramp = sb.element("canvas", { class: "compare-ramp", width: 112, height: 1, "aria-hidden": "true" });
    const context = ramp.getContext("2d");
    for (let x = 0; x < 112; x++) {
      context.fillStyle = sb.densityColor(x / 111);
      context.fillRect(x, 0, 1, 1);
    }
    return [name + ": Gaussians per 1 000 pixels, 0 ", ramp, " " + sb.significant(1000 * result.max) + "."];
  }
})((window.splatbench = window.splatbench || {}));
