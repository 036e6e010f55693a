"""Atoms with their neighbours that are important again and again."""

import numpy as np
import pytest
from rdkit import Chem
from report_library import library

from probe import figures
from probe.report import composition, motifs, screening
from probe.report.material import Material
from probe.report.motifs import Seen


def section(made, folder):
    loaded = screening.load(made.write(folder))
    with figures.style():
        return motifs.section(Material(loaded, composition.elements(loaded), None))


def with_attention_on(symbol, smiles, p):
    """A library of ``smiles`` whose importance lies on the atoms of ``symbol``."""
    made = library(smiles)
    number = Chem.GetPeriodicTable().GetAtomicNumber(symbol)
    for conformer, row in zip(made.conformers, made.scores, strict=True):
        weights = np.where(np.array(conformer["numbers"]) == number, 100.0, 1.0)
        row |= {"p_unreliable": p, "energy_ev": -1.0, "latent_distance": 1.0, "refusal": None}
        row["importance"] = (weights / weights.sum()).tolist()
    return made


def test_a_motif_is_an_atom_with_its_neighbours():
    assert motifs.surroundings(Chem.MolFromSmiles("CCO")) == ["CC", "C(C)O", "OC"]
    (alone,) = motifs.surroundings(Chem.MolFromSmiles("C"))
    assert alone == "C"
    assert set(motifs.surroundings(Chem.MolFromSmiles("CC#N"))) == {"CC", "C(C)#N", "N#C"}


@pytest.mark.parametrize(
    ("shares", "chosen"),
    [([0.1, 0.5, 0.2, 0.1, 0.1], [1]), ([0.1] * 10, [0, 1]), ([1.0], [0])],
)
def test_important_is_the_fifth_with_most_attention(shares, chosen):
    assert np.flatnonzero(motifs.important(np.array(shares))).tolist() == chosen


@pytest.mark.parametrize(
    ("counts", "chance"), [((5, 1, 1), 0.2), ((5, 2, 2), 0.7), ((3, 2, 2), 1.0), ((9, 1, 9), 1.0)]
)
def test_chance_by_hand(counts, chance):
    assert motifs.by_chance(*counts) == pytest.approx(chance)


def test_counts_and_p_by_hand():
    seen = {
        "OC": Seen(n_other=1, important=[True] * 3 + [False] * 2, chance=[0.2] * 5),
        "CC": Seen(n_other=0, important=[False] * 6, chance=[0.5] * 6),
        "NC": Seen(important=[True] * (motifs.LEAST - 1), chance=[0.2] * (motifs.LEAST - 1)),
    }
    first, second = motifs.motifs(seen, n_looked=10, n_other=4)
    assert (first.smiles, first.n, first.n_important) == ("OC", 5, 3)
    assert first.expected == pytest.approx(1.0)
    assert (first.share, first.share_other) == (0.5, 0.25)
    assert first.p == pytest.approx(10 * 0.2**3 * 0.8**2 + 5 * 0.2**4 * 0.8 + 0.2**5)
    assert first.q == pytest.approx(2 * first.p)
    assert (second.smiles, second.n_important, second.p, second.q) == ("CC", 0, 1.0, 1.0)


def test_a_share_of_no_others_is_not_told():
    seen = {"OC": Seen(important=[True] * 5, chance=[0.2] * 5)}
    assert motifs.motifs(seen, n_looked=5, n_other=0)[0].share_other is None


def test_the_section_finds_the_atom_that_gets_the_attention(tmp_path):
    chains = ["C" * n for n in range(4, 12)]
    content = section(with_attention_on("O", [f"{c}O" for c in chains], p=0.9), tmp_path)
    first = content["rows"][0]
    assert (first.smiles, first.n, first.n_important) == ("OC", 8, 8)
    assert first.significant
    assert first.svg.startswith("<svg")
    assert content["n_other"] == 0
    assert all(row.n_important == 0 for row in content["rows"] if row.smiles == "C(C)C")
    assert (tmp_path / "figures/motifs.svg").is_file()


def test_how_common_a_motif_is_in_the_other_molecules(tmp_path):
    chains = ["C" * n for n in range(4, 12)]
    made = with_attention_on("O", [f"{c}O" for c in chains] + chains + ["CCCCCCO"], p=0.9)
    for row in made.scores[8:]:
        row["p_unreliable"] = 0.1
    made.conformers[-1]["conformer_id"] = made.scores[-1]["conformer_id"] = "another"
    made.conformers[-1]["smiles"] = "CCCCCCO"
    made.scores[2]["p_unreliable"] = 0.95  # with its other conformer 0.525 on average
    first = section(made, tmp_path)["rows"][0]
    assert (first.smiles, first.n, first.share_other) == ("OC", 8, 0)


@pytest.mark.parametrize(
    ("smiles", "p", "why"),
    [
        ([], 0.9, motifs.NONE_UNRELIABLE),
        (["CCCCO"], 0.5, motifs.NONE_UNRELIABLE),
        (["CCCCO"], 0.9, motifs.TOO_FEW),
        (["CO", "CN"], 0.9, motifs.NO_IMPORTANCE),
    ],
)
def test_where_there_is_nothing_to_find_the_section_says_why(tmp_path, smiles, p, why):
    content = section(with_attention_on("O", smiles, p), tmp_path)
    assert content["empty"] == why
    assert (tmp_path / "figures/motifs.png").is_file()


def test_molecules_without_importance_or_smiles_are_left_out(tmp_path):
    made = with_attention_on("O", [f"{'C' * n}O" for n in range(4, 10)], p=0.9)
    made.scores[0]["importance"] = None
    made.conformers[1]["smiles"] = None
    content = section(made, tmp_path)
    assert (content["n_unreliable"], content["n_looked"]) == (6, 4)
    assert content["empty"] == motifs.TOO_FEW
