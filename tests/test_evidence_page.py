"""The tables of docs/evidence.md: made of what `probe compare` wrote, and of nothing else."""

import runpy

import pytest
from repository import ROOT


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "tools/evidence.py"))


def figure(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def standing(peer, auroc, *, split="random", size=None, n_fit=60):
    names = ("accuracy", "mcc", "ece", "brier", "aurc")
    return {
        **{"split": split, "size": size, "tolerance": "boundary", "peer": peer, "n_seeds": 5},
        **{"n_fit": n_fit, "n_test": 20, "ece_chance": 0.04},
        "figures": dict.fromkeys(names, figure(0.25)) | {"auroc": figure(auroc)},
        "difference": None if peer == "probe" else {"auroc": figure(auroc - 0.7)},
        "coverage": [
            {"cutoff": 0.5, "coverage": 1.0, "accuracy": 0.7}
            | {"accepted": 0.4, "accepted_unreliable": 0.3},
            {"cutoff": 0.9, "coverage": 0.0, "accuracy": None}
            | {"accepted": 0.0, "accepted_unreliable": None},
        ],
    }


def table(script, standings, name):
    page = script["filled"](f"before\n<!-- table {name} -->old<!-- end -->\nafter", standings)
    assert page.startswith("before\n")
    assert page.endswith("\nafter")
    return [row[2:-2].split(" | ") for row in page.splitlines() if row.startswith("| ")]


def test_peers_stand_the_best_first_with_their_distance_from_probe(script):
    found = [standing("worse", 0.6), standing("probe", 0.7), standing("better", 0.8)]
    _, *rows = table(script, found, "random boundary")
    assert [row[0] for row in rows] == ["better", "**probe**", "worse"]
    assert rows[0][4:7] == [
        "0.800 [0.700, 0.900]",
        "+0.100 [+0.000, +0.200]",
        "0.250 (0.040)",
    ]
    assert rows[2][5] == "−0.100 [−0.200, +0.000]"


def test_other_splits_and_sizes_are_not_mixed_in(script):
    found = [
        standing("probe", 0.7),
        standing("probe", 0.5, split="scaffold"),
        standing("probe", 0.6, size=30),
    ]
    assert len(table(script, found, "random boundary")) == 2
    assert table(script, found, "scaffold boundary")[1][4].startswith("0.500")


def test_a_learning_curve_has_those_that_every_size_has(script):
    found = [
        standing("probe", 0.7),
        standing("once", 0.9),
        standing("spread", 0.66),
        standing("spread", 0.65, size=30, n_fit=30),
        standing("probe", 0.6, size=30, n_fit=30),
    ]
    head, few, all_ = table(script, found, "sizes boundary")
    assert head == ["labels", "fitted to", "tested on", "probe", "spread"]
    assert few[:4] == ["30", "30", "20", "0.600 [0.500, 0.700]"]
    assert all_[0] == "all"


def test_an_element_is_named_by_its_symbol(script):
    found = [standing("probe", 0.7, split="element-I")]
    assert table(script, found, "elements boundary")[1][0] == "I"


def test_cutoffs_that_accept_nothing_have_no_accuracy(script):
    assert table(script, [standing("probe", 0.7)], "coverage boundary")[1:] == [
        ["0.5", "100.0%", "70.0%", "40.0%", "30.0%"],
        ["0.9", "0.0%", "", "0.0%", ""],
    ]
