"""Labelling: what is labelled and what is not, resuming, and a stop at any moment.

What is decided beside the quantum chemistry is tested without it; test_label_command.py has the
command as a whole, with worker processes and real energies.
"""

import json
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest
from label_table import rows
from recomputable import in_this_process

from probe import schemas, tables
from probe.classifier import labels
from probe.conformers.conformer import Options
from probe.dft import label, scf
from probe.errors import ProbeError

SMILES = """\
N#N nitrogen
CCl chloromethane
C[CH2] radical
[U] uranium
C(C broken
N#N again
C#N reserved
C=O formaldehyde
"""
LEFT_OUT = {
    3: "its multiplicity is 2, and labels are of singlets",
    4: "B97-3c has no basis for U",
    5: "SMILES C(C cannot be parsed",
}


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "lib.smi"
    path.write_text(SMILES)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out" / "labels.parquet"


@pytest.fixture
def asked(monkeypatch):
    """Stands in for quantum chemistry and its processes: numbers of atoms, as they are asked for.

    ``asked.fails`` holds what becomes of a molecule with so many atoms instead of an energy; in a
    list, one time after the other.
    """

    class Asked(list):
        fails = {}  # noqa: RUF012 (a new class for every test)

    asked = Asked()

    def reference_energy(numbers, positions, charge, settings):
        assert positions.shape == (len(numbers), 3)
        assert (charge, settings) == (0, asked.settings)
        asked.append(len(numbers))
        outcome = asked.fails.get(len(numbers))
        if isinstance(outcome, list):
            outcome = outcome.pop(0) if outcome else None
        if isinstance(outcome, BaseException):
            raise outcome
        parts = (-1.5, -1.0, -0.25, -0.25) if outcome is None else (None,) * 4
        return scf.Reference(outcome is None, outcome or "", *parts, 5.0, 50, 1.0)

    asked.settings = scf.DEFAULT
    monkeypatch.setattr(scf, "reference_energy", reference_energy)
    monkeypatch.setattr(label.workers, "executor", in_this_process)
    return asked


def run(path, out, jobs=1, options=Options(), **settings):  # noqa: B008
    return label.label(path, out, options, jobs=jobs, **settings)


def column(out, name):
    return [row[name] for row in rows(out)]


