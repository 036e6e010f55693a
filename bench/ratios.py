"""Ratios of speed, each pair measured in turns in this run, on real molecules: bench.json.

Usage: python bench/ratios.py OUT [COUNT]

Needed are the weights of aimnet2-b973c (`probe weights fetch aimnet2-b973c`) and results/demo. Of
the demo library COUNT molecules (all) and of the calibration set as many conformers are taken.
Ingest is measured of their SMILES and of an SD file with their geometries. Each number is the
median of ROUNDS rounds; a round measures both sides of every pair, one after the other, so
that other work on the machine bears on both. Embedding is measured by the clock with all cores:
AIMNet2Calculator with a thread a core, ours with a process of one thread a core, as the workflow
embeds several shards. So is the start of the command line. All other times are processor seconds of
one thread, which other work bears on little.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import torch
from potential import BACKBONE, CORES, Workers, calculator, ours

from probe import backbones, schemas, tables
from probe.backbones import Geometry
from probe.cache.embed import embed_shard, geometry_of
from probe.cache.store import Cache
from probe.classifier import card
from probe.classifier.checkpoint import Checkpoint, load
from probe.classifier.network import Sample
from probe.classifier.score import Shard, score_shard
from probe.classifier.training import Recipe, Task, fit
from probe.conformers import ingest
from probe.conformers.conformer import Options
from probe.library import plan
from probe.triage import sdf
from probe.triage.policy import Policy
from probe.triage.verdicts import triage_library

LIBRARY = Path("resources/demo/demo.smi")
LABELS = Path("resources/calibration/b973c.parquet")
ROUNDS = 5
BATCH_SIZES = (1, 4, 16, 64)
"""Of the calculator; the fastest is what the ratio is against."""

GOALS = {
    "embed_ratio": "at least 2",
    "embed_max_abs_de_ev": "at most 1e-4",
    "probe_share": "under 0.01",
    "rescore_ratio": "at least 100",
    "rescore_ratio_smiles": "at least 100",
    "epoch_ratio": "at least 100",
    "ingest_triage_share": "under 0.1",
    "ingest_triage_share_3d": "under 0.1",
    "bytes_per_atom": "at most 540",
    "fp16_max_dp": "under 1e-3",
    "cli_start_s": "under 1",
}


@dataclass(frozen=True)
class Bench:
    """The values of bench.json."""

    embed_ratio: float  # conformers a second with all cores, ours over the calculator's at its best
    embed_max_abs_de_ev: float  # between the two
    probe_share: float  # seconds of all networks of PROBE over those of the backbone
    rescore_ratio: float  # embedding and scoring over scoring from the cache
    rescore_ratio_smiles: float  # ingest of SMILES, embedding and scoring over scoring
    epoch_ratio: float  # an epoch that reruns the backbone over one that does not
    ingest_triage_share: float  # of the seconds of embedding the same library, from SMILES
    ingest_triage_share_3d: float  # the same, of a library that has its geometries
    bytes_per_atom: float
    fp16_max_dp: float  # largest change of p_unreliable that half precision causes
    cli_start_s: float


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds that ``work`` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def clock(work: Callable[[], object]) -> float:
    """Seconds by the clock that ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def theirs(run: "Run", size: int) -> np.ndarray:
    """Energies by AIMNet2Calculator with all cores, ``size`` molecules at once."""
    torch.set_num_threads(CORES)
    found = calculator(run.backbone, run.demo, size)
    torch.set_num_threads(1)
    return found


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


class Run:
    """What is measured, and on what."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.backbone = backbones.load(BACKBONE, "cpu")
        self.checkpoint: Checkpoint = load(BACKBONE)
        self.library = folder / "library.smi"
        lines = LIBRARY.read_text(encoding="utf-8").splitlines()
        step = max(len(lines) // count, 1)
        self.library.write_text("\n".join([lines[0], *lines[1::step][:count]]) + "\n")
        self.ingest(self.library)
        rows = tables.read(self._shard("conformers"), schemas.CONFORMERS)
        self.geometries = folder / "library.sdf"
        unscored = [pl.lit(None).alias(name) for name in ("p_unreliable", "reason")]
        sdf.write(pl.DataFrame(rows).with_columns(unscored), self.geometries)
        self.demo = self._usable(rows)
        labels = tables.read(LABELS, schemas.LABELS).slice(0, count)
        self.labelled = [
            Geometry(np.array(r["numbers"]), np.array(r["positions"]).reshape(-1, 3), r["charge"])
            for r in labels.to_pylist()
        ]

    def _usable(self, rows: pa.Table) -> list[Geometry]:
        names = ("numbers", "positions", "charge", "multiplicity")
        every = [geometry_of(*row) for row in zip(*(rows[name] for name in names), strict=True)]
        return [
            g
            for g in every
            if not backbones.refusal(self.backbone, g.numbers, g.charge, g.multiplicity)
        ]

    def _shard(self, stage: str) -> Path:
        return self.folder / stage / "00000.parquet"

    def ingest(self, library: Path) -> None:
        """Records of ``library`` into conformers, in one process."""
        made = plan.current("library", library, 25_000, self.folder / "plan.json")
        outputs = self._shard("conformers"), self._shard("rejects")
        ingest.ingest_shard(made, 0, *outputs, Options())

    def embed(self) -> None:
        """Backbone and cache of the demo library, nothing cached."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        out = self._shard("embedded")
        embed_shard(self._shard("conformers"), self.backbone, self.folder / "cache", out, None)

    def score(self) -> None:
        """PROBE on the demo library, from the cache."""
        shard = Shard(self._shard("conformers"), self._shard("embedded"))
        cache, out = self.folder / "cache", self._shard("scores")
        score_shard(shard, self.checkpoint, cache, out, device="cpu")

    def triage(self) -> None:
        """Triage of the demo library."""
        folder = card.resolve(BACKBONE)
        triage_library(self.folder, self.checkpoint.card, Policy(), folder / card.HELD_OUT)

    def task(self) -> Task:
        """The labelled geometries with made-up errors: an epoch takes as long with any."""
        inputs = self.checkpoint.normalisation(ours(self.backbone, self.labelled))
        error = torch.from_numpy(np.random.default_rng(1).normal(size=len(self.labelled))).float()
        return Task(inputs, np.array([str(n) for n in range(len(error))]), error)


