"""Retrospective active learning on QM9: labelling by PROBE, by an ensemble's spread, at random.

    python resources/qm9/active_learning.py SETS FOLDER [SEED ...]

SETS is the folder that build.py filled. Every seed draws molecules of ``pool`` to begin with and
trains a small MACE on them. In each cycle a strategy names the batch that is labelled next, and a
new network is trained on all labels, by one recipe for all. Errors are those on ``held_out``.

PROBE learns from labels that no network is trained on. What they would have been worth to one is
the line "random, calibration too".

FOLDER keeps every step: what was stopped, even killed, goes on there, and seeds may run side by
side. Without a SEED all are run, and result.json, result.md and the figure are written.
"""

import copy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from members import errors
from numpy.typing import NDArray
from potential import Examples, Recipe, energies, train
from scipy.stats import spearmanr
from torch import nn

from probe import figures, tables
from probe.backbones import Geometry, mace
from probe.classifier import labels, training
from probe.classifier.labels import Labels
from probe.classifier.network import Sample
from probe.errors import ProbeError
from probe.triage import acquire

BATCH = 64
Rows = NDArray[np.int64]
Scores = NDArray[np.float64]
Points = NDArray[np.float32]


@dataclass(frozen=True)
class Protocol:
    """The same for all strategies. ``calibration`` labels teach PROBE, and no network."""

    seeds: tuple[int, ...] = (0, 1, 2)
    start: int = 1000
    batch: int = 500
    cycles: int = 2
    members: int = 3
    calibration: int = 1000
    diversity: int = acquire.Settings.diversity
    network: Recipe = field(default=Recipe(channels=32, max_ell=1, epochs=20))
    probe: training.Recipe = field(default=training.Recipe())


PROTOCOL = Protocol()


@dataclass(frozen=True)
class Data:
    """Labels of the pool, those that calibrate after them, and what is held out."""

    known: Labels
    n_pool: int
    held_out: Labels

    @classmethod
    def read(cls, sets: Path, n_calibration: int) -> "Data":
        """From the files of build.py; the first of ``labelled`` calibrate."""
        pool, others = (labels.read(sets / f"{name}.parquet") for name in ("pool", "labelled"))
        known = replace(
            pool,
            conformer_ids=pool.conformer_ids + others.conformer_ids[:n_calibration],
            smiles=pool.smiles + others.smiles[:n_calibration],
            geometries=pool.geometries + others.geometries[:n_calibration],
            energy_ev=np.append(pool.energy_ev, others.energy_ev[:n_calibration]),
        )
        return cls(known, len(pool), labels.read(sets / "held_out.parquet"))

    @property
    def pool(self) -> Rows:
        """Rows of ``known`` that may be asked for."""
        return np.arange(self.n_pool)

    @property
    def calibration(self) -> Rows:
        """Rows of ``known`` that are there from the start, for PROBE."""
        return np.arange(self.n_pool, len(self.known))

    def some(self, rows: Rows) -> Labels:
        """Those ``rows`` of ``known``."""
        return replace(
            self.known,
            conformer_ids=tuple(self.known.conformer_ids[row] for row in rows),
            smiles=tuple(self.known.smiles[row] for row in rows),
            geometries=tuple(self.known.geometries[row] for row in rows),
            energy_ev=self.known.energy_ev[rows],
        )


