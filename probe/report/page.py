"""The report of a screened library: one HTML file that opens offline."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from plotly.offline import get_plotlyjs

from probe import __version__, figures, tables
from probe.report import composition, contents, embedding_map, facts, rendering
from probe.report.contents import Filled
from probe.report.material import Material
from probe.report.rendering import FOLDER
from probe.report.screening import Inputs, load

__all__ = ["Inputs", "write_report"]


def write_report(inputs: Inputs, out: Path) -> None:
    """Write the report of the triaged library to ``out`` and its figures to ``inputs.figures``.

    Raises:
        ProbeError: a file is missing or broken, or counts that must be equal are not.
    """
    screening = load(inputs)
    elements = composition.elements(screening)
    with figures.style():
        places = embedding_map.locate(screening)
        embedding_map.save(places, screening)
        material = Material(screening, elements, places)
        sections = list(contents.filled(material))
    page = _render(material, sections)
    tables.atomically(out, lambda handle: handle.write(page.encode()))


def as_json(value: object) -> Markup:
    """``value`` as JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _render(material: Material, sections: Sequence[Filled]) -> str:
    data = {s.anchor: s.content["data"] for s in sections if "data" in s.content}
    named = [name for s in sections for name in s.content.get("scripts", ())]
    scripts = [_script(name) for name in dict.fromkeys(["report.js", *named])]
    screening = material.screening
    template = rendering.environment().get_template("template.html")
    return template.render(
        library=screening.inputs.library,
        summary=screening.summary,
        held_out=facts.held_out(screening.card),
        screening=screening,
        sections=sections,
        style=Markup((FOLDER / "style.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        digests=[_digest(script) for script in scripts],
        # plotly compiles its shaders' calls; the digests still decide which scripts run at all
        compiles="plotly" in named,
        data=as_json(data),
        probe_version=__version__,
    )


def _script(name: str) -> str:
    """The script ``name`` of this folder, or plotly's, which comes with its package."""
    return get_plotlyjs() if name == "plotly" else (FOLDER / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """What the page's policy lets run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
