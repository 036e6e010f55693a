"""A screening that is killed at random moments and called again: kills.json.

Usage: python bench/kills.py OUT [N [EACH [SEED]]]

The first 30 records of the demo library are screened by `probe screen` in a folder of its own, in
shards of 15, once undisturbed and then until N kills are done (by default 10). After a random time
the whole process group gets SIGKILL, and the same command is called again (after `--unlock`, where
Snakemake asks for it): EACH times in one screening (by default once), which then is let end. Ids,
verdicts and reasons must be those of the undisturbed screening, energies and probabilities within
tolerance of them, and no process and no file be left of the killed ones. What was running at each
kill is written down. Ends with exit code 1 where something differs.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from probe import tables

LIBRARY = Path("resources/demo/demo.smi")
RECORDS = 30
PROBE = str(Path(sys.executable).with_name("probe"))
ENERGY_EV, P_UNRELIABLE = 1e-4, 1e-4
"""The most by which a number may differ: batches are other ones after a kill."""
SAID = ["conformer_id", "molecule_id", "source", "smiles", "verdict", "reason", "flags"]
ENDED = "ended before"
LEFTOVERS = ("*.tmp", "*.parts", "*.damaged", "locks/*", "incomplete/*")


def start(where: Path, *more: str) -> subprocess.Popen[bytes]:
    """`probe screen` on the library in ``where``, in a process group of its own."""
    words = ["screen", str(where / "lib.smi"), "--directory", str(where), "--cores", "2"]
    words += ["--config", str(where / "config.yaml"), "--", *more]
    with (where / "log").open("ab") as log:
        return subprocess.Popen([PROBE, *words], stdout=log, stderr=log, start_new_session=True)


def ends(where: Path) -> int:
    """Call it until it ends well; how often."""
    for calls in range(1, 4):
        unlock(where)
        if start(where).wait() == 0:
            return calls
    raise SystemExit(f"{where}: does not end: {(where / 'log').read_text()[-2000:]}")


def unlock(where: Path) -> bool:
    """Do so where Snakemake would ask for it; whether it would."""
    locked = any(where.glob(".snakemake/locks/*"))
    if locked:
        start(where, "--unlock").wait()
    return locked


def prepared(where: Path) -> Path:
    """``where`` with the library and its configuration."""
    where.mkdir()
    lines = LIBRARY.read_text().splitlines(keepends=True)[:RECORDS]
    (where / "lib.smi").write_text("".join(lines))
    (where / "config.yaml").write_text("shard_size: 15\n")
    return where


def running(group: int) -> list[str]:
    """Stages that processes of ``group`` are at, or Snakemake between them."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if os.getpgid(int(place.name)) == group and Path(words[1]).name == "probe":
                found.add(words[2])
        except (ProcessLookupError, FileNotFoundError, IndexError):
            continue  # it has just ended, or is called without a word
    return sorted(found - {"screen"}) or ["snakemake"]


def survivors(where: Path) -> list[str]:
    """Processes that still work in ``where``."""
    time.sleep(1)  # the system's own, to end them
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cwd").resolve() == where.resolve():
                found.append(f"survived: {(place / 'cmdline').read_bytes()!r}")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has just ended, or is not ours
    return found


def answers(where: Path) -> pl.DataFrame:
    """Both lists of the library, by id."""
    lists = [
        pl.read_parquet(where / f"results/lib/{name}.parquet") for name in ("accept", "recompute")
    ]
    return pl.concat(lists).sort("conformer_id")


def differences(where: Path, expected: pl.DataFrame) -> list[str]:
    """What is otherwise in ``where`` than it should be."""
    found = answers(where)
    wrong = [name for name in SAID if found[name].to_list() != expected[name].to_list()]
    for name, most in (("energy_ev", ENERGY_EV), ("p_unreliable", P_UNRELIABLE)):
        largest = (found[name] - expected[name]).abs().max() if not wrong else None
        if wrong or (largest is not None and float(str(largest)) > most):
            wrong.append(f"{name} by {largest}")
    left = {path for pattern in LEFTOVERS for path in where.rglob(pattern)}
    return wrong + [f"left: {path.relative_to(where)}" for path in sorted(left)]


def killed(where: Path, after: float) -> dict[str, Any]:
    """Let a screening run for ``after`` seconds and kill it."""
    unlocked = unlock(where)
    process = start(where)
    time.sleep(after)
    stages = running(process.pid)
    if process.poll() is not None:
        stages = [ENDED]
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return {
        "screening": where.name,
        "after_s": round(after, 1),
        "at": stages,
        "had_to_unlock_before": unlocked,
        "survivors": survivors(where),
    }


def happened(kills: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that came before the screening had ended."""
    return [kill for kill in kills if kill["at"] != [ENDED]]


def main(out: Path, n: int = 10, each: int = 1, seed: int = 1) -> int:
    """Write ``out``; the exit code."""
    moments = random.Random(seed)
    kills: list[dict[str, Any]] = []
    screenings = []
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        place = Path(name)
        begun = time.monotonic()
        ends(prepared(place / "undisturbed"))
        seconds = time.monotonic() - begun
        expected = answers(place / "undisturbed")
        print(f"{expected.height} conformers in {seconds:.0f} s", flush=True)
        while (n_killed := len(happened(kills))) < n:
            where = prepared(place / f"{len(screenings):03d}")
            for _ in range(min(each, n - n_killed)):
                most = seconds if each == 1 else 2 * seconds / each
                kills.append(killed(where, moments.uniform(0, most)))
                print(kills[-1], flush=True)
            calls = ends(where)
            screenings.append({"calls_to_end": calls, "wrong": differences(where, expected)})
            print(screenings[-1], flush=True)
            shutil.rmtree(where)
    wrong = sum(bool(found["wrong"]) for found in screenings)
    wrong += sum(bool(kill["survivors"]) for kill in kills)
    n_kills = len(happened(kills))
    counts = {"n_conformers": expected.height, "undisturbed_s": round(seconds, 1)}
    counts |= {"n_kills": n_kills, "n_wrong": wrong}
    tables.write_json(out, counts | {"kills": kills, "screenings": screenings})
    print(f"{out}: {n_kills} kills, {wrong} with something wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
