"""How pages are made of templates: the environment, and how numbers are written."""

from pathlib import Path

import jinja2

FOLDER = Path(__file__).parent


def environment() -> jinja2.Environment:
    """The templates of the package; what they insert is escaped, and must be there."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"count": count, "share": share, "number": number, "signed": signed}
    return made


def count(value: int) -> str:
    """With commas between the thousands."""
    return f"{value:,}"


def share(part: float, whole: float = 1) -> str:
    """``part`` of ``whole`` in per cent, never rounded to nothing or to all."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def signed(value: float, digits: int = 2) -> str:
    """With its sign, typographic so that it keeps to its number at the end of a line."""
    return f"{value:+,.{digits}f}".replace("-", "−")


def number(value: float) -> str:
    """A whole number as a count, any other with three digits after the point."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
