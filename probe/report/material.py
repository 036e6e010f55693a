"""What every section of the report is made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from probe.report.composition import Element
from probe.report.screening import Floats, Screening


@dataclass(frozen=True)
class Material:
    """A triaged library with what more than one section needs of it."""

    screening: Screening
    elements: Sequence[Element]
    places: Floats | None  # map coordinates [conformers, 2], NaN where there is none; None: no map
