"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const whole = new Intl.NumberFormat("en");
  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  function coverage() {
    const form = document.getElementById("reader");
    if (!form || !data.coverage) return;
    const slider = form.querySelector("input");
    const { n, expected, total } = data.coverage;
    const say = (name, text) => { form.querySelector(`[data-says=${name}]`).textContent = text; };
    const read = () => {
      const step = Number(slider.value);
      const risk = expected[step];
      say("cutoff", (step / 100).toFixed(2));
      say("accepted", `${whole.format(n[step])} (${percent(n[step] / total)})`);
      say("recompute", `${whole.format(total - n[step])} (${percent(1 - n[step] / total)})`);
      say("expected", risk === null ? "nothing accepted" : percent(risk));
    };
    slider.addEventListener("input", read);
    read();
    form.hidden = false;
  }

  function map() {
    const frame = document.getElementById("map");
    if (!frame || !data.umap.length) return;
    const ring = frame.querySelector(".ring");
    const says = document.getElementById("map-says");
    const pick = (event) => {
      const box = frame.getBoundingClientRect();
      const x = event.clientX - box.left;
      const y = event.clientY - box.top;
      let best = null;
      let nearest = 24 ** 2;
      for (const point of data.umap) {
        const away = (point[0] * box.width - x) ** 2 + (point[1] * box.height - y) ** 2;
        if (away < nearest) { nearest = away; best = point; }
      }
      ring.hidden = best === null;
      if (best === null) return;
      ring.style.left = `${100 * best[0]}%`;
      ring.style.top = `${100 * best[1]}%`;
      says.textContent = `${best[3]}: p_unreliable ${best[2].toFixed(2)}, ${best[4]}`;
    };
    frame.addEventListener("pointermove", pick);
    frame.addEventListener("pointerdown", pick);
    says.textContent = "Point at a molecule to read its name.";
  }

  // what is folded away on a screen cannot be unfolded on paper
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  coverage();
  map();
})();
