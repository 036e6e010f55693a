"""Trains the members of mace-qm9-small, states their errors, and prints how they are listed.

    python resources/qm9/members.py SETS STATES [MEMBER ...]

SETS is the folder that build.py filled. Members are 0 to 3, all if none is named. STATES keeps how
far each training is: what was stopped, even killed, goes on there. A finished member becomes
resources/backbones/mace-qm9-small[-MEMBER].model, and is not trained again while that is there.
Once all are, resources/backbones/mace-qm9-small.json holds their errors on ``labelled``, none of
which they were trained on, and the entries of resources/backbones.yaml are printed.
"""

import hashlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from build import METHOD
from numpy.typing import NDArray
from potential import Examples, Recipe, energies, train

from probe import tables
from probe.backbones import mace
from probe.classifier import labels
from probe.errors import ProbeError

FAMILY = "mace-qm9-small"
MEMBERS = (0, 1, 2, 3)
BACKBONES = Path(__file__).parents[1] / "backbones"
ENTRY = {
    "adapter": "mace",
    "method": METHOD,
    "licence": "MIT",
    "citation": "resources/qm9 (QM9: Ramakrishnan et al., Sci. Data 2014, 1, 140022)",
}


def listed(member: int) -> str:
    """The name of a member among the backbones."""
    return FAMILY if member == 0 else f"{FAMILY}-{member}"


def examples(path: Path) -> Examples:
    """The labelled conformers in ``path``."""
    read = labels.read(path)
    return Examples(read.geometries, read.energy_ev)


@mace.quiet()
def make(member: int, sets: Path, states: Path) -> None:
    """Train ``member`` to the end and keep it among the backbones."""
    target = BACKBONES / f"{listed(member)}.model"
    if target.exists():
        return
    fitted, watched = examples(sets / "train.parquet"), examples(sets / "valid.parquet")
    model = train(fitted, Recipe(), member, states / f"{listed(member)}.pt", watched)
    tables.atomically(target, lambda handle: torch.save(model, handle))


def errors(difference_ev: NDArray[np.float64]) -> dict[str, float]:
    """What is stated of errors [M], in meV."""
    size = 1000 * np.abs(difference_ev)
    return {
        "mae_mev": round(float(size.mean()), 2),
        "rmse_mev": round(float(np.sqrt((size**2).mean())), 2),
        "median_mev": round(float(np.median(size)), 2),
        "percentile_95_mev": round(float(np.percentile(size, 95)), 2),
    }


@mace.quiet()
def judged(tested: Examples) -> dict[str, Any]:
    """Digest and errors of every member, and errors of their mean."""
    found, members = [], {}
    for member in MEMBERS:
        content = (BACKBONES / f"{listed(member)}.model").read_bytes()
        model = torch.load(BACKBONES / f"{listed(member)}.model", weights_only=False)
        found.append(energies(model, tested.geometries))
        digest = hashlib.sha256(content).hexdigest()
        members[listed(member)] = {"sha256": digest, **errors(tested.energy_ev - found[-1])}
    mean = np.mean(found, axis=0)
    return {
        "recipe": asdict(Recipe()),
        "n_parameters": sum(values.numel() for values in model.parameters()),
        "n_tested": len(tested),
        "members": members,
        "mean_of_members": errors(tested.energy_ev - mean),
    }


def main(sets: Path, states: Path, *members: str) -> None:
    """Train, and once all are there judge.

    Raises:
        ProbeError: a set is missing or not as build.py writes it, or a state is of another run.
    """
    for member in map(int, members or MEMBERS):
        make(member, sets, states)
    if not all((BACKBONES / f"{listed(member)}.model").exists() for member in MEMBERS):
        return
    record = judged(examples(sets / "labelled.parquet"))
    tables.write_json(BACKBONES / f"{FAMILY}.json", record)
    entries = {
        name: {**ENTRY, "path": f"backbones/{name}.model", "sha256": facts["sha256"]}
        for name, facts in record["members"].items()
    }
    print(yaml.safe_dump(entries, sort_keys=False, width=100))


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        main(*map(Path, sys.argv[1:3]), *sys.argv[3:])
    except ProbeError as error:
        sys.exit(str(error))
