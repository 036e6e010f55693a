"""Two screenings side by side: their conformers matched, and the order of a table of them."""

from collections.abc import Iterable, Mapping, Sequence

import polars as pl


def matched(
    screenings: Mapping[str, pl.DataFrame], answers: Sequence[str], identity: Iterable[str]
) -> pl.DataFrame:
    """One row for each conformer of either of two ``screenings``.

    Their ``answers`` stand apart, as ``<answer>_<screening>``; the columns of ``identity`` are of
    the first that has the conformer.
    """
    first, second = (
        rows.rename({name: f"{name}_{side}" for name in answers})
        for side, rows in screenings.items()
    )
    joined = first.join(second, on="conformer_id", how="full", coalesce=True)
    return joined.with_columns(pl.coalesce(name, f"{name}_right") for name in identity)


def in_order(rows: pl.DataFrame, kinds: Iterable[str], one: str, other: str) -> pl.DataFrame:
    """``rows`` in the order of ``kinds``, the largest differences in p_unreliable first."""
    order = list(kinds)
    return rows.sort(
        pl.col("kind").replace_strict(order, range(len(order))),
        (pl.col(f"p_unreliable_{one}") - pl.col(f"p_unreliable_{other}")).abs(),
        "conformer_id",
        descending=[False, True, False],
        nulls_last=True,
    )