def measure(run: Run) -> Bench:
    """All numbers."""
    samples = ours(run.backbone, run.demo)
    best = min(BATCH_SIZES, key=lambda size: clock(lambda: theirs(run, size)))
    reference = theirs(run, best)
    workers = Workers(run.demo)
    difference = np.abs(reference - [sample.energy_ev for sample in samples]).max()
    task = run.task()
    rows = np.arange(len(run.labelled))
    once = Recipe(max_epochs=1)
    times: dict[str, list[float]] = {}

    def timed(
        name: str, work: Callable[[], object], by: Callable[[Callable[[], object]], float] = seconds
    ) -> None:
        times.setdefault(name, []).append(by(work))

    def together(*names: str) -> list[float]:
        return [sum(row) for row in zip(*(times[name] for name in names), strict=True)]

    for number in range(ROUNDS):
        print(f"round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        timed("calculator", lambda: theirs(run, best), by=clock)
        timed("workers", workers.run, by=clock)
        timed("ours", lambda: ours(run.backbone, run.demo))
        timed("probe", lambda: run.checkpoint.score(samples))
        timed("ingest 3d", lambda: run.ingest(run.geometries))
        timed("ingest", lambda: run.ingest(run.library))
        timed("embed", run.embed)
        timed("score", run.score)
        timed("triage", run.triage)
        timed("epoch", lambda: fit(task, rows, rows[: len(rows) // 10], recipe=once, seed=1))
        timed("rerun", lambda: ours(run.backbone, run.labelled))
        timed(
            "start", partial(subprocess.run, PROBE_HELP, check=True, capture_output=True), by=clock
        )
    workers.close()
    print(f"calculator at {best} molecules a batch", file=sys.stderr)
    for name, found in times.items():
        print(f"{name:12} {statistics.median(found):8.3f} s", file=sys.stderr)
    return Bench(
        embed_ratio=ratio(times["calculator"], times["workers"]),
        embed_max_abs_de_ev=float(difference),
        probe_share=ratio(times["probe"], times["ours"]),
        rescore_ratio=ratio(together("embed", "score"), times["score"]),
        rescore_ratio_smiles=ratio(together("ingest", "embed", "score"), times["score"]),
        epoch_ratio=ratio(together("epoch", "rerun"), times["epoch"]),
        ingest_triage_share=ratio(together("ingest", "triage"), times["embed"]),
        ingest_triage_share_3d=ratio(together("ingest 3d", "triage"), times["embed"]),
        bytes_per_atom=_bytes_per_atom(run),
        fp16_max_dp=_half_precision(run.checkpoint, samples),
        cli_start_s=statistics.median(times["start"]),
    )


PROBE_HELP = [str(Path(sys.executable).with_name("probe")), "--help"]


def _bytes_per_atom(run: Run) -> float:
    folder = Cache(run.folder / "cache", run.backbone.fingerprint, 256).folder
    n_bytes = sum(path.stat().st_size for path in folder.glob("part-*.parquet"))
    return n_bytes / sum(len(geometry.numbers) for geometry in run.demo)


def _half_precision(checkpoint: Checkpoint, samples: Sequence[Sample]) -> float:
    """Of float32 features against what the cache keeps of them."""
    half = [
        Sample(s.embedding.astype(np.float16), s.charges, s.numbers, s.energy_ev) for s in samples
    ]
    pairs = zip(checkpoint.score(samples), checkpoint.score(half), strict=True)
    return max(abs(full.p_unreliable - kept.p_unreliable) for full, kept in pairs)


def main() -> None:
    """Measure, print the table, write the file."""
    torch.set_num_threads(1)
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        found = asdict(measure(Run(Path(folder), count)))
    for name, value in found.items():
        print(f"{name:22} {value:10.3g}   {GOALS[name]}")
    tables.write_json(Path(sys.argv[1]), found)


if __name__ == "__main__":
    main()
