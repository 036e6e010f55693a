"""Which elements the library holds, where they lie on the map, and how PROBE judges them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rdkit import Chem

from probe import schemas
from probe.report.screening import Screening


@dataclass(frozen=True)
class Element:
    """The conformers of the library that hold one element."""

    symbol: str
    holds: npt.NDArray[np.bool_]  # [conformers]
    n: int
    mean_p: float | None  # over the scored ones; None if the backbone refused all
    n_calibration: int | None  # calibration molecules; None if the card does not say


def elements(screening: Screening) -> list[Element]:
    """Every element present in the library, by atomic number."""
    present: dict[int, npt.NDArray[np.bool_]] = {}
    n = screening.listed.num_rows
    shards = screening.shards(screening.inputs.conformers, schemas.CONFORMERS, ["numbers"])
    for rows, table in shards:
        numbers = table["numbers"].combine_chunks()
        owner = rows[numbers.value_parent_indices().to_numpy()]
        flat = numbers.flatten().to_numpy()
        for number in np.unique(flat):
            holds = present.setdefault(int(number), np.zeros(n, dtype=bool))
            holds[owner[flat == number]] = True
    return [_element(screening, number, present[number]) for number in sorted(present)]


def _element(screening: Screening, number: int, holds: npt.NDArray[np.bool_]) -> Element:
    symbol = Chem.GetPeriodicTable().GetElementSymbol(number)
    scored = screening.p[holds & ~np.isnan(screening.p)]
    seen = screening.card.get("elements")
    return Element(
        symbol=symbol,
        holds=holds,
        n=int(holds.sum()),
        mean_p=float(scored.mean()) if len(scored) else None,
        n_calibration=None if seen is None else int(seen.get(symbol, 0)),
    )