@pytest.mark.usefixtures("asked")
class TestWhatIsLabelled:
    def test_every_conformer_that_can_be_once_in_the_order_of_the_input(self, library, out):
        outcome = run(library, out, jobs=3)
        assert outcome == label.Outcome(n_labelled=3, n_unconverged=0, n_left=0)
        assert column(out, "smiles") == ["N#N", "CCl", "C=O"]
        assert column(out, "source") == ["lib.smi:1; lib.smi:6", "lib.smi:2", "lib.smi:8"]
        assert column(out, "energy_ev") == [-1.5] * 3
        assert not out.with_name("labels.parquet.journal").exists()

    def test_of_every_other_record_it_is_said_why_not(self, library, out, capfd):
        run(library, out)
        printed = capfd.readouterr().err
        for number, reason in LEFT_OUT.items():
            assert f"label: lib.smi:{number}: {reason}" in printed
        assert "label: 1 conformers are of molecules reserved for testing; left out" in printed

    def test_reserved_molecules_where_they_are_asked_for(self, library, out):
        assert labels.reserved("C#N")
        run(library, out, with_reserved=True)
        assert "C#N" in column(out, "smiles")

    def test_labels_are_what_training_reads(self, library, out):
        run(library, out)
        found = labels.read(out)
        assert list(found.conformer_ids) == column(out, "conformer_id")
        assert found.smiles == ("N#N", "CCl", "C=O")

    def test_the_settings_are_written_down(self, library, out):
        run(library, out)
        made = tables.provenance(out)
        assert (made["method"], made["grid_level"], made["conv_tol"]) == ("B97-3c", 2, 1e-6)

    def test_where_the_geometry_comes_from(self, tmp_path, out, library):
        library.write_text("CC ethane\nC[Se]C selenide\n")
        run(library, out)
        assert column(out, "geometry") == ["mmff94", "uff"]
        run(library, tmp_path / "uff.parquet", options=Options(forcefield="uff"))
        run(library, tmp_path / "none.parquet", options=Options(forcefield="none"))
        assert column(tmp_path / "uff.parquet", "geometry") == ["uff", "uff"]
        assert column(tmp_path / "none.parquet", "geometry") == ["etkdg", "etkdg"]

    def test_given_coordinates_are_kept(self, tmp_path, out):
        path = tmp_path / "lib.xyz"
        path.write_text("2\nname=a\nN 0 0 0\nN 0 0 1.2\n2\ncharge=400\nN 0 0 0\nN 0 0 1.2\n")
        run(path, out)
        (row,) = rows(out)
        assert row["positions"] == [0, 0, 0, 0, 0, 1.2]
        assert (row["geometry"], row["source"], row["smiles"]) == ("as given", "lib.xyz:1", "N#N")

    def test_a_table_keeps_its_own_source_and_geometry(self, tmp_path, out):
        path = tmp_path / "lib.parquet"
        row = {"smiles": "N#N", "numbers": [7, 7], "charge": 0, "energy_ev": None}
        given = [
            row | {"source": "drug", "geometry": "md", "positions": [0, 0, 0, 0, 0, 1.2]},
            row | {"source": None, "geometry": None, "positions": [0, 0, 0, 0, 0, 1.3]},
        ]
        tables.write(path, given, schemas.LABELS, {})
        run(path, out)
        assert column(out, "source") == ["drug", "lib.parquet:2"]
        assert column(out, "geometry") == ["md", "as given"]

    def test_a_stated_multiplicity_is_heeded(self, tmp_path, out, capfd):
        path = tmp_path / "lib.csv"
        path.write_text("smiles,multiplicity\nC=O,3\nN#N,1\n")
        run(path, out, options=Options(multiplicity_tag="multiplicity"))
        assert column(out, "smiles") == ["N#N"]
        assert "lib.csv:1: its multiplicity is 3" in capfd.readouterr().err

    def test_an_input_of_nothing_that_can_be(self, library, out):
        library.write_text("C[CH2] radical\n")
        with pytest.raises(ProbeError, match=r"lib\.smi: holds no conformer that can be labelled"):
            run(library, out)
        assert not out.parent.exists()


