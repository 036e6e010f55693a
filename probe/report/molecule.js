"use strict";
/* The pinned molecule: its facts, drawing, attention matrix and geometry. */
report.molecule = (() => {
  const { make, percent, colour } = report;
  const SYMBOLS = ("X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn "
    + "Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm "
    + "Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa "
    + "U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og").split(" ");

  const atomName = (detail, i) => `${SYMBOLS[detail.numbers[i]]}${i + 1}`;

  /** Term and description of each fact that is known. */
  function facts(rows) {
    const known = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
    return make("dl", {}, ...known.map(([term, value]) => make("div", {}, make("dt", {}, term), make("dd", {}, value))));
  }

  function mixed(share) {
    const number = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
    const [from, to] = [number(colour("--paper")), number(colour("--warm"))];
    return from.map((value, i) => value + (to[i] - value) * share);
  }

  /** The attention matrix as a picture, with what a cell says where the pointer is. */
  function attention(detail) {
    const n = detail.numbers.length;
    const bytes = Uint8Array.from(atob(detail.attention), (sign) => sign.charCodeAt(0));
    const edge = n <= 45 ? 26 : 0;
    const cell = Math.min(22, (380 - edge) / n);
    const ratio = window.devicePixelRatio || 1;
    const size = edge + n * cell;
    const canvas = make("canvas", { width: size * ratio, height: size * ratio, role: "img" });
    canvas.style.width = `${size}px`;
    const brush = canvas.getContext("2d");
    const paint = () => {
      brush.setTransform(ratio, 0, 0, ratio, 0, 0);
      brush.clearRect(0, 0, size, size);
      for (let at = 0; at < n * n; at += 1) {
        brush.fillStyle = `rgb(${mixed(bytes[at] / 255).join(" ")})`;
        // a little wider than it is: no seams between cells of a broken width
        brush.fillRect(edge + (at % n) * cell, edge + Math.floor(at / n) * cell, cell + 0.4, cell + 0.4);
      }
      brush.strokeStyle = colour("--grid");
      brush.strokeRect(edge + 0.5, edge + 0.5, n * cell - 1, n * cell - 1);
      if (!edge) return;
      brush.fillStyle = colour("--ink");
      const letters = Math.max(7, Math.min(10, cell));
      brush.font = `${letters}px system-ui, sans-serif`;
      brush.textBaseline = "middle";
      for (let i = 0; i < n; i += 1) {
        const middle = edge + (i + 0.5) * cell;
        brush.textAlign = "right";
        brush.fillText(atomName(detail, i), edge - 3, middle);
        brush.save();
        brush.translate(middle, edge - 3);
        brush.rotate(-Math.PI / 2);
        brush.textAlign = "left";
        brush.fillText(atomName(detail, i), 0, 0);
        brush.restore();
      }
    };
    const share = (at) => percent(detail.largest * bytes[at] / 255);
    const says = (at) => `${atomName(detail, Math.floor(at / n))} gives ${atomName(detail, at % n)} ${share(at)} of its attention`;
    const strongest = bytes.indexOf(255);
    canvas.setAttribute("aria-label", `Attention matrix of ${n} atoms. Strongest: ${says(strongest)}.`);
    const told = make("p", { class: "told" }, `Strongest: ${says(strongest)}.`);
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const scale = size / box.width;
      const column = Math.floor(((event.clientX - box.left) * scale - edge) / cell);
      const row = Math.floor(((event.clientY - box.top) * scale - edge) / cell);
      if (row >= 0 && column >= 0 && row < n && column < n) told.textContent = `${says(row * n + column)}.`;
    });
    paint();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    return make("figure", { class: "attention" }, canvas, told, make("figcaption", {},
      "Row: the atom that attends; column: the atom attended to. Mean over heads and networks."));
  }

  let viewer = null;
  const stand = make("div", { class: "viewer", role: "img" });
  const CROWD = 20; // heavy atoms beyond which numbers hide the molecule

  /** The geometry to turn around, in the one viewer that the page has. */
  function geometry(detail) {
    const n = detail.numbers.length;
    const place = (i) => detail.positions.slice(3 * i, 3 * i + 3).map((value) => value / 100);
    const lines = detail.numbers.map((number, i) => `${SYMBOLS[number]} ${place(i).join(" ")}`);
    const heavy = detail.numbers.filter((number) => number > 1).length;
    const numbered = make("input", { type: "checkbox" });
    numbered.checked = heavy <= CROWD;
    const label = () => {
      viewer.removeAllLabels();
      detail.numbers.forEach((number, i) => {
        if (!numbered.checked || (number === 1 && heavy)) return;
        const [x, y, z] = place(i);
        viewer.addLabel(atomName(detail, i), {
          position: { x, y, z }, fontSize: 10, fontColor: "#111", backgroundColor: "#ffffff",
          backgroundOpacity: 0.6, padding: 1, alignment: "center", inFront: true,
        });
      });
      viewer.render();
    };
    const shown = () => {
      viewer = viewer || window.$3Dmol.createViewer(stand, { backgroundColor: "#ffffff" });
      viewer.clear();
      viewer.addModel(`${n}\n\n${lines.join("\n")}\n`, "xyz");
      viewer.setStyle({}, { stick: { radius: 0.13 }, sphere: { scale: 0.24 } });
      viewer.resize();
      viewer.zoomTo();
      label();
    };
    numbered.addEventListener("change", label);
    stand.setAttribute("aria-label", `The conformer of ${n} atoms in three dimensions`);
    const figure = make("figure", { class: "geometry" }, stand,
      make("label", {}, numbered, "Numbers of the atoms, as in the matrix"),
      make("figcaption", {}, "Drag to turn, scroll to zoom."));
    return [figure, shown];
  }

  const hasWebGL = () => {
    const brush = document.createElement("canvas").getContext("webgl");
    return Boolean(brush);
  };

  /** Fill ``body`` with all that is known of a molecule. */
  return (body, item, sketch, detail) => {
    const parts = [];
    if (sketch) {
      const figure = make("figure", {}, report.sketch(sketch));
      figure.append(make("figcaption", {}, sketch[3]
        ? `Orange: the atoms that received the attention, hydrogens counted with their neighbour; the most important one ${percent(sketch[4])} of it.`
        : "Not coloured: the importance of the drawn atoms is not known."));
      parts.push(figure);
    } else {
      parts.push(make("p", { class: "empty" }, "No drawing of this molecule is in the page."));
    }
    parts.push(facts([
      ["p_unreliable", item.p.toFixed(3)],
      ["verdict", item.accept ? "accepted" : "to recompute"],
      ["reason", item.reason],
      ["energy", `${item.energy.toFixed(4)} eV`],
      ["error", item.error === null ? null : `${item.error.toFixed(2)} kcal/mol (reference − backbone)`],
      ["conformer", item.id],
      ["source", item.source],
      ["SMILES", item.smiles],
    ]));
    let afterwards = () => {};
    if (detail && detail.attention) parts.push(make("h4", {}, "Which atom attends to which"), attention(detail));
    if (detail && hasWebGL()) {
      const [figure, shown] = geometry(detail);
      parts.push(make("h4", {}, "Geometry"), figure);
      afterwards = shown;
    } else if (detail) {
      parts.push(make("p", { class: "empty" }, "No geometry: this browser has no WebGL."));
    } else {
      parts.push(make("p", { class: "small" }, "Attention and geometry are in the page for the worst molecules and some of the others; this is none of them."));
    }
    body.replaceChildren(...parts);
    afterwards();
  };
})();
