"""How fast the remaining error falls as DFT is spent: by PROBE, by spread, at random.

    probe evaluate --checkpoint aimnet2-b973c --labels resources/rare-elements/b973c.parquet \
      --out results/rare-elements
    python resources/rare-elements/curve.py results/rare-elements docs/evidence

Writes recompute.json, recompute.svg and recompute.png to the second folder. What is recomputed has
no error any more; the rest keeps that of the backbone. DFT costs what it took, in core-hours.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rdkit import Chem

from probe import figures, schemas, tables
from probe.comparison import parts

LABELS = Path(__file__).with_name("b973c.parquet")
BACKBONE = "aimnet2-b973c"
SHUFFLES, SEED = 2000, 0
DOUBTED = 0.6
SHARES = (0.1, 0.25, 0.5, 0.75)
"""Of the core-hours that all would take, for the table."""
COLOURS = {"by PROBE": figures.COOL, "by spread": figures.WARM, "at random": figures.MUTED}
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Library:
    """Absolute errors in kcal/mol and core-hours [n], and what says which to recompute first."""

    error: Array
    hours: Array
    unreliable: NDArray[np.bool_]
    p: Array
    spread: Array
    numbers: list[list[int]]


def load(evaluated: Path, cache: Path) -> Library:
    """What `probe evaluate` wrote to ``evaluated``, with the ensemble's spread."""
    said = tables.frame(evaluated / "predictions.parquet", schemas.PREDICTIONS)
    took = pl.read_parquet(LABELS, columns=["conformer_id", "numbers", "dft_seconds"])
    known = parts.gather([LABELS], BACKBONE, cache, "auto", None)
    assert known.members_ev is not None, "fetch the weights of all four members"
    spread = pl.DataFrame(
        {"conformer_id": known.conformer_ids, "spread": known.members_ev.std(axis=1)}
    )
    rows = said.join(took, on="conformer_id").join(spread, on="conformer_id")
    assert rows.height == said.height
    return Library(
        error=rows["error_kcal"].abs().to_numpy(),
        hours=rows["dft_seconds"].to_numpy() / 3600,
        unreliable=rows["unreliable"].to_numpy(),
        p=rows["p_unreliable"].to_numpy(),
        spread=rows["spread"].to_numpy(),
        numbers=rows["numbers"].to_list(),
    )


def by_element(library: Library) -> dict[str, dict[str, float]]:
    """Of the conformers with each element, how many there are and their mean error."""
    found = {}
    for number in sorted(set().union(*library.numbers)):
        error = library.error[[number in numbers for numbers in library.numbers]]
        symbol = Chem.GetPeriodicTable().GetElementSymbol(number)
        found[symbol] = {"n": len(error), "mean_error_kcal": round(float(error.mean()), 4)}
    return found


def least_trusted(library: Library) -> dict[str, float]:
    """Of those with p_unreliable above ``DOUBTED``, the share expected and found unreliable."""
    doubted = library.p > DOUBTED
    shares = {
        "expected": library.p[doubted].mean(),
        "unreliable": library.unreliable[doubted].mean(),
    }
    counts = {"above": DOUBTED, "n": int(doubted.sum())}
    return counts | {name: round(float(share), 4) for name, share in shares.items()}


def left(library: Library, order: NDArray[np.int64], at: Array) -> tuple[Array, Array]:
    """Mean error and unreliable share left when the hours ``at`` are spent in ``order``."""
    spent = np.cumsum(library.hours[order])
    n_done = np.searchsorted(spent, at * (1 + 1e-9), side="right")
    found = []
    for values in (library.error, library.unreliable.astype(float)):
        done = np.concatenate([[0.0], np.cumsum(values[order])])
        found.append((values.sum() - done[n_done]) / len(values))
    return found[0], found[1]


def curves(library: Library, at: Array) -> dict[str, tuple[Array, Array]]:
    """Of each way to choose, mean error and unreliable share [len(at)]."""
    orders = {
        "by PROBE": np.argsort(-library.p, kind="stable"),
        "by PROBE per core-hour": np.argsort(-library.p / library.hours, kind="stable"),
        "by spread": np.argsort(-library.spread, kind="stable"),
        "by the error itself": np.argsort(-library.error, kind="stable"),
    }
    return {name: left(library, order, at) for name, order in orders.items()}


def shuffled(library: Library, at: Array) -> Array:
    """The same of random orders [SHUFFLES, 2, len(at)]."""
    rng = np.random.default_rng(SEED)
    n = len(library.error)
    return np.array([left(library, rng.permutation(n), at) for _ in range(SHUFFLES)])


def draw(at: Array, found: dict[str, tuple[Array, Array]], random: Array, folder: Path) -> None:
    """The two panels: mean error and unreliable share left, by core-hours spent."""
    with figures.style():
        drawn = figures.figure(7.6, 3.2, layout="constrained")
        panels = drawn.subplots(1, 2)
        said = ("mean error left, kcal/mol", "unreliable energies left, %")
        for place, (axes, title) in enumerate(zip(panels, said, strict=True)):
            times = (1, 100)[place]
            low, high = (times * np.quantile(random[:, place], q, axis=0) for q in (0.025, 0.975))
            axes.fill_between(at, low, high, color=figures.GRID, linewidth=0)
            lines = {"at random": random[:, place].mean(axis=0)}
            lines |= {name: curve[place] for name, curve in found.items() if name in COLOURS}
            for name, line in lines.items():
                axes.plot(at, times * line, color=COLOURS[name], label=name)
            best = found["by the error itself"][place]
            axes.plot(at, times * best, ":", color=figures.MUTED, label="if errors were known")
            axes.set(xlabel="DFT spent, core-hours", title=title, xlim=(0, at[-1]))
            axes.set_ylim(bottom=0)
        panels[0].legend()
        figures.save(drawn, folder, "recompute")


def main(evaluated: str, out: str, cache: str = "cache") -> None:
    """Measure, write and draw."""
    library = load(Path(evaluated), Path(cache))
    total = library.hours.sum()
    grid = np.linspace(0, total, 201)
    draw(grid, curves(library, grid), shuffled(library, grid), Path(out))
    at = np.array(SHARES) * total
    random = shuffled(library, at)
    ways = {
        name: {"error_kcal": e, "unreliable": u} for name, (e, u) in curves(library, at).items()
    }
    ways["at random"] = dict(zip(("error_kcal", "unreliable"), random.mean(axis=0), strict=True))
    low, high = np.quantile(random, (0.025, 0.975), axis=0)
    ways["at random, 2.5 %"] = {"error_kcal": low[0], "unreliable": low[1]}
    ways["at random, 97.5 %"] = {"error_kcal": high[0], "unreliable": high[1]}
    record = {
        "n": len(library.error),
        "core_hours": float(total),
        "mean_error_kcal": float(library.error.mean()),
        "unreliable": float(library.unreliable.mean()),
        "by_element": by_element(library),
        "least_trusted": least_trusted(library),
        "shares": list(SHARES),
        "left": {
            way: {what: np.round(values, 4).tolist() for what, values in told.items()}
            for way, told in ways.items()
        },
    }
    tables.write_json(Path(out) / "recompute.json", record)


if __name__ == "__main__":
    main(*sys.argv[1:])
