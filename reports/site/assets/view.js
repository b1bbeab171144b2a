/* The page of `splatbench view`: one comparison, described by the JSON beside it. */
(function (sb) {
  "use strict";

  const root = document.getElementById("comparison");
  sb.compare(root, JSON.parse(document.getElementById("spec").textContent));
})((window.splatbench = window.splatbench || {}));
