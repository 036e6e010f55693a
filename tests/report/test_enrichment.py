"""What the unreliable molecules hold more often than the others."""

import math

import numpy as np
import polars as pl
import pytest
from rdkit import Chem
from report_library import library

from probe import figures
from probe.report import composition, enrichment, screening
from probe.report.enrichment import Enrichment
from probe.report.material import Material


def material(made, folder):
    loaded = screening.load(made.write(folder))
    return Material(loaded, composition.elements(loaded), None)


def section(made, folder):
    with figures.style():
        return enrichment.section(material(made, folder))


def with_p(smiles, values):
    """A library of ``smiles``, all scored."""
    made = library(smiles)
    for row, p in zip(made.scores, values, strict=True):
        row |= {"p_unreliable": p, "energy_ev": -1.0, "latent_distance": 1.0, "refusal": None}
    return made


def test_fishers_p_by_hand():
    # 9 hold it, 8 of these unreliable; 7 do not, 2 of these unreliable: of C(16, 9) = 11440 ways
    found = enrichment.fisher(9, 8, 7, 2)
    assert found.p == pytest.approx((270 + 10 + 120) / 11440)
    assert 1 < found.low < found.odds < found.high


def test_the_odds_ratio_of_many_is_the_samples_with_woolfs_interval():
    found = enrichment.fisher(8_000, 3_000, 200_000, 40_000)
    ratio = (3_000 * 160_000) / (5_000 * 40_000)
    half = 1.959964 * math.sqrt(1 / 3_000 + 1 / 5_000 + 1 / 40_000 + 1 / 160_000)
    assert found.odds == pytest.approx(ratio) == pytest.approx(2.4)
    assert (found.low, found.high) == pytest.approx(
        (ratio * math.exp(-half), ratio * math.exp(half))
    )


def test_few_and_many_agree_where_both_can_be_had(monkeypatch):
    exact = enrichment.fisher(2_000, 1_000, 6_000, 2_000)
    monkeypatch.setattr(enrichment, "EXACT_UP_TO", 0)
    many = enrichment.fisher(2_000, 1_000, 6_000, 2_000)
    assert (many.odds, many.low, many.high) == pytest.approx(
        (exact.odds, exact.low, exact.high), rel=0.01
    )


@pytest.mark.parametrize("size", [1, 2_000])
def test_an_empty_cell_has_an_interval_that_is_open_or_wide(size):
    found = enrichment.fisher(10 * size, 10 * size, 10 * size, 4 * size)
    assert found.odds > 100 or found.odds == math.inf
    assert 1 < found.low < found.high


def test_q_is_benjamini_and_hochbergs_by_hand():
    rows = [Enrichment("group", str(p), 9, 8, 7, 2, 1, 1, 1, p) for p in (0.03, 0.5, 0.01, 0.02)]
    found = [row.q for row in enrichment.corrected(rows)]
    assert found == pytest.approx([0.04, 0.5, 0.04, 0.04])
    assert enrichment.corrected([]) == []


def test_elements_are_counted_by_molecule(tmp_path):
    smiles = ["CCO", "CCO", "CCO", *("C" * n for n in range(1, 8)), "CO", "CCCO", "COC", "OCCO"]
    made = with_p(smiles, [0.9] * 3 + [0.1] * 7 + [0.9] * 4)
    for copy in (1, 2):  # three conformers of one molecule
        name = f"geometry {copy}"
        made.conformers[copy]["conformer_id"] = made.scores[copy]["conformer_id"] = name
    (oxygen,) = enrichment.of_elements(material(made, tmp_path))
    assert oxygen.name == "O"  # carbon and hydrogen are in all
    counts = (oxygen.n_with, oxygen.unreliable_with, oxygen.n_without, oxygen.unreliable_without)
    assert counts == (5, 5, 7, 0)


