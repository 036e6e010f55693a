"""PROBE and its peers on identical splits, with identical calibration and tuning.

Each peer is fitted to one part of the labels, tuned on another, calibrated on a third and tested
on a fourth. What it says of the tested is one Parquet file for each split, seed, size and peer, so
that a comparison that was stopped, or is to have another peer, goes on where it was.
"""

import difflib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from probe import schemas, tables
from probe.classifier.calibration import Labelled
from probe.comparison import scoreboard, splits
from probe.comparison.parts import LabelledSet, Prepared, prepare
from probe.comparison.peers import PEERS, NotApplicable, Peer
from probe.comparison.splits import Split
from probe.errors import ProbeError

Array = NDArray[np.float64]

KINDS = ("random", "scaffold", "element", "size")


@dataclass(frozen=True)
class Settings:
    """What to compare. ``seeds_dear`` is how many seeds a dear peer gets."""

    peers: Sequence[Peer]
    kinds: Sequence[str] = ("random",)
    seeds: int = 5
    seeds_dear: int = 5
    sizes: Sequence[int] = ()
    tolerances_kcal: Sequence[float] = (1.0,)


def compare(labels: LabelledSet, settings: Settings, against: str, out: Path) -> dict[str, Any]:
    """Write predictions.parquet, compare.json and compare.md to ``out``; return the JSON's record.

    All that agrees with the labels and the tolerances is in them, whatever run computed it.
    """
    tables.require_writable(out, "choose another folder with --out")
    skipped = run(labels, settings, out)
    predictions, fits = collect(labels, settings, out)
    origin = provenance(labels, settings)
    tables.write(out / "predictions.parquet", predictions.to_arrow(), schemas.COMPARED, origin)
    facts = {
        **origin,
        "n_conformers": len(labels.data),
        "n_molecules": len(np.unique(labels.data.smiles)),
        "against": against,
        "skipped": skipped,
    }
    record = {**facts, "fits": fits, "standings": scoreboard.standings(predictions, against)}
    tables.write_json(out / "compare.json", record)
    text = scoreboard.markdown(record["standings"], facts)
    tables.atomically(out / "compare.md", lambda handle: handle.write(text.encode()))
    return record


def run(labels: LabelledSet, settings: Settings, out: Path) -> list[str]:
    """Write what is not in ``out``/parts yet; return a line for each peer that has no answer."""
    skipped: dict[str, None] = {}
    for split, target in plan(labels.data, settings):
        missing = [
            peer
            for peer in settings.peers
            if split.seed <= (settings.seeds_dear if peer.dear else settings.seeds)
            and not _current(part_file(out, split, peer.name), provenance(labels, settings))
        ]
        prepared = prepare(labels, split, target, settings.tolerances_kcal) if missing else None
        for peer in missing:
            try:
                if prepared is None:
                    raise NotApplicable(f"{split.name} leaves a part empty")
                _write(labels, settings, prepared, peer, part_file(out, split, peer.name))
            except NotApplicable as why:
                skipped[f"{peer.name}: {why}"] = None
                print(f"compare: {_title(split)}, {peer.name} left out: {why}", file=sys.stderr)
    return list(skipped)


def choose(names: Sequence[str]) -> list[Peer]:
    """The peers of these names; all of them for none.

    Raises:
        ProbeError: one is unknown; the message names the nearest.
    """
    known = {peer.name: peer for peer in PEERS}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ProbeError(f"peer {name} is unknown; {hint}")
    return [known[name] for name in names] if names else list(PEERS)


def plan(data: Labelled, settings: Settings) -> Iterator[tuple[Split, Split]]:
    """Every split, and the one whose fit part sets its scale: the same, or the whole one."""
    smiles, numbers = data.smiles, [sample.numbers for sample in data.samples]
    elements = splits.elements(smiles, numbers) if "element" in settings.kinds else []
    for seed, kind in product(range(1, settings.seeds + 1), settings.kinds):
        if kind == "random":
            whole = splits.at_random(smiles, seed)
            yield whole, whole
            for size in (size for size in settings.sizes if size < whole.n_labels):
                yield splits.subset(whole, smiles, size), whole
        elif kind == "scaffold":
            yield (split := splits.by_scaffold(smiles, seed)), split
        elif kind == "size":
            yield (split := splits.small_to_large(smiles, numbers, seed)), split
        else:
            for element in elements:
                yield (split := splits.without_element(smiles, numbers, element, seed)), split


