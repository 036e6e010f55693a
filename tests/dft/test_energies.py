"""Final energies: where each comes from, on which scale, and what is compared with what."""

import polars as pl
import pytest
from recomputable import HYDROGEN, IMIDOGEN, NITROGEN, NITROGEN_LONG, URANIUM, WATER, done

from probe import schemas, tables
from probe.classifier import card
from probe.dft import energies, recompute
from probe.dft.methods import B97_3C
from probe.errors import ProbeError

CARD = card.read("aimnet2-b973c")
SHIFT = {symbol: CARD["shift"]["per_element"][symbol] for symbol in ("H", "N", "O")} | {
    "charge": CARD["shift"]["per_charge"]
}


@pytest.fixture
def finish(library, tmp_path):
    """Writes the library and what was computed of it; gives the final energies by conformer."""

    def run(*results, collected=(), **settings):
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings(**settings))
        tables.write(recompute.shard_path(folder, 0), results, schemas.COMPUTED, {})
        if collected:
            tables.write(folder / energies.COLLECTED, collected, schemas.COMPUTED, {})
        counts = energies.finish(folder, CARD)
        rows = tables.read(folder / "energies.parquet", schemas.ENERGIES).to_pylist()
        assert tables.read_json(folder / "recomputed.json") == counts
        return {row["conformer_id"]: row for row in rows}, counts

    return run


class TestSources:
    def test_each_conformer_has_one_energy_and_says_where_from(self, library, finish):
        water = library.add("O", WATER, energy_ev=-2080.0, p=0.1, accept=True)
        nitrogen = library.add("N#N", NITROGEN, energy_ev=-2980.0, p=0.8)
        uranium = library.add("[U]", URANIUM, multiplicity=5)
        found, counts = finish(done(nitrogen, -2981.0), done(uranium, None))
        assert list(found) == [water, nitrogen, uranium]
        columns = ("source", "method", "energy_ev", "p_unreliable", "reason")
        assert [tuple(row[name] for name in columns) for row in found.values()] == [
            ("mlip", "aimnet2-b973c", -2080.0, 0.1, None),
            ("dft", "B97-3c (PySCF)", -2981.0, None, None),
            (None, None, None, None, "said so"),
        ]
        assert counts == {
            **{"n_conformers": 3, "n_recompute": 2, "n_dft": 1, "n_failed": 1, "n_left": 0},
            **{"n_mlip": 1, "n_without_energy": 1},
            "core_hours_spent": pytest.approx(9 / 3600),
        }

    def test_an_energy_by_the_method_of_the_plan_comes_before_any_other(self, library, finish):
        water = library.add("O", WATER, energy_ev=-2080.0, p=0.8)
        other = done(water, -2079.0, engine="ORCA 6", method="wB97M-D3(BJ)/def2-TZVPP")
        found, _ = finish(done(water, -2081.0), collected=[other])
        assert found[water]["method"] == "B97-3c (PySCF)"
        assert found[water]["energy_shifted_ev"] is not None
        alone, _ = finish(done(water, None), collected=[other])
        assert alone[water]["energy_ev"] == -2079.0

    def test_of_another_checkpoint_no_list_is_finished(self, library, tmp_path):
        library.add("O", WATER, energy_ev=-2080.0, p=0.8)
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        path = folder / "accept.parquet"
        made = card.identity(CARD | {"name": "mine", "temperature": 2.0})
        tables.write(path, tables.read(path, schemas.TRIAGED), schemas.TRIAGED, made)
        with pytest.raises(ProbeError, match=r"accept.parquet: made with checkpoint mine of aimn"):
            energies.finish(folder, CARD)

    def test_what_is_paid_for_counts_whatever_is_planned_now(self, library, finish, tmp_path):
        """By a shard of an earlier, larger plan, and by an audit of an accepted conformer."""
        water = library.add("O", WATER, energy_ev=-2080.0, p=0.1, accept=True)
        nitrogen = library.add("N#N", NITROGEN, energy_ev=-2980.0, p=0.8)
        folder = library.write(tmp_path / "lib")
        (folder / "dft").mkdir()
        tables.write(
            recompute.shard_path(folder, 7), [done(nitrogen, -2981.0)], schemas.COMPUTED, {}
        )
        tables.write(folder / energies.AUDITED, [done(water, -2081.0)], schemas.COMPUTED, {})
        found, counts = finish()
        assert [found[name]["energy_ev"] for name in (water, nitrogen)] == [-2081.0, -2981.0]
        assert {row["source"] for row in found.values()} == {"dft"}
        assert (counts["n_dft"], counts["n_recompute"], counts["n_left"]) == (2, 1, 0)

    def test_an_accepted_one_that_failed_elsewhere_is_not_of_the_list(self, library, finish):
        water = library.add("O", WATER, energy_ev=-2080.0, p=0.1, accept=True)
        nitrogen = library.add("N#N", NITROGEN, energy_ev=-2980.0, p=0.8)
        _, counts = finish(done(nitrogen, -2981.0), collected=[done(water, None, engine="ORCA")])
        assert (counts["n_recompute"], counts["n_dft"], counts["n_failed"]) == (1, 1, 0)

    def test_what_failed_keeps_the_backbones_energy_and_is_listed(self, library, finish, tmp_path):
        imidogen = library.add("[NH]", IMIDOGEN, energy_ev=-1500.0, p=0.9)
        found, _ = finish(done(imidogen, None))
        row = found[imidogen]
        assert (row["source"], row["energy_ev"], row["p_unreliable"]) == ("mlip", -1500.0, 0.9)
        assert row["reason"] == "said so"
        assert tables.read(tmp_path / "lib/dft_failed.parquet", schemas.FAILED).to_pylist() == [
            {
                "conformer_id": imidogen,
                "molecule_id": "[NH]",
                "source": "lib.xyz:1",
                "reason": "said so",
            }
        ]

    def test_what_was_not_computed_says_why(self, library, finish):
        left = library.add("O", WATER, energy_ev=-2080.0, p=0.9)
        assert finish()[0][left]["reason"].startswith("not computed yet")
        found, counts = finish(budget_core_hours=0)
        assert found[left]["reason"] == "beyond the budget"
        assert (counts["n_left"], counts["n_recompute"]) == (1, 1)

    def test_an_energy_of_another_program_counts_before_a_failure_here(self, library, finish):
        water = library.add("O", WATER, p=0.9)
        orca = done(water, -2079.0, engine="ORCA")
        found, counts = finish(done(water, None), collected=[orca])
        assert found[water]["method"] == "B97-3c (ORCA)"
        assert (counts["n_dft"], counts["n_failed"]) == (1, 0)
        found, counts = finish(done(water, -2078.0), collected=[done(water, None, engine="ORCA")])
        assert found[water]["energy_ev"] == -2078.0


