"""Conformers of one molecule, judged together."""

import math

import polars as pl
import pytest

from probe import schemas
from probe.errors import ProbeError
from probe.triage import ensembles

KT = 8.617333262e-5 * 298.15
TYPES = {
    **{"smiles": pl.String, "energy_ev": pl.Float64, "p_unreliable": pl.Float64},
    **{"numbers": pl.List(pl.UInt8), "reason": pl.String},
}


def row(name, energy, p, verdict="accept", **values):
    return {
        "conformer_id": f"{name}{energy}",
        "molecule_id": name,
        "smiles": "CO",
        "numbers": [6, 8, 1, 1, 1, 1],
        "charge": 0,
        "multiplicity": 1,
        "energy_ev": energy,
        "p_unreliable": p,
        "verdict": verdict,
        "reason": f"p_unreliable {p}",
    } | values


def judged(*rows):
    return ensembles.molecules(pl.DataFrame(list(rows), schema_overrides=TYPES)).to_dicts()


def test_the_table_is_the_one_that_is_written():
    found = ensembles.molecules(pl.DataFrame([row("a", -1.0, 0.1)], schema_overrides=TYPES))
    assert found.columns == schemas.MOLECULES.names
    assert found.to_arrow().cast(schemas.MOLECULES).num_rows == 1


def test_a_molecule_has_its_lowest_best_worst_and_mean():
    (found,) = judged(row("a", -9.0, 0.9), row("a", -10.0, 0.2), row("a", -10.0 + KT, 0.5))
    assert (found["n_conformers"], found["n_accept"], found["n_recompute"]) == (3, 3, 0)
    assert (found["conformer_id"], found["energy_ev"], found["p_unreliable"]) == (
        *("a-10.0", -10.0, 0.2),
    )
    assert (found["p_best"], found["p_worst"], found["formula"]) == (0.2, 0.9, "CH4O")
    weight = math.exp(-1)
    mean = (0.2 + weight * 0.5) / (1 + weight)
    assert found["p_boltzmann"] == pytest.approx(mean, abs=1e-6)


def test_a_single_conformer_is_the_molecule():
    (found,) = judged(row("a", -10.0, 0.7, "recompute"))
    assert found["p_best"] == found["p_worst"] == found["p_boltzmann"] == 0.7
    assert (found["verdict"], found["reason"]) == ("recompute", "p_unreliable 0.7")
    assert found["population_recompute"] == 1


@pytest.mark.parametrize(
    ("rows", "verdict", "reason"),
    [
        (
            [("accept", 0.0), ("accept", KT)],
            *("accept", "accepted conformers hold 100.0 % of the Boltzmann population"),
        ),
        (
            [("accept", 0.0), ("recompute", 4 * KT)],
            *("accept", "accepted conformers hold 98.2 % of the Boltzmann population"),
        ),
        (
            [("accept", 0.0), ("recompute", KT)],
            *("recompute", "conformers to recompute hold 26.9 % of the Boltzmann population"),
        ),
        (
            [("recompute", 0.0), ("accept", 4 * KT)],
            *("recompute", "conformer of lowest energy: p_unreliable 0.5"),
        ),
        (
            [("accept", 0.0), ("recompute", None)],
            *("recompute", "1 of 2 conformers have no energy"),
        ),
        (
            [("recompute", None), ("recompute", None)],
            *("recompute", "2 of 2 conformers have no energy"),
        ),
    ],
)
def test_a_molecule_is_accepted_where_the_conformers_that_matter_are(rows, verdict, reason):
    given = (row("a", energy, None if energy is None else 0.5, v) for v, energy in rows)
    (found,) = judged(*given)
    assert (found["verdict"], found["reason"]) == (verdict, reason)


def test_where_no_conformer_has_an_energy_none_is_the_lowest():
    (found,) = judged(*(row("a", None, None, "recompute", conformer_id=key) for key in "xy"))
    empty = ("conformer_id", "smiles", "energy_ev", "p_unreliable", "p_boltzmann")
    assert [found[name] for name in (*empty, "population_recompute")] == [None] * 6


def test_only_energies_of_one_composition_and_charge_are_compared():
    found = judged(
        row("a", -10.0, 0.1),
        row("a", -2000.0, 0.9, numbers=[6, 16, 1, 1, 1, 1]),
        row("a", -11.0, 0.9, charge=1),
        row("a", -12.0, 0.9, multiplicity=3),
        row("a", -9.9, 0.1, numbers=[1, 1, 1, 1, 8, 6]),
        row("b", -10.0, 0.1),
    )
    said = [(molecule["formula"], molecule["charge"]) for molecule in found]
    assert said == [("CH4O", 0), ("CH4S", 0), ("CH4O", 1), ("CH4O", 0), ("CH4O", 0)]
    assert [molecule["n_conformers"] for molecule in found] == [2, 1, 1, 1, 1]
    assert found[0]["p_boltzmann"] == pytest.approx(0.1)


def test_several_structures_under_one_name_are_counted():
    (found,) = judged(row("a", -10.0, 0.1), row("a", -10.1, 0.2, smiles="C[OH]"))
    assert (found["n_smiles"], found["smiles"]) == (2, "C[OH]")


def test_every_conformer_is_counted_once():
    frame = pl.DataFrame(
        [row("a", -1.0, 0.1), row("a", -2.0, 0.1), row("b", -1.0, 0.9, "recompute")]
    )
    found = ensembles.molecules(frame)
    assert ensembles.counts(found, 3) == {
        **{"n_molecules": 2, "n_molecules_several": 1},
        **{"n_molecules_accept": 1, "n_molecules_recompute": 1},
    }
    with pytest.raises(ProbeError, match="4 conformers, but the molecules hold 3"):
        ensembles.counts(found, 4)


def test_a_library_of_no_conformers_has_no_molecules():
    empty = pl.DataFrame([row("a", -1.0, 0.1)], schema_overrides=TYPES).clear()
    assert ensembles.counts(ensembles.molecules(empty), 0)["n_molecules"] == 0
