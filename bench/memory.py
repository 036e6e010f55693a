"""Peak memory of every stage at two sizes of a library: memory.json.

Usage: python bench/memory.py OUT [SMALL LARGE [STAGE...]]

By default the sizes are 10,000 and 100,000 conformers and the stages are all of STAGES. Ingest,
embed and score work on an SD file of the demo library's geometries, each shaken a little
(shaken.py), with an empty cache; triage and report on scores made up from results/demo
(synthetic.py). Each shard is a process of its own, as in the workflow; its peak resident memory,
processor seconds and output are what the system says of it, and a stage's peak is that of its
largest shard. All is written to a folder that is removed. Run it from the root of the repository,
after a screening of the demo library.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from probe import tables

BACKBONE = CHECKPOINT = "aimnet2-b973c"
SCREENED, GEOMETRIES = Path("results/demo"), Path("resources/demo/demo-3d.sdf")
PROBE = str(Path(sys.executable).with_name("probe"))
HERE = Path(__file__).parent
BY_SHARD, OF_ALL = ("ingest", "embed", "score"), ("triage", "report")
STAGES = BY_SHARD + OF_ALL
Measured = dict[str, float]


def peak(command: list[str]) -> Measured:
    """MiB and processor seconds of ``probe command``."""
    process = subprocess.Popen([PROBE, *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"probe {' '.join(command)} failed")
    seconds = used.ru_utime + used.ru_stime
    return {"peak_mib": round(used.ru_maxrss / 1024, 1), "cpu_s": round(seconds, 1)}


def by_shard(folder: Path, size: int, stages: list[str]) -> dict[str, Measured]:
    """Ingest, embed and score of ``size`` conformers, as far as ``stages`` names them."""
    library, plan = folder / "shaken.sdf", folder / "plan.json"
    make("shaken.py", GEOMETRIES, library, size)
    subprocess.run([PROBE, "plan", str(library), "--out", str(plan)], check=True)
    shards = [str(i) for i in range(len(tables.read_json(plan)["shards"]))]
    found: dict[str, Measured] = {}
    for stage in BY_SHARD[: 1 + max(BY_SHARD.index(stage) for stage in stages)]:
        shares = [peak(arguments(stage, folder, shard)) for shard in shards]
        found[stage] = {
            "peak_mib": max(share["peak_mib"] for share in shares),
            "cpu_s": round(sum(share["cpu_s"] for share in shares), 1),
        }
    return {stage: found[stage] for stage in stages}


def arguments(stage: str, folder: Path, shard: str) -> list[str]:
    """What the workflow calls ``stage`` of one shard with, on one core."""
    conformers, rejects, embedded, scores = (
        str(folder / kind / f"{shard}.parquet")
        for kind in ("conformers", "rejects", "embedded", "scores")
    )
    rest = ["--cache", str(folder / "cache"), "--device", "cpu", "--out"]
    return {
        "ingest": [
            *("ingest", "--plan", str(folder / "plan.json"), "--shard", shard),
            *("--conformers", conformers, "--rejected", rejects),
        ],
        "embed": ["embed", conformers, "--backbone", BACKBONE, *rest, embedded],
        "score": ["score", conformers, embedded, "--checkpoint", CHECKPOINT, *rest, scores],
    }[stage]


def of_all(folder: Path, size: int, stages: list[str]) -> dict[str, Measured]:
    """Triage and report of ``size`` made-up scores, as far as ``stages`` names them."""
    make("synthetic.py", SCREENED, folder, size)
    found: dict[str, Measured] = {}
    for stage in OF_ALL[: 1 + max(OF_ALL.index(stage) for stage in stages)]:
        page = folder / "report.html"
        written = ["--out", str(page), "--figures", str(folder / "figures")]
        further = written if stage == "report" else []
        found[stage] = peak([stage, str(folder), "--checkpoint", CHECKPOINT, *further])
        if stage == "report":
            found[stage]["page_mib"] = round(page.stat().st_size / 2**20, 2)
    return {stage: found[stage] for stage in stages}


def make(script: str, source: Path, out: Path, size: int) -> None:
    """A library by one of the scripts here, in a process of its own: what this one holds would
    count as its children's."""
    subprocess.run([sys.executable, HERE / script, source, out, str(size)], check=True)


def main() -> None:
    """Measure and write."""
    out = Path(sys.argv[1])
    sizes = [int(text) for text in sys.argv[2:4]] or [10_000, 100_000]
    chosen = sys.argv[4:] or list(STAGES)
    found: dict[str, dict[str, object]] = {stage: {} for stage in chosen}
    for size in sizes:
        for measure, group in ((by_shard, BY_SHARD), (of_all, OF_ALL)):
            stages = [stage for stage in group if stage in chosen]
            if not stages:
                continue
            scratch = Path(tempfile.mkdtemp(prefix="probe-memory-"))
            try:
                for stage, measured in measure(scratch, size, stages).items():
                    found[stage][str(size)] = measured
                    print(stage, size, measured, flush=True)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    for stage, by_size in found.items():
        small, large = (by_size[str(size)]["peak_mib"] for size in sizes)  # type: ignore[index]
        by_size["ratio"] = round(large / small, 3)
        print(f"{stage}: {small} MiB, {large} MiB, ratio {by_size['ratio']}")
    tables.write_json(out, found)


if __name__ == "__main__":
    main()