def test_groups_and_scaffolds_are_rdkits():
    smiles = ["CC(=O)O", "c1ccccc1CC", "c1ccccc1", "not a SMILES", None, "CCO"]
    found = enrichment.look(pl.DataFrame({"smiles": smiles, "p": [0.9, 0.1, 0.6, 0.2, 0.2, 0.3]}))
    assert found.n_unreadable == 2
    assert found.unreliable.tolist() == [True, False, True, False]
    assert found.groups["benzene rings"].tolist() == [False, True, True, False]
    assert found.groups["aliphatic hydroxyl groups"].tolist() == [False, False, False, True]
    assert found.scaffolds == {}  # none is shared by enough


def test_a_group_that_the_same_molecules_hold_as_another_is_left_out():
    found = enrichment.look(pl.DataFrame({"smiles": ["Oc1ccccc1", "C"], "p": [0.9, 0.1]}))
    held = [name for name, has in found.groups.items() if has.tolist() == [True, False]]
    assert held == ["aromatic hydroxyl groups"]  # not phenols, benzene rings and so on, too


def test_a_scaffold_is_murckos_without_side_chains():
    assert enrichment.scaffold(Chem.MolFromSmiles("Cc1ccccc1CCN")) == "c1ccccc1"
    assert enrichment.scaffold(Chem.MolFromSmiles("CCCC")) == ""


@pytest.mark.parametrize(
    ("says", "name"),
    [
        ("Number of Primary amines", "primary amines"),
        ("Number of N functional groups attached to aromatics",
         "N functional groups attached to aromatics"),
        ("Number of XCCNR groups", "XCCNR groups"),
        ("Number of piperdine rings", "piperidine rings"),
        ("Bicyclic", "bicyclic"),
    ],
)  # fmt: skip
def test_names_of_groups(says, name):
    assert enrichment.group_name(says) == name


def test_the_section_finds_what_was_put_in(tmp_path):
    chains = ["C" * n for n in range(2, 12)]
    chlorides = [f"{chain}Cl" for chain in chains]
    content = section(with_p(chains + chlorides, [0.2] * 10 + [0.8] * 10), tmp_path)
    best = min(content["rows"], key=lambda row: row.p)
    assert (best.kind, best.name, best.odds) == ("element", "Cl", math.inf)
    assert best.p == pytest.approx(2 / math.comb(20, 10))
    assert best.significant
    assert {"Cl", "halogens"} <= {row.name for row in content["rows"]}
    assert (content["n"], content["n_unreliable"], content["n_looked"]) == (20, 10, 20)
    assert (tmp_path / "figures/enrichment.svg").is_file()


def test_sampled_rows_of_chance_are_rarely_called_significant():
    random = np.random.default_rng(4)
    unreliable = random.random(400) < 0.5
    holds = {str(i): random.random(400) < random.uniform(0.05, 0.5) for i in range(60)}
    rows = enrichment.of_sample(enrichment.Looked(unreliable, groups=holds))
    assert len(rows) == 60
    assert sum(row.significant for row in enrichment.corrected(rows)) <= 1


@pytest.mark.parametrize("class_of_all", [True, False])
def test_a_sample_of_one_class_is_not_tested(class_of_all):
    unreliable = np.full(12, fill_value=class_of_all)
    holds = {"amine": np.arange(12) < 6}
    assert enrichment.of_sample(enrichment.Looked(unreliable, groups=holds)) == []


@pytest.mark.parametrize(
    ("smiles", "values", "why"),
    [
        ([], [], enrichment.NO_SCORES),
        (["CCO"], [0.9], enrichment.ONE_SIDED[True]),
        (["CCO", "CC"], [0.9, 0.6], enrichment.ONE_SIDED[True]),
        (["CCO", "CC"], [0.1, 0.5], enrichment.ONE_SIDED[False]),
        (["CCO", "CC"], [0.1, 0.6], enrichment.TOO_FEW),
    ],
)
def test_where_there_is_nothing_to_compare_the_section_says_why(tmp_path, smiles, values, why):
    content = section(with_p(smiles, values), tmp_path)
    assert content["empty"] == why
    assert (tmp_path / "figures/enrichment.png").is_file()
