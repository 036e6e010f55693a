"use strict";
/* The map: colours, filters, regions, the molecule under the pointer and the one that is pinned. */
(async () => {
  const { data, count, make, unpack, shelf, colour } = report;
  const map = data.umap;
  const frame = document.getElementById("explorer");
  if (!frame || !map || !window.Plotly || !window.DecompressionStream) return;

  const WITHOUT_WEBGL = 4000; // points that a browser draws one by one without getting stuck
  const GHOST = "#9aa3ae";
  const sample = await unpack(map.sample);
  const sketchOf = shelf(map.sketches, map.at_once[0]);
  const detailOf = shelf(map.details, map.at_once[1]);
  const detailed = new Map(map.detailed.map((row, place) => [row, place]));
  const webgl = Boolean(document.createElement("canvas").getContext("webgl"));
  const total = webgl ? sample.p.length : Math.min(sample.p.length, WITHOUT_WEBGL);
  const rows = Array.from({ length: total }, (_, row) => row);
  // neither the worst nor the best lie on top of all others
  const mixed = [...rows].sort((a, b) => (a * 7919) % 10007 - (b * 7919) % 10007);
  const haystack = rows.map((row) =>
    ["id", "name", "synonyms", "source", "smiles", "reason"].map((key) => sample[key][row]).join("\n").toLowerCase());

  const find = (selector) => frame.querySelector(selector);
  const form = find("form");
  const [plot, tip, legend] = ["#plot", "#tip", "#legend"].map(find);
  let shown = rows; // that pass the filters, by falling p_unreliable
  let region = null; // { box: [x0, x1, y0, y1], lasso, rows: Set }
  let pinned = null;

  const item = (row) => ({
    ...Object.fromEntries(["id", "name", "source", "smiles", "reason", "p", "energy", "accept"].map((key) => [key, sample[key][row]])),
    error: sample.error ? sample.error[row] : null,
  });
  const nameOf = (row) => sample.name[row] || "(no name)";

  /* ---- colours ---- */

  function options() {
    const select = form.elements.colour;
    const option = (value, text) => make("option", { value }, text);
    select.append(option("p", "p_unreliable"), option("verdict", "verdict"));
    if (sample.error) select.append(option("error", "|error| against DFT"));
    const elements = make("optgroup", { label: "holds the element" });
    for (const symbol of Object.keys(sample.elements)) {
      elements.append(option(`element:${symbol}`, symbol));
      form.elements.element.append(option(symbol, symbol));
    }
    const descriptors = make("optgroup", { label: "descriptor" });
    for (const name of Object.keys(sample.descriptors)) descriptors.append(option(`descriptor:${name}`, name));
    select.append(elements, descriptors);
  }

  const parted = (holds, yes, no) => ({
    kind: "parts",
    of: (row) => (holds(row) ? yes[1] : no[1]),
    parts: [yes, no].map(([label, tint], i) => [label, tint, (row) => holds(row) === (i === 0)]),
  });

  function graded(values, scale, low, high, label, marks = []) {
    return { kind: "scale", of: (row) => values[row], scale, low, high, label, marks };
  }

  /** The middle 96 % of what is known: one outlier leaves the others their colours. */
  function range(values) {
    const known = values.filter((value) => value !== null).sort((a, b) => a - b);
    if (!known.length) return [0, 1];
    const [low, high] = [known[Math.floor(0.02 * (known.length - 1))], known[Math.ceil(0.98 * (known.length - 1))]];
    return low < high ? [low, high] : [known[0], Math.max(known[known.length - 1], known[0] + 1)];
  }

  function colouring() {
    const [kind, name] = form.elements.colour.value.split(":");
    if (kind === "verdict") {
      return parted((row) => Boolean(sample.accept[row]), ["accepted", colour("--cool")], ["to recompute", colour("--warm")]);
    }
    if (kind === "element") {
      const holds = (row) => sample.elements[name][row] === "1";
      return { ...parted(holds, [`holds ${name}`, colour("--cool")], [`no ${name}`, colour("--ghost")]), rare: holds };
    }
    if (kind === "descriptor") {
      const values = sample.descriptors[name];
      return graded(values, map.scales.value, ...range(values), name);
    }
    if (kind === "error") {
      const values = sample.error.map((error) => (error === null ? null : Math.abs(error)));
      return graded(values, map.scales.value, 0, range(values)[1], "|error|, kcal/mol");
    }
    return graded(sample.p, map.scales.p, 0, 1, "p_unreliable", map.cutoffs);
  }

  const written = (value) => String(Number(value.toPrecision(3)));

  function showLegend(by) {
    if (by.kind === "parts") {
      legend.replaceChildren(...by.parts.map(([label, tint, test]) => {
        const dot = make("span", { class: "dot" });
        dot.style.background = tint;
        return make("span", { class: "key" }, dot, `${label} (${count(shown.filter(test).length)})`);
      }));
      return;
    }
    const bar = make("div", { class: "bar" });
    bar.style.background = `linear-gradient(90deg, ${by.scale.map(([at, tint]) => `${tint} ${100 * at}%`).join(", ")})`;
    const at = (value) => `${100 * (value - by.low) / (by.high - by.low)}%`;
    for (const mark of by.marks) {
      const triangle = make("span", { class: "mark", title: `cutoff ${mark}` });
      triangle.style.left = at(mark);
      bar.append(triangle);
    }
    const ticks = [by.low, (by.low + by.high) / 2, by.high].map((value) => make("span", {}, written(value)));
    const unknown = shown.filter((row) => by.of(row) === null).length;
    const more = [by.marks.length ? "triangles: the cutoffs" : "", unknown ? `grey: ${count(unknown)} without a value` : ""];
    legend.replaceChildren(
      make("div", { class: "scale" }, bar, make("div", { class: "ticks" }, ...ticks)),
      make("p", {}, [by.label, ...more.filter(Boolean)].join("; ")),
    );
  }

  /* ---- the picture ---- */

  function trace(chosen, marker, more = {}) {
    return {
      type: webgl ? "scattergl" : "scatter", mode: "markers", hoverinfo: "none", showlegend: false,
      x: chosen.map((row) => sample.x[row]), y: chosen.map((row) => sample.y[row]), customdata: chosen, marker, ...more,
    };
  }

  const dotSize = () => Math.max(3, Math.min(9, 150 / Math.sqrt(total)) * (innerWidth < 560 ? 0.75 : 1));

  function traces(by) {
    const passes = new Set(shown);
    const visible = mixed.filter((row) => passes.has(row));
    // what holds an element is rare: it lies on top
    if (by.rare) visible.sort((a, b) => Number(by.rare(a)) - Number(by.rare(b)));
    const size = dotSize();
    const edge = { width: size > 5 ? 0.5 : 0, color: colour("--muted") };
    const known = by.kind === "parts" ? visible : visible.filter((row) => by.of(row) !== null);
    const marker = { size, line: edge, color: known.map(by.of) };
    if (by.kind === "scale") Object.assign(marker, { colorscale: by.scale, cmin: by.low, cmax: by.high });
    const ghosts = mixed.filter((row) => !passes.has(row));
    const blank = visible.filter((row) => by.of(row) === null);
    const grey = (opacity) => ({ size: 0.7 * size, color: GHOST, opacity });
    const ring = { size: size + 9, color: "rgba(0,0,0,0)", line: { width: 2.5, color: colour("--ink") } };
    return [
      trace(ghosts, grey(0.25), { hoverinfo: "skip" }),
      trace(blank, grey(0.8)),
      trace(known, marker, { unselected: { marker: { opacity: 0.2 } } }),
      { ...trace(pinned === null ? [] : [pinned], ring), type: "scatter", hoverinfo: "skip" },
    ];
  }

  const background = () => map.rasters[form.elements.colour.value.replace("element:", "")] || map.rasters.density;

  function layout() {
    const [low, high] = map.limits;
    const picture = background();
    const axis = (at) => ({
      range: view ? view[at] : [low[at], high[at]], visible: false, fixedrange: false, zeroline: false,
    });
    return {
      margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: axis(0), yaxis: axis(1), dragmode: drag || false, hovermode: "closest", hoverdistance: 14,
      newselection: { line: { color: colour("--ink"), width: 1.5, dash: "dot" } },
      images: picture ? [{
        source: picture, xref: "x", yref: "y", layer: "below", sizing: "stretch",
        x: low[0], y: high[1], sizex: high[0] - low[0], sizey: high[1] - low[1],
        opacity: map.rasters[form.elements.colour.value.replace("element:", "")] ? 0.55 : 0.4,
      }] : [],
    };
  }

  let view = null;
  // a finger on the map scrolls the page, unless a tool says otherwise
  let drag = matchMedia("(pointer: coarse)").matches ? "" : "pan";

  async function draw() {
    const by = colouring();
    const made = layout();
    made.selections = region && !region.lasso && plot.layout ? plot.layout.selections : [];
    await Plotly.react(plot, traces(by), made, { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false });
    showLegend(by);
    harvest();
  }

  /* ---- filters and what they leave ---- */

  function filter() {
    const verdict = form.elements.verdict.value;
    const element = form.elements.element.value;
    const text = form.elements.text.value.trim().toLowerCase();
    shown = rows.filter((row) =>
      (!verdict || Boolean(sample.accept[row]) === (verdict === "accept"))
      && (!element || sample.elements[element][row] === "1")
      && (!text || haystack[row].includes(text)));
  }

  const kept = () => (region ? shown.filter((row) => region.rows.has(row)) : shown);

  const quoted = (text) => (/^[\w./+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

  function command() {
    const words = [map.command];
    const { verdict, element, text } = form.elements;
    if (verdict.value) words.push("--verdict", verdict.value);
    if (element.value) words.push("--element", element.value);
    if (text.value.trim()) words.push("--text", quoted(text.value.trim()));
    if (region) words.push("--box", region.box.map((value) => value.toFixed(3)).join(","));
    return [...words, "--out", "ids.csv"].join(" ");
  }

  function harvest() {
    const n = kept().length;
    const where = region ? (region.lasso ? "inside the lasso" : "in the box") : "shown";
    const of = n === total && !region ? "" : ` of ${count(total)}`;
    const thinned = webgl ? "" : " (without WebGL, those with the highest p_unreliable)";
    find("#shown").textContent = `${count(n)}${of} on this page ${n === 1 ? "is" : "are"} ${where}${thinned}.`;
    find("#command").textContent = command();
    find("#around").textContent = region && region.lasso ? ", from the box around the lasso" : "";
    find("#clear").hidden = !region;
    find("#download").disabled = !n;
  }

  function download() {
    const inert = (text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text); // no formula in a spreadsheet
    const cell = (value) => `"${inert(String(value)).replaceAll('"', '""')}"`;
    const lines = kept().map((row) =>
      [sample.id[row], cell(sample.name[row]), sample.p[row], sample.accept[row] ? "accept" : "recompute"].join(","));
    const text = ["conformer_id,molecule_id,p_unreliable,verdict", ...lines, ""].join("\n");
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    make("a", { href: url, download: `${map.library}-ids.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  function forget() {
    region = null;
    plot.layout.selections = [];
    draw();
  }

  function selected(event) {
    if (!event || (!event.range && !event.lassoPoints)) return;
    const xs = event.range ? event.range.x : event.lassoPoints.x;
    const ys = event.range ? event.range.y : event.lassoPoints.y;
    region = {
      box: [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)],
      lasso: !event.range,
      rows: new Set(event.points.map((point) => point.customdata)),
    };
    harvest();
  }

  /* ---- one molecule ---- */

  let pointed = null;

  async function hover(event) {
    const row = event.points[0].customdata;
    pointed = row;
    const board = find(".board").getBoundingClientRect();
    const lines = [
      make("b", {}, nameOf(row)),
      make("span", {}, `p_unreliable ${sample.p[row].toFixed(3)}, ${sample.accept[row] ? "accepted" : "to recompute"}`),
      make("span", {}, `${sample.energy[row].toFixed(3)} eV`),
      make("span", {}, sample.reason[row]),
    ];
    const sketch = await sketchOf(row);
    if (pointed !== row) return;
    tip.replaceChildren(...(sketch ? [report.sketch(sketch)] : []), ...lines);
    tip.hidden = false;
    const [x, y] = [event.event.clientX - board.left, event.event.clientY - board.top];
    const right = x + 18 + tip.offsetWidth < board.width ? x + 18 : x - 18 - tip.offsetWidth;
    tip.style.left = `${Math.max(4, Math.min(right, board.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(y - 30, board.height - tip.offsetHeight - 4))}px`;
  }

  function leave() {
    pointed = null;
    tip.hidden = true;
  }

  async function pin(row) {
    pinned = row;
    const title = find("#pinned-title");
    title.textContent = nameOf(row);
    const [sketch, detail] = await Promise.all([
      sketchOf(row), detailed.has(row) ? detailOf(detailed.get(row)) : null,
    ]);
    if (pinned !== row) return;
    report.molecule(find("#pinned-body"), item(row), sketch, detail);
    await draw();
  }

  function step(by) {
    const among = kept();
    if (!among.length) return;
    const at = among.indexOf(pinned);
    pin(among[at < 0 ? 0 : Math.max(0, Math.min(among.length - 1, at + by))]);
  }

  /* ---- hands ---- */

  function tools() {
    for (const button of frame.querySelectorAll("[data-drag]")) {
      button.addEventListener("click", () => {
        drag = drag === button.dataset.drag && drag !== "pan" ? "pan" : button.dataset.drag;
        press();
        Plotly.relayout(plot, { dragmode: drag });
      });
    }
    for (const button of frame.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => zoom(button.dataset.zoom));
    }
    for (const button of frame.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => step(Number(button.dataset.step)));
    }
    find("#download").addEventListener("click", download);
    find("#clear").addEventListener("click", forget);
  }

  function press() {
    for (const button of frame.querySelectorAll("[data-drag]")) {
      button.setAttribute("aria-pressed", String(button.dataset.drag === drag));
    }
  }

  function zoom(by) {
    const [low, high] = map.limits;
    const now = ["xaxis", "yaxis"].map((axis) => plot.layout[axis].range);
    view = by === "all" ? [0, 1].map((at) => [low[at], high[at]]) : now.map(([from, to]) => {
      const [middle, half] = [(from + to) / 2, (to - from) / 2 * Number(by)];
      return [middle - half, middle + half];
    });
    Plotly.relayout(plot, { "xaxis.range": view[0], "yaxis.range": view[1] });
  }

  options();
  tools();
  press();
  form.addEventListener("input", () => { filter(); draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  frame.hidden = false;
  document.getElementById("still").classList.add("paper-only");
  await draw();
  plot.on("plotly_hover", hover);
  plot.on("plotly_unhover", leave);
  plot.on("plotly_click", (event) => pin(event.points[0].customdata));
  plot.on("plotly_selected", selected);
  plot.on("plotly_relayout", () => { view = ["xaxis", "yaxis"].map((axis) => [...plot.layout[axis].range]); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  frame.dataset.ready = "yes";
})();
