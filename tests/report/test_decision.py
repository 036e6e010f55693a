"""What a cutoff makes of the library: counts, expected risk with its interval, core-hours."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from report_library import library, refused
from scipy.stats import binomtest

from probe import figures, schemas, tables
from probe.classifier import card
from probe.report import decision, screening
from probe.report.decision import Judged
from probe.report.material import Material
from probe.triage.policy import Policy


def loaded(made, folder, **options):
    return screening.load(made.write(folder, **options))


def with_p(*values):
    """A library of as many alkanes; None is refused."""
    made = library(["C" * (n + 1) for n in range(len(values))])
    for place, p in enumerate(values):
        row = made.scores[place] | {"energy_ev": -1.0, "latent_distance": 1.0, "refusal": None}
        made.scores[place] = refused(row) if p is None else row | {"p_unreliable": p}
    return made


def held_out(folder, p, error_kcal, smiles=None):
    """Predictions of methane-like molecules beside the card in ``folder``."""
    rows = [
        {
            "conformer_id": f"held {i}",
            "smiles": f"molecule {i}" if smiles is None else smiles[i],
            "n_atoms": 5,
            "numbers": [6, 1, 1, 1, 1],
            "latent_distance": 1.0,
            "error_kcal": float(error),
            "p_unreliable": float(value),
            "location_kcal": None,
            "scale_kcal": None,
        }
        for i, (value, error) in enumerate(zip(p, error_kcal, strict=True))
    ]
    tables.write(folder / card.HELD_OUT, rows, schemas.HELD_OUT, {})


def rows_of(found, held=None):
    columns = decision.table(found, held)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_counts_by_hand(tmp_path):
    found = decision.counted(loaded(with_p(0.1, 0.3, 0.45, 0.8, None), tmp_path))
    rows = rows_of(found)
    counts = {s: tuple(rows[s][k] for k in ("accept", "between", "recompute")) for s in range(101)}
    assert counts[0] == (4, 0, 1)
    assert counts[50] == (3, 0, 2)
    assert counts[60] == (2, 1, 2)
    assert counts[70] == (2, 1, 2)
    assert counts[71] == (1, 2, 2)
    assert counts[81] == (1, 3, 1)
    assert counts[100] == (0, 4, 1)
    assert rows[60]["mean_p"] == pytest.approx(0.2)
    assert rows[100]["mean_p"] is None


def test_every_conformer_is_somewhere_and_every_core_hour_spent_or_saved(tmp_path):
    library_ = loaded(library(), tmp_path)
    rows = rows_of(decision.counted(library_))
    hours = pl.concat(
        tables.frame(library_.inputs.triage / f"{name}.parquet", schemas.TRIAGED)
        for name in ("accept", "recompute")
    )["dft_core_hours"]
    for row in rows:
        n = row["accept"] + row["between"] + row["recompute"]
        assert n == library_.summary["n_conformers"]
        assert row["core_hours_saved"] + row["core_hours_spent"] == pytest.approx(hours.sum())
    assert rows[0]["core_hours_saved"] > rows[60]["core_hours_saved"] > 0


def test_at_the_runs_cutoff_the_row_is_the_accept_list(tmp_path):
    found = loaded(library(), tmp_path)
    row = rows_of(decision.counted(found))[60]
    accepted = tables.frame(found.inputs.triage / "accept.parquet", schemas.TRIAGED)
    assert row["accept"] == accepted.height
    assert row["core_hours_saved"] == pytest.approx(accepted["dft_core_hours"].sum())
    assert row["outside"] == (accepted["flags"] != "").sum()
    assert row["mean_p"] == pytest.approx(accepted["p_unreliable"].mean())


def test_what_other_rules_send_to_recompute_stays_there_at_any_cutoff(tmp_path):
    found = loaded(library(), tmp_path, policy=Policy(beyond_size="recompute"))
    by_rule = sum(found.summary["reasons"].get(k, 0) for k in ("backbone", "element", "size"))
    assert rows_of(decision.counted(found))[0]["recompute"] == by_rule > 1


def test_equal_weights_give_clopper_and_pearsons_interval():
    hits = np.array([True] * 3 + [False] * 7)
    share, low, high = decision.share_with_interval(hits, np.full(10, 0.1))
    exact = binomtest(3, 10).proportion_ci()
    assert (share, low, high) == pytest.approx((0.3, exact.low, exact.high))


def test_the_interval_of_none_and_of_all_by_hand():
    weights = np.full(20, 0.05)
    assert decision.share_with_interval(np.zeros(20, bool), weights) == pytest.approx(
        (0, 0, 1 - 0.025 ** (1 / 20))
    )
    assert decision.share_with_interval(np.ones(20, bool), weights) == pytest.approx(
        (1, 0.025 ** (1 / 20), 1)
    )


@pytest.mark.parametrize(
    ("steps", "n", "share"),
    [
        ([90], [5], 1 / 8),
        ([70], [5], 4 / 8),
        ([90, 70], [4, 4], 5 / 16),
        ([90, 70], [1, 3], 13 / 32),
    ],
)
def test_expected_is_weighted_to_where_the_library_lies(steps, n, share):
    p = np.array([0.1] * 8 + [0.3] * 8)
    unreliable = np.array([True] + [False] * 7 + [True] * 4 + [False] * 4)
    held = Judged(p, unreliable)
    found = decision.expected(np.array(steps), np.array(n), held, step=60)
    assert found[0] == pytest.approx(share)
    assert found[1] < share < found[2]


def test_too_few_held_out_molecules_say_nothing():
    held = Judged(np.full(decision.IN_STRATUM - 1, 0.1), np.zeros(decision.IN_STRATUM - 1, bool))
    assert decision.expected(np.array([90]), np.array([3]), held, step=60) is None


def test_the_interval_covers_the_risk_of_a_library_nearer_to_the_cutoff():
    random = np.random.default_rng(7)
    p_library = 0.4 * random.beta(3, 1, 2000)  # most just below the cutoff
    steps, n = np.unique(np.floor((1 - p_library) * 100).astype(int), return_counts=True)
    hits = 0
    for _ in range(300):
        p = np.sort(random.beta(1.2, 1.2, 200))
        held = Judged(p, random.random(200) < p)
        _, low, high = decision.expected(steps, n, held, step=60)
        hits += low < p_library.mean() < high
    assert hits / 300 > 0.93


def test_the_held_out_are_judged_one_a_molecule_at_the_runs_tolerance(tmp_path):
    made = library(["CCO"])
    inputs = made.write(tmp_path)
    held_out(inputs.checkpoint, [0.2, 0.1, 0.9], [0.5, -0.9, 0.88], ["C", "CC", "CC"])
    found = decision.judged(screening.load(inputs))
    assert len(found.p) == 2
    assert found.p.tolist() == sorted(found.p)
    assert found.unreliable[found.p == 0.2].tolist() == [False]
    assert found.unreliable[found.p != 0.2].tolist() == [True]


def test_without_held_out_predictions_no_risk_is_told(tmp_path):
    found = loaded(library(), tmp_path)
    assert decision.judged(found) is None
    rows = rows_of(decision.counted(found))
    assert {row["expected_unreliable"] for row in rows} == {None}


def test_the_page_and_its_data_agree(tmp_path):
    inputs = replace(library().write(tmp_path), figures=tmp_path / "figures")
    random = np.random.default_rng(2)
    p = random.random(120)
    held_out(inputs.checkpoint, p, np.where(random.random(120) < p, 1.5, 0.3))
    with figures.style():
        content = decision.section(Material(screening.load(inputs), [], None))
    assert [row["step"] for row in content["rows"]] == sorted(decision.SHOWN)
    for row in content["rows"]:
        assert all(row[name] == column[row["step"]] for name, column in content["data"].items())
    assert content["own"] == 60
    assert 0 < content["rows"][2]["low"] < content["rows"][2]["high"] < 1
    assert (tmp_path / "figures/decision.svg").is_file()


@pytest.mark.parametrize("values", [(), (None,)])
def test_a_library_without_scores_says_so(tmp_path, values):
    found = loaded(with_p(*values), tmp_path)
    assert decision.section(Material(found, [], None)) == {"empty": decision.NO_SCORES}
    assert (found.inputs.figures / "decision.png").is_file()
