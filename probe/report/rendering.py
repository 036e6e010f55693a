"""How pages are made of templates: the environment, and how numbers are written."""

from pathlib import Path

import jinja2

FOLDER = Path(__file__).parent
SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def environment() -> jinja2.Environment:
    """The templates of the package; what they insert is escaped, and must be there."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        **{"count": count, "share": share, "number": number, "signed": signed},
        **{"hours": hours, "pvalue": pvalue},
    }
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


def hours(value: float) -> str:
    """To a hundredth, or whole where there are many."""
    if 0 < value < 0.01:
        return "< 0.01"
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"


def pvalue(value: float) -> str:
    """A probability to two digits, a tiny one as a power of ten."""
    if value >= 0.001:
        return f"{value:.2g}"
    if value < 1e-300:
        return "< 10⁻³⁰⁰"
    digits, power = f"{value:.1e}".split("e-")
    return f"{digits} × 10⁻{str(int(power)).translate(SUPERSCRIPT)}"
