/* Starts the comparison of an image's page. */
(function (sb) {
  "use strict";

  for (const root of document.querySelectorAll("[data-compare]")) sb.compare(root, sb.data("compare"));
})((window.splatbench = window.splatbench || {}));
