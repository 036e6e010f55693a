"use strict";
/* What the page's scripts share. */
window.report = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const whole = new Intl.NumberFormat("en");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const count = (n) => whole.format(n);

  /** An element with attributes and children; text is never read as markup. */
  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  /** What base64 of compressed JSON says. */
  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(plain).json();
  }

  /** Items of a list that lies in packed pieces; a piece is unpacked when one of it is wanted. */
  function shelf(pieces, atOnce) {
    const opened = new Map();
    return async (place) => {
      const number = Math.floor(place / atOnce);
      if (place < 0 || number >= pieces.length) return null;
      if (!opened.has(number)) opened.set(number, unpack(pieces[number]));
      return (await opened.get(number))[place % atOnce] ?? null;
    };
  }

  const colour = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();

  return { data, percent, count, make, unpack, shelf, colour };
})();

// what is folded away on a screen cannot be unfolded on paper
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
