"""A backbone of the user's own list through the workflow, where jobs must find the list, too."""

import hashlib

import pytest
import repository

from probe import schemas, tables
from probe.classifier.card import CARD


@pytest.fixture(scope="module")
def root(mace_content, mace, tmp_path_factory):
    """A repository with a list of one MACE, and a checkpoint that says it belongs to that."""
    root = tmp_path_factory.mktemp("backbones") / "repository"
    repository.copy(root)
    (root / "lists").mkdir()
    (root / "lists/mine.model").write_bytes(mace_content)
    keys = {"adapter": "mace", "path": "mine.model", "method": "none", "licence": "CC0"}
    keys |= {"citation": "random weights", "sha256": hashlib.sha256(mace_content).hexdigest()}
    lines = [f"  {key}: '{value}'" for key, value in keys.items()]
    (root / "lists/own.yaml").write_text("\n".join(["mine:", *lines, ""]))
    (root / "small.smi").write_text("CCO ethanol\nC[NH3+] ion\n")
    folder = root / "resources/probe/aimnet2-b973c"
    card = tables.read_json(folder / CARD)
    changed = {"name": "mine", "backbone": "mine", "fingerprint": mace.fingerprint}
    folder.rename(root / "resources/probe/mine")
    tables.write_json(root / "resources/probe/mine" / CARD, card | changed)
    return root


CHOSEN = ("library=small.smi", "backbone=mine", "checkpoint=mine")


def test_jobs_know_the_list_that_the_configuration_names(root, mace):
    embedded = "results/small/embedded/00000.parquet"
    run = repository.snakemake(
        root, "--cores", "1", embedded, "--config", "backbones=lists/own.yaml", *CHOSEN
    )
    assert run.returncode == 0, run.stdout[-5000:]
    weights = tables.read_json(root / "models/weights/mine.json")
    assert (weights["licence"], weights["source"]) == ("CC0", "listed file")
    assert tables.provenance(root / embedded)["fingerprint"] == mace.fingerprint
    rows = tables.read(root / embedded, schemas.EMBEDDED).to_pylist()
    assert [row["refusal"] for row in rows] == [
        None,
        "mine does not take the total charge; it is +1",
    ]


def test_the_first_checkpoint_of_a_network_is_trained_where_there_is_none(root):
    given = ("library=small.smi", "backbone=mine", "backbones=lists/own.yaml", "checkpoint=mine-1")
    run = repository.snakemake(root, "--dry-run", "model_card", "--config", *given)
    assert run.returncode == 0, run.stdout[-5000:]
    needed = repository.jobs(run.stdout).keys() - {"weights"}  # another test may have fetched them
    assert needed == {"model_card", "train", "total"}
    screening = repository.snakemake(root, "--dry-run", "--config", *given)
    assert screening.stdout.splitlines()[-1].startswith(
        "probe: error: library small: checkpoint mine-1 is neither a shipped one nor a folder"
    )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (CHOSEN, "backbone mine is unknown"),
        ((*CHOSEN, "backbones=none.yaml"), "none.yaml: cannot read this list of backbones"),
        (
            (*CHOSEN, "backbone=mace-mp-small"),
            "checkpoint mine belongs to backbone mine (fingerprint",
        ),
    ],
)
def test_what_cannot_work_ends_in_one_line(root, settings, says):
    run = repository.snakemake(root, "--dry-run", "--config", *settings)
    assert run.returncode != 0
    line = run.stdout.splitlines()[-1]
    assert line.startswith("probe: error: ")
    assert says in line
