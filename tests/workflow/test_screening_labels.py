"""From a screening to labels: what to label next, and labelling, as targets of the workflow."""

import polars as pl
import pytest
import repository
from aimnet.data import SizeGroupedDataset
from rdkit import Chem
from repository import NOTHING, jobs

from probe.classifier import labels

BATCH = ("acquire", "--config", "acquire={n: 3}")


@pytest.fixture(scope="session")
def acquired(root):
    """The results after `snakemake acquire`, and what it said."""
    run = repository.snakemake(root, "--cores", "2", *BATCH)
    assert run.returncode == 0, run.stdout[-5000:]
    return root / "results", run.stdout


class TestAcquire:
    def test_every_library_gets_a_batch(self, acquired):
        results, said = acquired
        assert jobs(said) == {"batch": 2, "acquire": 1, "total": 3}
        for library, n in (("small", 3), ("empty", 0)):
            folder = results / library
            assert (folder / "batch.sdf").read_text().count("$$$$\n") == n
            assert (folder / "batch.extxyz").read_text().count(" p_unreliable=") == n
            assert len(SizeGroupedDataset(str(folder / "batch.h5"))) == n

    def test_it_is_of_the_worst_that_may_be_labelled(self, root, acquired):
        folder = acquired[0] / "small"
        everything = pl.concat(
            [pl.read_parquet(folder / f"{name}.parquet") for name in ("accept", "recompute")]
        )
        scored = everything.filter(pl.col("p_unreliable").is_not_null())
        reserved = [name for name in scored["smiles"] if labels.reserved(name)]
        molecules = Chem.SDMolSupplier(str(folder / "batch.sdf"), removeHs=False)
        names = [mol.GetProp("smiles") for mol in molecules]
        free = scored.filter(~pl.col("smiles").is_in(reserved))
        assert names[0] == free.sort("p_unreliable")["smiles"][-1]
        assert not set(names) & set(reserved)
        log = (root / "logs/small/batch.log").read_text()
        assert f"2 without an answer of PROBE, {len(reserved)} of molecules reserved" in log

    def test_a_second_batch_schedules_nothing(self, acquired):
        again = repository.snakemake(acquired[0].parent, "--dry-run", *BATCH)
        assert NOTHING in again.stdout


class TestLabel:
    @pytest.fixture
    def molecules(self, root):
        path = root / "my molecules.smi"
        path.write_text("N#N nitrogen\n")
        return path

    @pytest.mark.parametrize(("rule", "key"), [("label", "to_label"), ("evaluate", "test_labels")])
    def test_a_file_that_the_configuration_must_name_is_asked_for(self, root, rule, key):
        run = repository.snakemake(root, "--dry-run", rule)
        assert run.returncode != 0
        assert run.stdout.splitlines()[-1].startswith(f"probe: error: config key {key} is null")

    def test_it_is_one_job_that_ingests_as_a_screening_does(self, root, molecules):
        change = (f"to_label={molecules.name}", "ingest={seed: 7}")
        run = repository.snakemake(root, "--dry-run", "label", "--config", *change)
        assert jobs(run.stdout) == {"label": 1, "total": 1}
        assert "probe label --in 'my molecules.smi' --out models/labels/my-molecules.parquet" in (
            run.stdout
        )
        assert "--seed 7 --forcefield mmff94" in run.stdout

    def test_what_was_labelled_before_stays_when_the_input_changes(self, root, molecules):
        for text, n_before in (("N#N\n", 0), ("C=O\n", 0), ("N#N\nC=O\n", 2)):
            molecules.write_text(text)
            change = ("--config", f"to_label={molecules.name}")
            run = repository.snakemake(root, "--cores", "1", "label", *change)
            assert run.returncode == 0, run.stdout[-5000:]
            assert f" {n_before} done before" in (root / "logs/label.log").read_text()
        found = labels.read(root / "models/labels/my-molecules.parquet")
        assert found.smiles == ("N#N", "C=O")
