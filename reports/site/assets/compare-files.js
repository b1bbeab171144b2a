/* Encoded files by key: registered by scripts (files/<key>.js on the site, the page itself where it is one file). */
(function (sb) {
  "use strict";

  const encoded = new Map();
  const decoded = new Map();

  /** Called by the scripts that carry a file. */
  sb.addFile = function (key, base64) {
    encoded.set(key, base64);
  };

  /** The bytes of a file; its script is loaded when it is not there yet. Rejects where that fails. */
  sb.file = async function (key) {
    if (decoded.has(key)) return decoded.get(key);
    if (!encoded.has(key)) await sb.load(sb.root + "files/" + encodeURIComponent(key) + ".js");
    if (!encoded.has(key)) throw new Error("the script of the encoded file " + key + " does not hold it");
    const text = atob(encoded.get(key));
    decoded.set(key, Uint8Array.from(text, (character) => character.charCodeAt(0)));
    encoded.delete(key); // one copy is enough
    return decoded.get(key);
  };

  const images = new Map();

  /** A picture that is ready to be drawn. Rejects where it cannot be loaded. */
  sb.picture = function (url) {
    if (!images.has(url)) {
      const image = new Image();
      image.src = url;
      const ready = image.decode().then(() => image, () => {
        images.delete(url); // so that a second try is one
        throw new Error("the picture could not be loaded");
      });
      images.set(url, ready);
    }
    return images.get(url);
  };

  const read = new Map();

  /** The Gaussians of a file; read once. Rejects with the reader's sentence where it has none. */
  sb.gaussiansOf = function (key) {
    if (!read.has(key)) {
      read.set(key, sb.file(key).then((bytes) => sb.s2d.gaussians(bytes)).catch((error) => {
        read.delete(key);
        throw error;
      }));
    }
    return read.get(key);
  };
})((window.splatbench = window.splatbench || {}));
