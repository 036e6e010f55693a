"""A copy of this repository, and snakemake run in it as a user would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from probe import schemas, tables, weights

ROOT = Path(__file__).parents[2]
CALIBRATION = ROOT / "resources/calibration/b973c.parquet"
NOTHING = "Nothing to be done"
"""What Snakemake says when all is there."""


def copy(root):
    """Copy to ``root`` what git knows or would add; nothing that a run writes is shared."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        if not os.path.lexists(ROOT / name):
            continue
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name, follow_symlinks=False)


def environment(root):
    """What a shell with the activated environment has; the copy's code, this machine's weights."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "PROBE_WEIGHTS": str(weights.folder()),
    }


def snakemake(root, *arguments, **variables):
    """Run snakemake in the copy at ``root``; standard error comes with the output."""
    return subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        check=False,
        cwd=root,
        env=environment(root) | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )


def probe(root, *words):
    """Runs `probe` of the copy at ``root``."""
    run = subprocess.run(
        [sys.executable, "-m", "probe.cli", *words],
        check=False,
        cwd=root,
        env=environment(root),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def jobs(stdout):
    """Rules and their number of jobs, of the last table of job statistics."""
    table = stdout[stdout.rindex("Job stats:") :].split("\n\n")[0].splitlines()[3:]
    return {rule: int(count) for rule, count in map(str.split, table)}


def write_little_labels(path, calibration):
    """Eighty labelled conformers of H, C, N and O, enough to fit a checkpoint that knows little."""
    rows = [
        {
            **{"smiles": smiles, "source": "", "geometry": "", "charge": geometry.charge},
            **{"numbers": geometry.numbers.tolist(), "energy_ev": energy},
            "positions": geometry.positions.ravel().tolist(),
        }
        for smiles, geometry, energy in zip(
            calibration.smiles, calibration.geometries, calibration.energy_ev, strict=True
        )
        if set(geometry.numbers.tolist()) <= {1, 6, 7, 8}
    ]
    tables.write(path, rows[:80], schemas.LABELS, {})
