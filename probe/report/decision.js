"use strict";
/* The cutoff of the decision section: see probe/report/decision.py for its columns. */
(() => {
  const { data, percent, count } = report;
  const form = document.getElementById("cutoff");
  const columns = data.decision;
  if (!form || !columns) return;

  const slider = form.querySelector("input");
  const total = columns.accept[0] + columns.recompute[0] + columns.between[0];
  const say = (name, text) => { form.querySelector(`[data-says=${name}]`).textContent = text; };
  const share = (n) => `${count(n)} (${percent(total ? n / total : 0)})`;
  const hours = (value) => (value >= 100 ? count(Math.round(value)) : String(Number(value.toPrecision(3))));

  function expected(step) {
    if (!columns.accept[step]) return "nothing accepted";
    const risk = columns.expected_unreliable[step];
    if (risk === null || columns.low[step] === null) return "not measured: too few held-out molecules";
    return `${percent(risk)} (${percent(columns.low[step])} to ${percent(columns.high[step])})`;
  }

  function read() {
    const step = Number(slider.value);
    say("cutoff", columns.cutoff[step].toFixed(2));
    say("accept", share(columns.accept[step]));
    say("expected", expected(step));
    say("between", share(columns.between[step]));
    say("recompute", share(columns.recompute[step]));
    say("saved", hours(columns.core_hours_saved[step]));
    say("spent", hours(columns.core_hours_spent[step]));
  }

  slider.addEventListener("input", read);
  read();
  form.hidden = false;
})();
