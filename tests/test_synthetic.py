"""Made-up libraries for measuring: of the size asked for, and such that triage takes them."""

import subprocess
import sys

import numpy as np
import pytest
from repository import ROOT
from triaged import CARD, on_disk, rows

from probe import schemas
from probe.triage.policy import Policy
from probe.triage.verdicts import triage_library

SCRIPT = ROOT / "bench" / "synthetic.py"


@pytest.mark.parametrize("count", [1, 700])
def test_as_many_conformers_as_asked_for_three_to_a_molecule(tmp_path, count):
    shards, answers = rows(seed=1)
    for index, answer in enumerate(answer for shard in answers for answer in shard):
        if answer["energy_ev"] is not None:
            answer["embedding"] = np.full(schemas.EMBEDDING_WIDTH, index, np.float32)
    on_disk(tmp_path / "real", shards, answers)
    made = tmp_path / "made"
    subprocess.run([sys.executable, SCRIPT, tmp_path / "real", made, str(count)], check=True)
    summary = triage_library(made, CARD, Policy(), tmp_path / "held_out.parquet")
    assert (summary["n_records"], summary["n_conformers"]) == (count, count)
    assert summary["n_accept"] + summary["n_recompute"] == count
    assert summary["n_molecules"] == -(-count // 3)
