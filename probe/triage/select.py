"""The conformers of a triaged library that a question is about."""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from pathlib import Path

import polars as pl
import polars.selectors as cs
from ase.data import atomic_numbers

from probe import schemas, tables
from probe.errors import ProbeError
from probe.library.plan import load
from probe.triage import exports

MAP_FILE = "map.parquet"
TEXTS = ("conformer_id", "molecule_id", "synonyms", "source", "smiles", "reason")
"""Columns that a text is looked for in."""
GEOMETRY = ("numbers", "positions")


SUFFIXES = (".csv", ".parquet", *exports.WRITERS)


@dataclass(frozen=True)
class Query:
    """What a conformer must be to be selected; None and nothing ask for nothing.

    ``elements`` are symbols that it must all hold; ``text`` is looked for as it is, in upper or
    lower case, in ``TEXTS``; ``box`` is x0, x1, y0, y1 on the report's map. Bounds are included.
    """

    verdict: str | None = None
    elements: tuple[str, ...] = ()
    text: str | None = None
    p_min: float | None = None
    p_max: float | None = None
    box: tuple[float, float, float, float] | None = None


def select(folder: Path, query: Query) -> pl.DataFrame:
    """Rows of ``schemas.SELECTED`` of the triaged library in ``folder``, as ``query`` wants them.

    Raises:
        ProbeError: a table is missing or broken, or an element does not exist.
    """
    numbers = {_number(symbol) for symbol in query.elements}
    lists = [folder / f"{name}.parquet" for name in ("accept", "recompute")]
    listed = pl.concat([tables.frame(path, schemas.TRIAGED) for path in lists])
    rows = listed.join(_places(folder, query), on="conformer_id", how="left")
    rows = rows.filter(_condition(query)).select(schemas.SELECTED.names)
    return rows.join(_holders(folder, numbers), on="conformer_id", how="semi") if numbers else rows


def write(rows: pl.DataFrame, folder: Path, out: Path, suffix: str | None = None) -> None:
    """Write ``rows`` from ``select`` to ``out``, as its suffix (or the given one) says.

    .csv and .parquet hold the columns of ``schemas.SELECTED``; any other that
    ``exports.WRITERS`` knows holds the geometries, too. Text that a spreadsheet would take for a
    formula begins with an apostrophe in .csv.

    Raises:
        ProbeError: the suffix is unknown, or a conformer's geometry is in no shard.
    """
    suffix = out.suffix if suffix is None else suffix
    if suffix == ".csv":
        tables.atomically(out, _inert(rows).write_csv)
    elif suffix == ".parquet":
        library = load(folder / "plan.json").library
        tables.write(out, rows.to_arrow(), schemas.SELECTED, {"library": library})
    elif suffix in exports.WRITERS:
        exports.WRITERS[suffix](_with_geometries(rows, folder), out)
    else:
        raise ProbeError(
            f"{out}: unknown suffix {suffix or '(none)'}; known are {' '.join(SUFFIXES)}"
        )


def _inert(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(cs.string().str.replace(r"^[=+\-@\t\r]", "'$0"))


def _condition(query: Query) -> pl.Expr:
    """What the columns of a row must say."""
    p, x, y = pl.col("p_unreliable"), pl.col("x"), pl.col("y")
    asked = [pl.lit(value=True)]
    if query.verdict is not None:
        asked.append(pl.col("verdict") == query.verdict)
    if query.text:
        small = query.text.lower()
        held = [pl.col(name).str.to_lowercase().str.contains(small, literal=True) for name in TEXTS]
        asked.append(pl.any_horizontal(*held))
    if query.p_min is not None:
        asked.append(p >= query.p_min)
    if query.p_max is not None:
        asked.append(p <= query.p_max)
    if query.box is not None:
        for place, ends in ((x, query.box[:2]), (y, query.box[2:])):
            asked.append(place.is_between(min(ends), max(ends)))
    return reduce(and_, asked)


def _places(folder: Path, query: Query) -> pl.DataFrame:
    """The map's coordinates; without a map null, unless they are asked for."""
    if query.box is None and not (folder / MAP_FILE).exists():
        return pl.DataFrame(schema={"conformer_id": pl.String, "x": pl.Float64, "y": pl.Float64})
    if not (folder / MAP_FILE).exists():
        raise ProbeError(
            f"{folder / MAP_FILE}: no such file, so there is no map to draw a box on; "
            "make the report of this library first"
        )
    return tables.frame(folder / MAP_FILE, schemas.MAP)


def _holders(folder: Path, numbers: set[int]) -> pl.DataFrame:
    """The ids of the conformers that hold every one of the atomic ``numbers``."""
    held = [
        shard.filter(pl.all_horizontal(*(pl.col("numbers").list.contains(n) for n in numbers)))
        for shard in _shards(folder, ["numbers"])
    ]
    return pl.concat([shard.select("conformer_id") for shard in held])


def _with_geometries(rows: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """``rows`` with atomic numbers and positions, in their order."""
    wanted = rows.select("conformer_id")
    found = pl.concat(
        [shard.join(wanted, on="conformer_id", how="semi") for shard in _shards(folder, GEOMETRY)]
    ).unique("conformer_id", keep="first")
    joined = rows.join(found, on="conformer_id", how="left", maintain_order="left")
    lost = joined.filter(pl.col("positions").is_null())["conformer_id"]
    if len(lost):
        raise ProbeError(
            f"{folder}: conformer {lost[0]} is listed but is in no shard; run the triage again"
        )
    return joined


def _shards(folder: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    for path in load(folder / "plan.json").files(folder / "conformers"):
        yield tables.frame(path, schemas.CONFORMERS, ["conformer_id", *columns])


def _number(symbol: str) -> int:
    elements = {name: number for name, number in atomic_numbers.items() if number}
    found = elements.get(symbol.strip().capitalize())
    if found is not None:
        return int(found)
    near = difflib.get_close_matches(symbol.capitalize(), elements, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ProbeError(f"{symbol}: no such element{hint}")
