"""`snakemake recalibrate` as a user runs it: real DFT of tiny molecules, a tiny PROBE."""

import json

import pytest
import repository
from repository import jobs, probe

from probe import schemas, tables
from probe.classifier import card, labels
from probe.recalibration import turn

RECORDS = {"N#N": "nitrogen", "O": "water", "C=O": "formaldehyde", "C#N": "reserved"}
SETTINGS = {
    "library": "tiny.smi",
    "labels": "labels.parquet",
    "checkpoint": "models/probe/first",
    "recalibrate": {"min_new_labels": 2},
    # all of them to recompute
    "triage": {"accept_confidence": 0.99, "recompute_confidence": 0.99},
}
OUT = "models/recalibrated/aimnet2-b973c"


def snakemake(root, *words, **settings):
    pairs = [f"{key}={json.dumps(value)}" for key, value in (SETTINGS | settings).items()]
    run = repository.snakemake(root, *words, "--cores", "1", "--config", *pairs)
    assert run.returncode == 0, run.stdout[-10_000:]
    return run.stdout


@pytest.fixture(scope="module")
def root(aimnet_file, calibration, tmp_path_factory):
    """A repository with a checkpoint fitted in seconds to eighty small conformers."""
    assert aimnet_file.is_file()
    root = tmp_path_factory.mktemp("recalibrate") / "repository"
    repository.copy(root)
    (root / "tiny.smi").write_text("".join(f"{s} {name}\n" for s, name in RECORDS.items()))
    shared = zip(calibration.smiles, calibration.geometries, calibration.energy_ev, strict=True)
    rows = [
        {
            **{"smiles": smiles, "source": "", "geometry": "", "charge": geometry.charge},
            **{"numbers": geometry.numbers.tolist(), "energy_ev": energy},
            "positions": geometry.positions.ravel().tolist(),
        }
        for smiles, geometry, energy in shared
        if set(geometry.numbers.tolist()) <= {1, 6, 7, 8}
    ]
    tables.write(root / "labels.parquet", rows[:80], schemas.LABELS, {"method": "B97-3c"})
    given = ("--labels", "labels.parquet", "--backbone", "aimnet2-b973c", "--name", "first")
    quick = ("--members", "1", "--max-epochs", "2", "--out", "models/probe/first")
    probe(root, "train", *given, *quick)
    return root


@pytest.fixture(scope="module")
def first(root):
    """What the first turn said, and the digest of the checkpoint before it."""
    before = card.digest(root / "models/probe/first")
    return snakemake(root, "recalibrate"), before


@pytest.fixture(scope="module")
def record(root, first):
    assert first
    return tables.read_json(root / OUT / turn.RECORD)


def test_what_was_recomputed_and_is_not_reserved_is_new(record):
    wanted = [smiles for smiles in RECORDS if not labels.reserved(smiles)]
    assert record["n_new_labels"] == len(wanted) == 3


def test_both_are_judged_on_what_neither_was_fitted_to(root, record):
    known = tables.frame(root / OUT / "turn-1" / card.HELD_OUT, schemas.HELD_OUT)
    old = tables.frame(root / "models/probe/first" / card.HELD_OUT, schemas.HELD_OUT)
    assert all(labels.in_share(smiles, "held out", 0.15) for smiles in known["smiles"])
    assert set(old["conformer_id"]) <= set(known["conformer_id"])
    assert record["n_held_out"] == known.height
    assert record["n_held_out_new"] == known.height - old.height


def test_the_old_one_stays_and_the_new_one_has_its_labels_and_record_beside_it(root, first, record):
    assert card.digest(root / "models/probe/first") == first[1]
    made = root / OUT / "turn-1"
    learnt = labels.read(made / turn.LABELS)
    assert learnt.sha256 == card.read(str(made))["training"]["labels_sha256"]
    assert tables.read_json(made / turn.RECORD) == record


def test_what_is_no_worse_is_promoted_and_the_library_rescored(root, first, record):
    assert (record["verdict"], record["promoted"]) == ("undecided", True)
    assert record["checkpoint"] == OUT
    assert tables.read_json(root / OUT / card.IN_USE) == {"checkpoint": "turn-1"}
    changes = tables.read_json(root / "results/tiny/changes.json")
    assert changes["before"]["checkpoint"] == "first"
    assert changes["now"]["checkpoint"] == "aimnet2-b973c-turn-1"
    rescoring = first[0].rpartition("Job stats:")[2]
    assert jobs(f"Job stats:{rescoring}") == {
        **{"score": 1, "triage": 1, "changes": 1, "report": 1, "remember": 1},
        **{"rescreen": 1, "total": 6},
    }


def test_a_second_turn_without_new_labels_keeps_it(root, record):
    assert record
    snakemake(root, "recalibrate", checkpoint=OUT)
    now = tables.read_json(root / OUT / turn.RECORD)
    assert (now["n_new_labels"], now["verdict"]) == (0, "too few new labels")
    assert (now["in_use"], now["promoted"]) == ("aimnet2-b973c-turn-1", False)
    assert tables.read_json(root / OUT / card.IN_USE) == {"checkpoint": "turn-1"}