@dataclass(frozen=True)
class Step:
    """A seed's labels at one time, and what is made of them in ``folder``."""

    data: Data
    protocol: Protocol
    seed: int
    rows: Rows
    folder: Path

    def network(self, member: int = 0) -> nn.Module:
        """A network fitted to the labels; members differ in the weights they began with."""
        fitted = self.data.some(self.rows)
        return train(
            Examples(fitted.geometries, fitted.energy_ev),
            self.protocol.network,
            100 * self.seed + member,
            self.folder / f"member-{member}.pt",
        )

    def figures(self) -> dict[str, float]:
        """Errors of the network on what is held out."""
        path = self.folder / "errors.json"
        if not path.exists():
            held_out = self.data.held_out
            found = energies(self.network(), held_out.geometries)
            tables.write_json(path, errors(held_out.energy_ev - found))
        return tables.read_json(path)

    def pool_energies(self, member: int = 0) -> Scores:
        """What a network says of the whole pool, eV [P]."""
        pool = self.data.some(self.data.pool).geometries
        return self.kept(
            f"energies-{member}", lambda: {"ev": energies(self.network(member), pool)}
        )["ev"]

    def kept(self, name: str, make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, Any]:
        """Arrays that more than one strategy asks for, made once."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            made = make()
            tables.atomically(path, lambda handle: np.savez(handle, **made))
        with np.load(path) as arrays:
            return dict(arrays)

    def batch(self, strategy: str) -> dict[str, Any]:
        """What ``strategy`` labels next, and how well it knew: rows and what they were like."""
        path = self.folder / f"{strategy}.json"
        if not path.exists():
            scores, points = STRATEGIES[strategy](self)
            tables.write_json(path, self._chosen(scores, points))
        return tables.read_json(path)

    def _chosen(self, scores: Scores, points: Points | None) -> dict[str, Any]:
        """The highest ``scores`` [P] not labelled yet; with ``points`` [P, D] spread over them."""
        pool = self.data.some(self.data.pool)
        numbers = dict(zip(pool.conformer_ids, range(len(pool)), strict=True))
        scored = pl.DataFrame(
            {"conformer_id": pool.conformer_ids, "smiles": pool.smiles, "p_unreliable": scores}
        )
        diversity = 1 if points is None else self.protocol.diversity
        selection = acquire.select(
            scored,
            lambda ids: points[[numbers[name] for name in ids]],
            acquire.Settings(n=self.protocol.batch, per_molecule=1, diversity=diversity),
            [self.data.known.conformer_ids[row] for row in self.rows],
        )
        rows = [numbers[name] for name in selection.batch["conformer_id"]]
        size = 1000 * np.abs(pool.energy_ev - self.pool_energies())
        open_to = np.setdiff1d(self.data.pool, self.rows)
        return {
            "rows": rows,
            "mae_of_chosen_mev": float(size[rows].mean()),
            "mae_of_open_mev": float(size[open_to].mean()),
            "spearman": float(spearmanr(scores[open_to], size[open_to]).statistic),
        }


def at_random(step: Step) -> tuple[Scores, None]:
    """No preference."""
    draw = np.random.default_rng([step.seed, len(step.rows)])
    return draw.random(step.data.n_pool), None


def by_spread(step: Step) -> tuple[Scores, None]:
    """Standard deviation of the energies of networks that differ in their seed, eV."""
    found = [step.pool_energies(member) for member in range(step.protocol.members)]
    return np.std(found, axis=0), None


def by_probe(step: Step) -> tuple[Scores, Points]:
    """p_unreliable of a PROBE of this network, and its molecular embeddings."""
    found = step.kept("probe", lambda: probed(step))
    return found["p_unreliable"], found["embeddings"]


def probed(step: Step) -> dict[str, NDArray[Any]]:
    """What a PROBE that is fitted to the calibration's labels says of the pool."""
    known = step.data.some(step.data.calibration)
    network = step.network()
    identity = {"name": "active learning", "backbone": "a small MACE", "fingerprint": "its own"}
    checkpoint = training.train(
        known, samples(network, known.geometries), identity, step.protocol.probe
    )
    scored = checkpoint.score(samples(network, step.data.some(step.data.pool).geometries))
    return {
        "p_unreliable": np.array([one.p_unreliable for one in scored]),
        "embeddings": np.stack([one.embedding for one in scored]),
    }


STRATEGIES: dict[str, Callable[[Step], tuple[Scores, Points | None]]] = {
    "random": at_random,
    "spread": by_spread,
    "probe": lambda step: (by_probe(step)[0], None),
    "probe-diverse": by_probe,
}
"""What scores the pool, and where its choice is spread as that of `probe acquire`, in what."""


@mace.quiet()
def samples(network: nn.Module, geometries: Sequence[Geometry]) -> list[Sample]:
    """What PROBE sees of each geometry."""
    backbone = mace.MaceBackbone(
        "learner",
        "its own",
        mace.Network(copy.deepcopy(network), "Default"),
        torch.device("cpu"),
        torch.float32,
    )
    found = []
    for start in range(0, len(geometries), BATCH):
        batch = geometries[start : start + BATCH]
        seen = backbone.evaluate(batch)
        ends = np.cumsum([len(geometry.numbers) for geometry in batch])[:-1]
        features = np.split(seen.atom_features, ends)
        found += [
            Sample(feature, None, geometry.numbers, float(energy))
            for feature, geometry, energy in zip(features, batch, seen.energy, strict=True)
        ]
    return found


