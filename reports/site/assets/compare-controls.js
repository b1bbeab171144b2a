/* The controls of a comparison: plain form elements, each with its label. */
(function (sb) {
  "use strict";

  const element = (...parts) => sb.element(...parts);

  /** What a side can show: [value, text, what the source must have]. */
  const LAYERS = [
    ["pixels", "Pixels", "image"],
    ["gaussians", "Gaussians at this zoom", "file"],
    ["error", "Error map", "image"],
    ["density", "Density", "file"],
  ];
  const WITHOUT = { image: "there is no picture", file: "its encoded file is not published" };

  let made = 0;

  function field(text, control) {
    const id = "compare-" + ++made;
    control.id = id;
    return element("div", { class: "field" }, element("label", { for: id }, text), control);
  }

  function select(options, value, changed) {
    const node = element("select", { onchange: () => changed(node.value) });
    node.append(...options.map(([key, text]) => element("option", { value: key }, text)));
    node.value = value;
    return node;
  }

  function button(text, label, pressed) {
    return element("button", { type: "button", "aria-label": label, title: label, onclick: pressed }, text);
  }

  /** A list of sources: those of a group with several members stand together. */
  function sourceList(sources, changed) {
    const node = element("select", { onchange: () => changed(node.value) });
    const groups = new Map();
    for (const source of sources) groups.set(source.group, [...(groups.get(source.group) || []), source]);
    for (const [name, members] of groups) {
      const options = members.map((source) => element("option", { value: source.id }, source.label));
      if (members.length > 1) node.append(element("optgroup", { label: name }, options));
      else node.append(...options);
    }
    return node;
  }

  /** Whether a source can be shown as a layer; otherwise why not. */
  function obstacle(source, layer) {
    const need = LAYERS.find(([key]) => key === layer)[2];
    if (source[need]) return null;
    return (need === "file" && source.why_no_file) || WITHOUT[need];
  }

  /** Controls of one side: source, layer, and stage where its group has several.
   *
   *  act: {source(id), layer(name)}. Returns {node, update(source, layer)}.
   */
  function sideControls(name, spec, act) {
    const list = sourceList(spec.sources, act.source);
    const layer = element("select", { onchange: () => act.layer(layer.value) });
    const range = element("input", { type: "range", min: 0, step: 1, class: "compare-range" });
    const reached = element("span", { class: "compare-reached", "aria-hidden": "true" }); // the range says it itself
    const stage = field("Stage", range);
    stage.classList.add("compare-stages");
    stage.append(reached);
    const node = element(
      "fieldset", { class: "compare-source" },
      element("legend", {}, name), field("Picture", list), field("Shown as", layer), stage,
    );
    let stages = [];
    range.addEventListener("input", () => act.source(stages[range.valueAsNumber].id));

    function update(source, chosen) {
      list.value = source.id;
      layer.replaceChildren(...LAYERS.map(([key, text]) => {
        const why = obstacle(source, key);
        return element("option", { value: key, disabled: Boolean(why) }, why ? text + " (" + why + ")" : text);
      }));
      layer.value = chosen;
      stages = spec.sources.filter((other) => other.group === source.group && other.stage && source.stage);
      stage.hidden = stages.length < 2;
      if (stage.hidden) return;
      range.max = stages.length - 1;
      range.value = stages.indexOf(source);
      const psnr = new Map(source.facts).get("PSNR");
      reached.textContent = source.stage + (psnr ? ", " + psnr : "");
      range.setAttribute("aria-valuetext", reached.textContent);
    }
    return { node, update };
  }

  /** Zoom buttons, layout, and the settings of layers.
   *
   *  state: what they show at first; act: {zoom(steps), fit(), native(), set(name, value), swap()}.
   *  Returns {node, zoom: an <output>, update(state, uses)}; uses: {error, ellipses: whether any side has Gaussians}.
   */
  function sharedControls(state, hasOriginal, act) {
    const zoom = element("output", { class: "compare-zoom" });
    const buttons = element(
      "div", { class: "compare-buttons", role: "group", "aria-label": "Zoom" },
      button("−", "Zoom out", () => act.zoom(-1)), zoom, button("+", "Zoom in", () => act.zoom(1)),
      button("Fit", "Fit the whole picture", act.fit), button("1:1", "One screen pixel for each pixel", act.native),
    );
    const layout = select([["slider", "Slider"], ["side", "Side by side"]], state.layout, (value) => act.set("layout", value));
    const against = select([["original", "the original"], ["other", "the other side"]], state.against, (value) => act.set("against", value));
    against.options[0].disabled = !hasOriginal;
    const gain = select([1, 2, 4, 8, 16, 32].map((value) => [value, "× " + value]), state.gain, (value) => act.set("gain", Number(value)));
    const sigma = select([[0, "none"], [1, "at 1 σ"], [2, "at 2 σ"], [3, "at 3 σ"]], 0, (value) => act.set("sigma", Number(value)));
    const errors = [field("Error against", against), field("Error gain", gain)];
    const node = element(
      "div", { class: "controls compare-shared" }, buttons, field("Layout", layout),
      field("Ellipses of Gaussians", sigma), ...errors, button("Swap sides", "Swap left and right", act.swap),
    );
    function update(uses) {
      sigma.disabled = !uses.gaussians;
      for (const part of errors) part.hidden = !uses.error;
    }
    return { node, zoom, update };
  }

  /** Names of all facts, in the order of the sources that have most of them: the same whatever is chosen. */
  function factNames(sources) {
    const lists = sources.map((source) => source.facts.map(([name]) => name));
    return [...new Set(lists.sort((a, b) => b.length - a.length).flat())];
  }

  /** Facts of both sides, one line for each name that either has, in the order of `order`. */
  function factsTable(names, sources, order) {
    const facts = sources.map((source) => new Map(source.facts));
    const rows = order.filter((name) => facts.some((of) => of.has(name)));
    const head = element("tr", {}, element("th", { scope: "col" }, "Of the file"), names.map((name) => element("th", { scope: "col" }, name)));
    const body = rows.map((row) => element(
      "tr", {}, element("th", { scope: "row" }, row), facts.map((of) => element("td", {}, of.has(row) ? of.get(row) : "–")),
    ));
    return element("table", { class: "compare-facts" }, element("caption", { class: "sr" }, "Facts of both sides"), element("thead", {}, head), element("tbody", {}, body));
  }

  sb.comparisonParts = { LAYERS, obstacle, sideControls, sharedControls, factNames, factsTable };
})((window.splatbench = window.splatbench || {}));
