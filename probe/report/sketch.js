"use strict";
/* Draws a sketch: see probe/report/sketches.py for what it holds. */
report.sketch = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const GAP = 4.2; // between the lines of a double bond
  const ROOM = 9; // that a label takes from its bonds
  const [SINGLE, DOUBLE, TRIPLE, WEDGE, HASHED, LEFT, RIGHT] = [1, 2, 3, 4, 5, 6, 7];

  function shape(tag, attributes) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  function line(from, to, side = 0, shorter = 0) {
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const length = Math.hypot(dx, dy) || 1;
    const [ux, uy] = [dx / length, dy / length];
    const [ox, oy] = [-uy * side, ux * side];
    return shape("line", {
      x1: from[0] + ox + ux * shorter, y1: from[1] + oy + uy * shorter,
      x2: to[0] + ox - ux * shorter, y2: to[1] + oy - uy * shorter,
    });
  }

  function wedge(from, to) {
    const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
    const ox = -3 * (to[1] - from[1]) / length;
    const oy = 3 * (to[0] - from[0]) / length;
    const points = `${from} ${to[0] + ox},${to[1] + oy} ${to[0] - ox},${to[1] - oy}`;
    return shape("polygon", { points, class: "solid" });
  }

  function hashed(from, to) {
    const group = shape("g", {});
    for (let step = 1; step <= 6; step += 1) {
      const at = step / 6;
      const middle = [from[0] + (to[0] - from[0]) * at, from[1] + (to[1] - from[1]) * at];
      const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
      const half = 3.2 * at;
      const ox = -half * (to[1] - from[1]) / length;
      const oy = half * (to[0] - from[0]) / length;
      group.append(shape("line", {
        x1: middle[0] + ox, y1: middle[1] + oy, x2: middle[0] - ox, y2: middle[1] - oy,
      }));
    }
    return group;
  }

  function bond(from, to, kind) {
    if (kind === WEDGE) return [wedge(from, to)];
    if (kind === HASHED) return [hashed(from, to)];
    if (kind === DOUBLE) return [line(from, to, GAP / 2), line(from, to, -GAP / 2)];
    if (kind === TRIPLE) return [line(from, to), line(from, to, GAP), line(from, to, -GAP)];
    if (kind === LEFT) return [line(from, to), line(from, to, -GAP, 3.5)];
    if (kind === RIGHT) return [line(from, to), line(from, to, GAP, 3.5)];
    return [line(from, to)];
  }

  /** A label such as NH3+, its hydrogens on the side that has no bond. */
  function label([x, y], symbol, hydrogens, charge, leftwards) {
    const text = shape("text", { x, y: y + 4.8 });
    const part = (content, shift, small) => {
      const span = shape("tspan", small ? { dy: shift, class: "small" } : { dy: shift });
      span.textContent = content;
      return span;
    };
    const tail = hydrogens ? [part("H", 0, false)] : [];
    if (hydrogens > 1) tail.push(part(String(hydrogens), 3, true), part("\u200b", -3, false));
    const sign = charge ? `${Math.abs(charge) > 1 ? Math.abs(charge) : ""}${charge > 0 ? "+" : "−"}` : "";
    const head = [part(symbol, 0, false)];
    if (sign && leftwards) head.push(part(sign, -5, true));
    text.append(...(leftwards ? [...tail, ...head] : [...head, ...tail]));
    if (sign && !leftwards) text.append(part(sign, -5, true));
    // the symbol itself stays on its atom, whatever hangs on to it
    const lead = symbol.length * 4.4;
    text.setAttribute("text-anchor", leftwards ? "end" : "start");
    text.setAttribute("x", leftwards ? x + lead + (sign ? 5 : 0) : x - lead);
    return text;
  }

  /** An SVG element of ``sketch``, coloured by importance where that is known. */
  return (sketch) => {
    const [flat, labels, bonds, shares] = sketch;
    const places = Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
    const named = new Map(labels.map((entry) => [entry[0], entry]));
    const [xs, ys] = [places.map((place) => place[0]), places.map((place) => place[1])];
    const [left, top] = [Math.min(...xs) - 26, Math.min(...ys) - 20];
    const [width, height] = [Math.max(...xs) + 26 - left, Math.max(...ys) + 20 - top];
    const svg = shape("svg", {
      viewBox: `${left} ${top} ${width} ${height}`, class: "sketch", "aria-hidden": "true",
    });
    const glow = shape("g", { class: "glow" });
    (shares || []).forEach((share, i) => {
      if (share > 0) {
        glow.append(shape("circle", { cx: places[i][0], cy: places[i][1], r: 12, "fill-opacity": 0.0085 * share }));
      }
    });
    const lines = shape("g", { class: "bonds" });
    const towards = places.map(() => [0, 0]);
    for (let i = 0; i < bonds.length; i += 3) {
      const [a, b, kind] = bonds.slice(i, i + 3);
      const [from, to] = [[...places[a]], [...places[b]]];
      const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
      const [ux, uy] = [(to[0] - from[0]) / length, (to[1] - from[1]) / length];
      towards[a][0] += ux; towards[b][0] -= ux;
      towards[a][1] += uy; towards[b][1] -= uy;
      if (named.has(a)) { from[0] += ROOM * ux; from[1] += ROOM * uy; }
      if (named.has(b)) { to[0] -= ROOM * ux; to[1] -= ROOM * uy; }
      lines.append(...bond(from, to, kind));
    }
    const texts = shape("g", { class: "labels" });
    for (const [i, symbol, hydrogens, charge] of labels) {
      texts.append(label(places[i], symbol, hydrogens, charge, towards[i][0] > 0.1));
    }
    svg.append(glow, lines, texts);
    svg.style.maxWidth = `${Math.max(90, 1.5 * width)}px`;
    return svg;
  };
})();