class TestScales:
    def test_dft_is_shifted_to_the_backbones_scale(self, library, finish):
        ion = library.add("[OH2+]", WATER, charge=1, multiplicity=2)
        accepted = library.add("N#N", NITROGEN, energy_ev=-2980.0, p=0.1, accept=True)
        found, _ = finish(done(ion, -2066.0))
        shift = 2 * SHIFT["H"] + SHIFT["O"] + SHIFT["charge"]
        assert found[ion]["energy_ev"] == -2066.0
        assert found[ion]["energy_shifted_ev"] == pytest.approx(-2066.0 - shift, abs=1e-9)
        assert found[accepted]["energy_shifted_ev"] == found[accepted]["energy_ev"]

    def test_what_no_shift_is_known_for_has_none(self, library, finish):
        uranium = library.add("[U]", URANIUM)
        water = library.add("O", WATER, p=0.9)
        other = done(water, -2080.0, method="wB97M-D3(BJ)/def2-TZVPP")
        found, _ = finish(done(uranium, -1.0), other)
        for conformer in (uranium, water):
            assert found[conformer]["source"] == "dft"
            assert found[conformer]["energy_shifted_ev"] is None


class TestRelativeEnergies:
    """Of the conformers of one molecule, by one source for all of them."""

    @pytest.fixture
    def two(self, library):
        return (
            library.add("N#N", NITROGEN, energy_ev=-2980.0, p=0.1, accept=True),
            library.add("N#N", NITROGEN_LONG, energy_ev=-2979.0, p=0.9),
        )

    def test_by_the_backbone_where_dft_has_not_all(self, two, finish):
        found, _ = finish(done(two[1], -2985.0))
        rows = [found[name] for name in two]
        assert [row["source"] for row in rows] == ["mlip", "dft"]
        assert {row["relative_scale"] for row in rows} == {"mlip"}
        assert [row["relative_kcal"] for row in rows] == [0.0, pytest.approx(schemas.KCAL_PER_EV)]

    def test_by_dft_where_it_has_all(self, library, finish):
        ids = [library.add("N#N", molecule, p=0.9) for molecule in (NITROGEN, NITROGEN_LONG)]
        found, _ = finish(done(ids[0], -2981.0), done(ids[1], -2981.5))
        rows = [found[name] for name in ids]
        assert {row["relative_scale"] for row in rows} == {"dft"}
        assert [row["relative_kcal"] for row in rows] == [
            pytest.approx(0.5 * schemas.KCAL_PER_EV),
            0.0,
        ]

    def test_two_programs_are_two_scales(self, library, finish):
        ids = [library.add("N#N", molecule, p=0.9) for molecule in (NITROGEN, NITROGEN_LONG)]
        found, _ = finish(done(ids[0], -2981.0), done(ids[1], -2981.5, engine="ORCA"))
        assert {found[name]["relative_kcal"] for name in ids} == {None}

    def test_none_where_no_source_has_all(self, library, finish):
        first = library.add("N#N", NITROGEN, p=0.9)
        second = library.add("N#N", NITROGEN_LONG, energy_ev=-2979.0, p=0.9)
        found, _ = finish(done(first, -2981.0))
        for name in (first, second):
            assert (found[name]["relative_kcal"], found[name]["relative_scale"]) == (None, None)

    def test_another_composition_of_the_same_name_is_another_molecule(self, library, finish):
        for molecule, energy in ((NITROGEN, -2980.0), (HYDROGEN, -32.0)):
            library.add("x", molecule, energy_ev=energy, p=0.1, accept=True)
        found, _ = finish()
        assert [row["relative_kcal"] for row in found.values()] == [0.0, 0.0]


def test_a_conformer_in_both_lists_stops_it(library, tmp_path):
    library.add("O", WATER, energy_ev=-2080.0, p=0.1, accept=True)
    library.add("N#N", NITROGEN, p=0.9)
    folder = library.write(tmp_path / "lib")
    recompute.shards(folder, B97_3C, recompute.Settings())
    both = pl.concat(
        tables.frame(folder / f"{name}.parquet", schemas.TRIAGED)
        for name in ("accept", "recompute")
    )
    tables.write(folder / "accept.parquet", both.to_arrow(), schemas.TRIAGED, {})
    with pytest.raises(ProbeError, match="3 conformers are listed"):
        energies.finish(folder, CARD)
    assert not (folder / "energies.parquet").exists()