def run(data: Data, protocol: Protocol, seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Every strategy of one seed, a record a network; the first networks are shared."""
    drawn = np.random.default_rng(seed).permutation(data.n_pool)[: protocol.start]
    start = Step(data, protocol, seed, np.sort(drawn), folder / "start")
    for strategy in STRATEGIES:
        step = start
        for cycle in range(1, protocol.cycles + 1):
            yield record(step, strategy)
            rows = np.append(step.rows, step.batch(strategy)["rows"])
            step = replace(step, rows=rows, folder=folder / f"{strategy}-{cycle}")
        yield record(step, strategy)
        if strategy == "random":
            everything = np.append(step.rows, data.calibration)
            step = replace(step, rows=everything, folder=folder / "random-calibration")
            yield record(step, "random, calibration too")


def record(step: Step, strategy: str) -> dict[str, Any]:
    """Errors after so many labels."""
    known = {"seed": step.seed, "strategy": strategy, "n_labels": len(step.rows)}
    print(known, file=sys.stderr, flush=True)
    return known | step.figures()


def summary(records: pl.DataFrame) -> pl.DataFrame:
    """Means over seeds and their standard deviations, a row for a strategy and a size."""
    shown = ("rmse_mev", "mae_mev", "percentile_95_mev")
    at_start = records["n_labels"] == records["n_labels"].min()
    once = records.filter(~at_start | (records["strategy"] == "random"))
    return (
        once.with_columns(
            strategy=pl.when(once["n_labels"] == once["n_labels"].min())
            .then(pl.lit("start"))
            .otherwise("strategy")
        )
        .group_by("strategy", "n_labels", maintain_order=True)
        .agg(
            pl.len().alias("seeds"),
            *(pl.mean(name) for name in shown),
            *(pl.std(name).alias(f"{name}_sd") for name in shown),
        )
        .sort("n_labels", maintain_order=True)
    )


def in_words(table: pl.DataFrame) -> str:
    """The summary as Markdown."""
    lines = ["| labels | strategy | seeds | RMSE, meV | MAE, meV | 95 % below, meV |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in table.iter_rows(named=True):
        cells = [
            f"{row[name]:.1f} ± {row[f'{name}_sd']:.1f}"
            if row[f"{name}_sd"] is not None
            else f"{row[name]:.1f}"
            for name in ("rmse_mev", "mae_mev", "percentile_95_mev")
        ]
        lines.append(
            f"| {row['n_labels']} | {row['strategy']} | {row['seeds']} | {' | '.join(cells)} |"
        )
    return "\n".join(lines) + "\n"


def draw(records: pl.DataFrame, folder: Path) -> None:
    """RMSE over labels, a line for a strategy, a dot for a seed."""
    with figures.style():
        drawn = figures.figure(5.6, 3.6, layout="constrained")
        axes = drawn.subplots()
        colours = (figures.MUTED, figures.GHOST, figures.COOL, figures.WARM, figures.INK)
        names = records["strategy"].unique(maintain_order=True)
        for strategy, colour in zip(names, colours, strict=True):
            rows = records.filter(strategy=strategy)
            means = rows.group_by("n_labels").agg(pl.mean("rmse_mev")).sort("n_labels")
            axes.plot(*means, color=colour, label=strategy)
            axes.plot(rows["n_labels"], rows["rmse_mev"], ".", color=colour, alpha=0.5)
        axes.set(xlabel="labels trained on", ylabel="RMSE on held-out molecules, meV")
        axes.legend()
        figures.save(drawn, folder, "active-learning")


def require_same(folder: Path, protocol: Protocol) -> None:
    """Note ``protocol`` in a new ``folder``.

    Raises:
        ProbeError: the steps that are there are of another one.
    """
    path, noted = folder / "protocol.json", {**asdict(protocol), "seeds": list(protocol.seeds)}
    if path.exists() and tables.read_json(path) != noted:
        raise ProbeError(f"{path}: of another protocol than the script's; choose another folder")
    tables.write_json(path, noted)


def main(sets: Path, folder: Path, *seeds: str, protocol: Protocol = PROTOCOL) -> None:
    """Run ``seeds``, or all and write the result.

    Raises:
        ProbeError: a set is missing, or the steps in ``folder`` are of another protocol.
    """
    require_same(folder, protocol)
    data = Data.read(sets, protocol.calibration)
    chosen = [int(seed) for seed in seeds] or protocol.seeds
    found = [one for seed in chosen for one in run(data, protocol, seed, folder / f"seed-{seed}")]
    if seeds:
        return
    records = pl.DataFrame(found)
    table = summary(records)
    batches = {
        str(path.relative_to(folder).with_suffix("")): tables.read_json(path)
        for path in sorted(folder.glob("seed-*/*/*.json"))
        if path.stem in STRATEGIES
    }
    result = {"protocol": asdict(protocol), "records": found, "batches": batches}
    tables.write_json(folder / "result.json", result | {"summary": table.to_dicts()})
    text = in_words(table)
    tables.atomically(folder / "result.md", lambda handle: handle.write(text.encode()))
    draw(records, folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main(*map(Path, sys.argv[1:3]), *sys.argv[3:])
    except ProbeError as error:
        sys.exit(str(error))
