/* Bjøntegaard deltas against a chosen anchor: the table below the rate-distortion plot. */
(function (sb) {
  "use strict";

  const el = sb.element;
  const place = document.getElementById("deltas");
  let anchorName = null; // kept over data sets and images where it exists

  /** Fills the table for one set of images of a data set. */
  sb.drawDeltas = function (dataset, subset) {
    const bd = dataset.bd[subset];
    const label = Object.fromEntries(dataset.series.map((s) => [s.key, s.label]));
    const anchors = bd.anchors.filter((key) => label[key]);
    if (bd.series.length < 2) {
      place.replaceChildren(el("p", { class: "notice" }, "Fewer than two series have four points on these images: there is nothing to compare."));
      return;
    }
    const kept = anchors.find((key) => label[key] === anchorName);
    const points = Object.fromEntries(dataset.series.map((s) => [s.key, s.points.length]));
    const jpeg = anchors.filter((key) => /^jpeg(?! xl)/i.test(label[key])).sort((a, b) => points[b] - points[a])[0];
    const anchor = kept || jpeg || anchors[0];
    const select = el("select", { onchange: (event) => { anchorName = label[event.target.value]; sb.drawDeltas(dataset, subset); place.querySelector("select").focus(); } },
      anchors.map((key) => el("option", { value: key, selected: key === anchor }, label[key])));
    place.replaceChildren(
      el("form", { class: "controls", onsubmit: (event) => event.preventDefault() }, el("label", {}, "Anchor", select)),
      table(dataset, bd, anchor, label), leftOut(bd, label),
    );
    sb.sortable(place.querySelector("table"));
  };

  const COLUMNS = [
    ["Series", ""],
    ["BD-rate [%]", "Mean difference of the rate at equal PSNR; negative: fewer bytes than the anchor."],
    ["95 % interval", "Of the mean BD-rate over images (BCa bootstrap)."],
    ["Images", "Images with a BD-rate, of those chosen."],
    ["Overlap in PSNR", "Smallest over the images: the range of PSNR that both curves cover, as a share of the shorter one."],
    ["BD-PSNR [dB]", "Mean difference of the PSNR at equal rate; positive: better than the anchor."],
    ["95 % interval", "Of the mean BD-PSNR over images (BCa bootstrap)."],
    ["Images", "Images with a BD-PSNR, of those chosen."],
    ["Overlap in rate", "Smallest over the images: the range of log rate that both curves cover, as a share of the shorter one."],
    ["Remarks", "Why some image has no value."],
  ];

  function table(dataset, bd, anchor, label) {
    const at = bd.series.indexOf(anchor);
    const rows = bd.pairs.filter(([from]) => from === at).map(([, test, rate, quality]) => {
      const remarks = [rate[5] && "BD-rate: " + rate[5], quality[5] && "BD-PSNR: " + quality[5]].filter(Boolean).join("; ");
      return el("tr", {}, el("td", { class: "col-names" }, label[bd.series[test]]), cells(rate, 1, bd.images), cells(quality, 2, bd.images), el("td", { class: "col-reason" }, remarks));
    });
    const head = COLUMNS.map(([text, meaning], i) => el("th", { scope: "col", class: i > 0 && i < 9 ? "number" : null, title: meaning || null }, text));
    return el("div", { class: "table" }, el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Bjøntegaard deltas against " + label[anchor] },
      el("table", {}, el("caption", { class: "sr" }, "Bjøntegaard deltas against " + label[anchor]), el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows))));
  }

  function cells([mean, low, high, n, overlap], digits, images) {
    const signed = (value) => (value > 0 ? "+" : "") + sb.number(value, digits);
    const td = (text, value) => el("td", { class: "number", "data-value": value === null ? "" : value }, text);
    return [
      td(mean === null ? "–" : signed(mean), mean),
      td(low === null ? "–" : signed(low) + " … " + signed(high), low),
      el("td", { class: "number", "data-value": n }, el("span", { class: n < images ? "partial" : null }, n + " of " + images)),
      td(overlap === null ? "–" : sb.number(100 * overlap, 0) + " %", overlap),
    ];
  }

  function leftOut(bd, label) {
    const texts = Object.entries(bd.left_out).map(([key, reason]) => el("li", {}, label[key] + ": " + reason));
    if (!texts.length) return "";
    return el("details", {}, el("summary", {}, "Without a delta: " + texts.length + " series of too few points"), el("ul", { class: "notes" }, texts));
  }
})((window.splatbench = window.splatbench || {}));
