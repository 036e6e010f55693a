"""`snakemake recompute` and `audit` as a user runs them: molecules of two to four atoms."""

import json

import polars as pl
import pytest
import repository

from probe import schemas, tables
from probe.classifier import labels
from probe.dft import scf

RECORDS = "N#N nitrogen\nO water\n[O][O] oxygen\nC=O formaldehyde\n"


@pytest.fixture(scope="module")
def root(aimnet_file, tmp_path_factory):
    """A repository in which the library tiny has been screened and recomputed."""
    assert aimnet_file.is_file()
    root = tmp_path_factory.mktemp("recompute") / "repository"
    repository.copy(root)
    (root / "tiny.smi").write_text(RECORDS)
    run = snakemake(root, "recompute")
    assert run.returncode == 0, run.stdout[-10_000:]
    return root


def snakemake(root, *words, **config):
    settings = {"library": "tiny.smi"} | config
    pairs = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return repository.snakemake(root, *words, "--cores", "1", "--config", *pairs)


@pytest.fixture
def folder(root):
    return root / "results/tiny"


def test_every_conformer_has_one_energy(folder):
    counts = tables.read_json(folder / "recomputed.json")
    listed = [pl.read_parquet(folder / f"{name}.parquet") for name in ("accept", "recompute")]
    final = pl.read_parquet(folder / "energies.parquet")
    assert set(final["conformer_id"]) == {name for rows in listed for name in rows["conformer_id"]}
    assert final.height == counts["n_conformers"] == 4
    assert counts["n_dft"] + counts["n_failed"] + counts["n_left"] == listed[1].height
    assert (counts["n_failed"], counts["n_left"]) == (0, 0)


def test_the_triplet_that_the_backbone_cannot_take_has_dft(folder):
    row = pl.read_parquet(folder / "energies.parquet").row(
        by_predicate=pl.col("molecule_id") == "oxygen", named=True
    )
    assert (row["source"], row["multiplicity"], row["method"]) == ("dft", 3, "B97-3c (PySCF)")
    shard = folder / "conformers/00000.parquet"
    found = pl.read_parquet(shard).row(by_predicate=pl.col("molecule_id") == "oxygen", named=True)
    again = scf.reference_energy(
        pl.Series(found["numbers"]).to_numpy(),
        pl.Series(found["positions"]).to_numpy().reshape(-1, 3),
        0,
        multiplicity=3,
    )
    assert row["energy_ev"] / scf.EV_PER_HARTREE == pytest.approx(
        again.energy_ev / scf.EV_PER_HARTREE, rel=0, abs=1e-6
    )


def test_labels_are_of_closed_shells_that_are_not_reserved(folder):
    found = tables.read(folder / "dft_labels.parquet", schemas.REFERENCES).to_pylist()
    final = pl.read_parquet(folder / "energies.parquet").filter(source="dft", multiplicity=1)
    wanted = {smiles for smiles in final["smiles"] if not labels.reserved(smiles)}
    assert {row["smiles"] for row in found} == wanted


def test_a_second_run_schedules_nothing(root):
    run = snakemake(root, "recompute")
    assert repository.NOTHING in run.stdout


def test_decks_for_another_program_instead(root, folder):
    run = snakemake(root, "recompute", recompute={"engine": "export"})
    assert run.returncode == 0, run.stdout[-5_000:]
    manifest = tables.read(folder / "decks/orca.manifest.parquet", schemas.MANIFEST)
    assert manifest.num_rows == pl.read_parquet(folder / "recompute.parquet").height
    assert (folder / "decks/orca-00000.tar.gz").is_file()


def test_an_audit_computes_what_was_accepted(root, folder):
    loose = {"policy": "cutoff", "accept_confidence": 0.5, "between": "accept"}
    loose |= {"recompute_confidence": 1.0}
    run = snakemake(root, "audit", triage=loose, audit={"n": 2})
    assert run.returncode == 0, run.stdout[-5_000:]
    record = tables.read_json(folder / "audit.json")
    assert record["n_drawn"] == record["n_checked"] == 2
    low, high = record["interval_95"]
    assert low <= record["unreliable"] <= high
    assert record["promised"] is record["kept"] is None
