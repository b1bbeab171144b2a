/* Shared by all pages: data that arrives as scripts, and small helpers that make elements without parsing markup. */
(function (sb) {
  "use strict";

  const values = new Map();

  /** With a value: called by the files of data/. Without: that value; undefined while it has not arrived. */
  sb.data = function (name, value) {
    if (arguments.length > 1) values.set(name, value);
    return values.get(name);
  };

  /** sb.element("td", {class: "number", title: "..."}, "text", node, ...): text is never read as markup. */
  sb.element = function (tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined) node.append(child);
    }
    return node;
  };

  /** Loads a script below the page's folder once; resolves when it has run. */
  const loading = new Map();
  sb.load = function (address) {
    if (!loading.has(address)) {
      loading.set(address, new Promise((resolve, reject) => {
        const node = document.createElement("script");
        node.src = address;
        node.onload = () => resolve();
        node.onerror = () => {
          loading.delete(address); // so that a second try is one
          reject(new Error(address + " could not be loaded"));
        };
        document.head.append(node);
      }));
    }
    return loading.get(address);
  };

  /** A number with narrow spaces between thousands and a real minus; digits after the point; a dash for null. */
  sb.number = function (value, digits) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const [whole, rest] = Math.abs(value).toFixed(digits).split(".");
    const text = whole.replace(/\B(?=(\d{3})+$)/g, "\u202f") + (rest ? "." + rest : "");
    return (value < 0 && /[1-9]/.test(text) ? "−" : "") + text;
  };

  /** Three significant digits without an exponent, for times from microseconds to days. */
  sb.significant = function (value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const places = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
    return sb.number(value, Math.min(places, 9));
  };

  /** From the page to the site's folder, e.g. "../": where the style sheet was found. */
  sb.root = (function () {
    const link = document.querySelector('link[rel="stylesheet"][href$="assets/site.css"]');
    return link ? link.getAttribute("href").slice(0, -"assets/site.css".length) : "";
  })();
})((window.splatbench = window.splatbench || {}));