class TestResuming:
    def test_what_is_done_is_not_computed_again(self, library, out, asked, capfd):
        run(library, out)
        before = rows(out)
        asked.clear()
        assert run(library, out) == label.Outcome(3, 0, 0)
        assert asked == []
        assert rows(out) == before
        assert "label: 0 conformers to compute, 3 done before" in capfd.readouterr().err

    def test_a_stop_keeps_what_is_finished_and_the_output_as_it_was(self, library, out, asked):
        library.write_text("N#N\n")
        run(library, out)
        before = out.read_bytes()
        library.write_text(SMILES)
        asked.fails = {4: KeyboardInterrupt()}
        with pytest.raises(ProbeError, match="stopped; what is finished is kept"):
            run(library, out)
        assert out.read_bytes() == before
        journal = out.with_name("labels.parquet.journal").read_text().splitlines()
        assert [json.loads(line)["smiles"] for line in journal[2:]] == ["CCl"]
        asked.clear()
        asked.fails = {}
        assert run(library, out) == label.Outcome(3, 0, 0)
        assert asked == [4]
        assert column(out, "smiles") == ["N#N", "CCl", "C=O"]

    def test_an_input_that_grew_and_changed_its_order(self, library, out, asked):
        library.write_text("CCl\nN#N\n")
        run(library, out)
        asked.clear()
        library.write_text("CC\nN#N\nCCl\n")
        run(library, out)
        assert asked == [8]
        assert column(out, "smiles") == ["CC", "N#N", "CCl"]
        assert column(out, "source") == ["lib.smi:1", "lib.smi:2", "lib.smi:3"]

    def test_labels_are_never_dropped(self, library, out, asked, capfd):
        run(library, out)
        library.write_text("C=O\nCC\n")
        asked.clear()
        assert run(library, out) == label.Outcome(4, 0, 0)
        assert asked == [8]
        assert column(out, "smiles") == ["C=O", "CC", "N#N", "CCl"]
        assert "2 conformers that were labelled before are not in the input; kept" in (
            capfd.readouterr().err
        )

    def test_a_budget_of_nothing_writes_what_is_done(self, library, out, asked):
        asked.fails = {4: KeyboardInterrupt()}
        with pytest.raises(ProbeError):
            run(library, out)
        asked.clear()
        assert run(library, out, budget_hours=0) == label.Outcome(2, 0, 1)
        assert asked == []
        assert column(out, "smiles") == ["N#N", "CCl"]

    def test_a_budget_starts_nothing_once_it_is_spent(self, library, out, asked, monkeypatch):
        clock = iter([0.0, 1.0, *[5.0] * 20])
        monkeypatch.setattr(label, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        assert run(library, out, budget_hours=2 / 3600) == label.Outcome(1, 0, 2)
        assert asked == [2]

    def test_other_settings_are_not_mixed(self, library, out, asked):
        run(library, out)
        before = out.read_bytes()
        asked.settings = scf.TIGHT
        with pytest.raises(ProbeError, match="not made by this command with these settings"):
            run(library, out, settings=scf.TIGHT)
        assert out.read_bytes() == before


class TestFailures:
    def test_what_did_not_converge_has_no_energy_and_is_no_label(self, library, out, asked, capfd):
        asked.fails = {5: "second order"}
        assert run(library, out) == label.Outcome(2, 1, 0)
        row = rows(out)[1]
        assert (row["smiles"], row["converged"], row["remedy"]) == ("CCl", False, "second order")
        assert row["energy_ev"] is row["e_scf_hartree"] is None
        assert labels.read(out).smiles == ("N#N", "C=O")
        printed = capfd.readouterr().err
        assert "label: 3 of 3, 1 not converged, after " in printed
        assert "1 of 3 conformers did not converge; left out" in printed

    def test_it_is_not_tried_again(self, library, out, asked):
        asked.fails = {5: "second order"}
        run(library, out)
        asked.clear()
        run(library, out)
        assert asked == []

    @pytest.mark.parametrize("jobs", [1, 3])
    @pytest.mark.parametrize(
        ("error", "said"),
        [(BrokenProcessPool("gone"), "its worker process ended"), (MemoryError(), "too little")],
    )
    def test_what_ends_its_worker_is_tried_once_more_when_the_others_are_done(
        self, library, out, asked, error, said, jobs, capfd
    ):
        asked.fails = {5: [error]}
        assert run(library, out, jobs=jobs) == label.Outcome(3, 0, 0)
        assert sorted(asked[:3]) == [2, 4, 5]
        assert asked[3:] == [5]
        printed = capfd.readouterr().err
        assert "label: lib.smi:2: it" in printed
        assert said in printed

    @pytest.mark.parametrize("error", [BrokenProcessPool("gone"), MemoryError()])
    def test_what_ends_it_twice_costs_no_other_its_label(self, library, out, asked, error, capfd):
        asked.fails = {5: error}
        assert run(library, out) == label.Outcome(2, 0, 1)
        assert asked == [2, 5, 4, 5]
        last = capfd.readouterr().err.splitlines()[-2]
        assert last.startswith("label: lib.smi:2: tried twice, the second time alone: it")
        asked.fails = {}
        asked.clear()
        assert run(library, out) == label.Outcome(3, 0, 0)
        assert asked == [5]

    def test_a_missing_input(self, tmp_path, out):
        with pytest.raises(ProbeError, match=r"none\.smi: no such file"):
            run(tmp_path / "none.smi", out)
