"""Audit: who is drawn, what the interval and the promise say, and that it runs with real DFT."""

import polars as pl
import pytest
from recomputable import HYDROGEN, IMIDOGEN, NITROGEN, OXYGEN, WATER, Library, in_this_process
from scipy.stats import beta

from probe import schemas, tables
from probe.classifier import card
from probe.classifier.shift import Shift
from probe.dft import audit, energies, scf, workers
from probe.errors import ProbeError

CARD = card.read("aimnet2-b973c")
SUMMARY = {"tolerance_kcal": 1.0, "promise": None}


def checked(errors):
    rows = {"error_kcal": errors, "p_unreliable": [0.2] * len(errors)}
    return pl.DataFrame(rows, schema={"error_kcal": pl.Float64, "p_unreliable": pl.Float64})


def promise(share):
    return SUMMARY | {"promise": {"max_unreliable": share}}


class TestDraw:
    ROWS = pl.DataFrame({"conformer_id": [f"{n:03d}" for n in range(100)]})

    def test_the_seed_decides_and_the_order_of_the_rows_does_not(self):
        drawn = audit.draw(self.ROWS, 10, 1)
        assert drawn.height == drawn["conformer_id"].n_unique() == 10
        assert audit.draw(self.ROWS.reverse(), 10, 1).equals(drawn)
        assert not audit.draw(self.ROWS, 10, 2).equals(drawn)

    def test_of_fewer_all(self):
        assert audit.draw(self.ROWS, 1000, 1).equals(self.ROWS)

    def test_everyone_is_drawn_as_often(self):
        drawn = pl.concat(audit.draw(self.ROWS, 10, seed) for seed in range(1000))
        counts = drawn["conformer_id"].value_counts()["count"]
        assert counts.len() == 100
        assert counts.min() > 60
        assert counts.max() < 140


class TestVerdict:
    def test_the_interval_is_clopper_and_pearsons(self):
        found = audit.verdict(checked([2.0, -3.0, 0.5, *[0.0] * 17]), SUMMARY)
        assert (found["n_checked"], found["n_unreliable"], found["unreliable"]) == (20, 2, 0.1)
        assert found["interval_95"] == pytest.approx(
            [beta.ppf(0.025, 2, 19), beta.ppf(0.975, 3, 18)], abs=1e-6
        )
        assert found["expected"] == pytest.approx(0.2)
        assert found["promised"] is found["kept"] is None

    @pytest.mark.parametrize(
        ("n_wrong", "share", "kept"),
        [(0, 0.1, True), (30, 0.1, False), (4, 0.1, None), (0, 0.001, None)],
    )
    def test_a_promise_is_kept_broken_or_undecided(self, n_wrong, share, kept):
        errors = [5.0] * n_wrong + [0.0] * (60 - n_wrong)
        assert audit.verdict(checked(errors), promise(share))["kept"] is kept

    def test_what_has_no_error_is_counted_apart(self):
        found = audit.verdict(checked([0.0, None, 9.0]), SUMMARY)
        assert (found["n_drawn"], found["n_checked"], found["n_without_error"]) == (3, 2, 1)
        assert "1 more have no DFT energy to compare with" in audit.in_words(found)

    def test_of_none_nothing_is_said(self):
        found = audit.verdict(checked([None]), promise(0.1))
        assert (found["unreliable"], found["kept"], found["interval_95"]) == (None, None, [0, 1])
        assert audit.in_words(found) == "none of 1 conformers could be checked"

    def test_in_words(self):
        line = audit.in_words(audit.verdict(checked([5.0, *[0.0] * 59]), promise(0.1)))
        assert line == (
            "1 of 60 accepted energies are off by more than 1 kcal/mol: 1.7 %, 95 % interval 0.0 % "
            "to 8.9 %; expected by PROBE 20.0 %; promised at most 10.0 %: kept"
        )


class TestWithDFT:
    @pytest.fixture(autouse=True)
    def here(self, monkeypatch):
        monkeypatch.setattr(workers, "executor", in_this_process)

    def test_errors_are_on_the_backbones_scale(self, tmp_path):
        """One energy exactly that of DFT after the shift, one off by 1 eV, one that has none."""
        library = Library()
        exact = {}
        for name, molecule, off in (("O", WATER, 0.0), ("N#N", NITROGEN, 1.0)):
            numbers, places = pl.Series(molecule[0]).to_numpy(), molecule[1]
            energy = scf.reference_energy(numbers, pl.DataFrame(places, orient="row").to_numpy(), 0)
            shift = Shift(**CARD["shift"]).of(numbers, 0)
            mlip = energy.energy_ev - shift - off
            exact[library.add(name, molecule, energy_ev=mlip, p=0.1, accept=True)] = off
        failed = library.add("[NH]", IMIDOGEN, energy_ev=-1500.0, p=0.1, accept=True)
        library.add("[H][H]", HYDROGEN, energy_ev=-31.0, p=0.9)
        folder = library.write(tmp_path / "lib", promise={"max_unreliable": 0.1})
        record = audit.audit(folder, CARD, 3, 1, "pyscf", tmp_path / "store", 1)
        rows = {
            row["conformer_id"]: row
            for row in tables.read(folder / "audit.parquet", schemas.AUDITED).to_pylist()
        }
        for name, off in exact.items():
            assert rows[name]["error_kcal"] == pytest.approx(off * schemas.KCAL_PER_EV, abs=1e-3)
        assert rows[failed]["error_kcal"] is None
        assert rows[failed]["reason"].startswith("the SCF found no")
        assert rows.keys() == {*exact, failed}
        assert tables.read_json(folder / "audit.json") == record
        assert (record["n_unreliable"], record["n_checked"], record["n_drawn"]) == (1, 2, 3)
        audit.audit(folder, CARD, 1, 2, "pyscf", tmp_path / "store", 1)
        kept = tables.frame(folder / energies.AUDITED, schemas.COMPUTED)
        assert sorted(kept["conformer_id"]) == sorted(rows)  # of both audits

    def test_where_nothing_was_accepted_there_is_nothing_to_audit(self, tmp_path):
        library = Library()
        library.add("O=O", OXYGEN, multiplicity=3)
        folder = library.write(tmp_path / "lib")
        with pytest.raises(ProbeError, match="nothing was accepted, nothing to audit"):
            audit.audit(folder, CARD, 3, 1, "pyscf", tmp_path / "store", 1)