def predict(prepared: Prepared, peer: Peer) -> pl.DataFrame:
    """What ``peer`` says of the tested conformers, with the columns of ``schemas.COMPARED``."""
    scorer = peer.fit(prepared.fit, prepared.tune, prepared.tolerances, prepared.split.seed)
    known, scores = scorer(prepared.calibrate), scorer(prepared.test)
    frames = []
    for index, tolerance in enumerate(prepared.tolerances):
        probability = platt(known[:, index], prepared.calibrate.exceeds(tolerance))
        columns = {
            "split": prepared.split.name,
            "seed": prepared.split.seed,
            "size": prepared.split.size,
            "n_fit": len(prepared.fit),
            "peer": peer.name,
            "tolerance_kcal": tolerance,
            "boundary": index == 0,
            "conformer_id": prepared.test_ids,
            "smiles": prepared.test.smiles,
            "error_kcal": prepared.test.error_kcal,
            "score": scores[:, index],
            "p_unreliable": probability(scores[:, index]),
        }
        frames.append(pl.DataFrame(columns).with_columns(pl.col("size").cast(pl.Int32)))
    return pl.concat(frames)


def platt(score: Array, unreliable: NDArray[np.bool_]) -> Callable[[Array], Array]:
    """P(unreliable) from a score: a logistic regression of one variable on the calibrate part.

    With a positive slope it keeps the order of the scores. Where the slope is not positive, larger
    scores went with smaller errors on the calibrate part. They are not turned round, since a peer
    says which way is worse: p is then how frequent the unreliable are, for all. So it is where the
    part has one class or one score.
    """
    frequency = (unreliable.sum() + 1) / (len(unreliable) + 2)
    mean, spread = float(score.mean()), float(score.std())
    if spread > 1e-12 and 0 < unreliable.sum() < len(unreliable):
        # the weak penalty keeps the slope finite where a small part is separated without error
        model = LogisticRegression(C=10.0).fit((score[:, None] - mean) / spread, unreliable)
        slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
        if slope > 0:
            return lambda new: expit(intercept + slope * (new - mean) / spread)
    return lambda new: np.full(len(new), frequency)


def part_file(out: Path, split: Split, peer: str) -> Path:
    """Where the predictions of one fit are."""
    return out / "parts" / f"{split.name}-{split.seed}-{split.size or 'all'}-{peer}.parquet"


def provenance(labels: LabelledSet, settings: Settings) -> dict[str, Any]:
    """What predictions must agree in to be compared."""
    return {**labels.identity, "tolerances_kcal": list(settings.tolerances_kcal)}


def collect(labels: LabelledSet, settings: Settings, out: Path) -> tuple[pl.DataFrame, list[Any]]:
    """All predictions in ``out`` that agree with the labels and settings, whatever run made them.

    With them a record of each fit: its seconds, and how many conformers had no error.
    """
    wanted = provenance(labels, settings)
    files = [path for path in sorted((out / "parts").glob("*.parquet")) if _current(path, wanted)]
    frames = [tables.frame(path, schemas.COMPARED) for path in files]
    empty = pl.DataFrame(schemas.COMPARED.empty_table())
    return pl.concat([empty, *frames]), [tables.provenance(path)["fit"] for path in files]


def _write(
    labels: LabelledSet, settings: Settings, prepared: Prepared, peer: Peer, path: Path
) -> None:
    started = time.perf_counter()
    frame = predict(prepared, peer)
    seconds = time.perf_counter() - started
    split = prepared.split
    record = {
        "comparison": provenance(labels, settings),
        "fit": {
            **{"split": split.name, "seed": split.seed, "size": split.size, "peer": peer.name},
            **{"seconds": round(seconds, 2), "n_left_out": prepared.n_left_out},
        },
    }
    tables.write(path, frame.to_arrow(), schemas.COMPARED, record)
    print(f"compare: {_title(split)}, {peer.name}: {seconds:.1f} s", file=sys.stderr, flush=True)


def _current(path: Path, wanted: Mapping[str, Any]) -> bool:
    return path.exists() and tables.provenance(path).get("comparison") == wanted


def _title(split: Split) -> str:
    size = "" if split.size is None else f", {split.size} labels"
    return f"{split.name} {split.seed}{size}"
