"""Predictions of several peers as figures with intervals, in JSON's terms and as tables."""

import json

import numpy as np
import polars as pl
import pytest

from probe import schemas
from probe.classifier import metrics
from probe.comparison import scoreboard

FACTS = {
    **{"n_conformers": 40, "n_molecules": 40, "backbone": "made-up", "against": "noise"},
    "skipped": ["spread: the members are not known"],
}


def predictions(peer, quality, seeds=(1, 2), size=None, tolerance=None, split="random"):
    """40 conformers a seed; the score is the error's magnitude and noise."""
    frames = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        error = random.normal(size=40)
        noise = np.random.default_rng([seed, int(100 * quality)]).normal(size=40)
        score = quality * np.abs(error) + (1 - quality) * noise
        boundary = float(np.median(np.abs(error))) if tolerance is None else tolerance
        columns = {
            **{"split": split, "seed": seed, "size": size, "n_fit": size or 100, "peer": peer},
            **{"tolerance_kcal": boundary, "boundary": tolerance is None},
            "conformer_id": [f"c{index}" for index in range(40)],
            "smiles": [f"m{index}" for index in range(40)],
            **{"error_kcal": error, "score": score, "p_unreliable": 1 / (1 + np.exp(-score))},
        }
        frames.append(pl.DataFrame(columns).with_columns(pl.col("size").cast(pl.Int32)))
    return pl.concat(frames)


@pytest.fixture(scope="module")
def records():
    every = [
        predictions("noise", 0.0),
        predictions("good", 0.9),
        predictions("dear", 0.8, seeds=(2,)),
        predictions("noise", 0.0, tolerance=1.0),
        predictions("good", 0.9, tolerance=1.0),
        predictions("good", 0.9, size=50),
    ]
    return scoreboard.standings(pl.concat(every), "noise", resamples=100)


def find(records, peer, tolerance="boundary", size=None):
    wanted = {"peer": peer, "tolerance": tolerance, "size": size}
    return next(r for r in records if wanted.items() <= r.items())


class TestStandings:
    def test_each_peer_has_a_record_at_each_place_the_best_first(self, records):
        assert [(r["size"], r["tolerance"], r["peer"]) for r in records] == [
            (50, "boundary", "good"),
            (None, "boundary", "good"),
            (None, "boundary", "dear"),
            (None, "boundary", "noise"),
            (None, "1.0 kcal/mol", "good"),
            (None, "1.0 kcal/mol", "noise"),
        ]

    def test_a_figure_is_the_mean_of_what_a_card_would_say_of_each_seed(self, records):
        cards = []
        for _, rows in sorted(predictions("good", 0.9).partition_by("seed", as_dict=True).items()):
            p, error = rows["p_unreliable"].to_numpy(), rows["error_kcal"].to_numpy()
            cards.append(metrics.evaluate(p, error, rows["tolerance_kcal"][0]))
        figures = find(records, "good")["figures"]
        for name in ("accuracy", "mcc", "auroc", "average_precision", "ece", "brier", "spearman"):
            assert figures[name]["value"] == pytest.approx(np.mean([c[name] for c in cards]))

    def test_the_value_lies_in_its_interval(self, records):
        for record in records:
            auroc = record["figures"]["auroc"]
            assert auroc["low"] <= auroc["value"] <= auroc["high"]

    def test_a_difference_is_over_the_seeds_that_both_have(self, records):
        def auroc(name, quality):
            alone = scoreboard.standings(predictions(name, quality, (2,)), "", resamples=5)
            return alone[0]["figures"]["auroc"]["value"]

        difference = find(records, "dear")["difference"]["auroc"]
        assert difference["value"] == pytest.approx(auroc("dear", 0.8) - auroc("noise", 0.0))
        assert find(records, "dear")["n_seeds"] == 1
        assert difference["low"] > 0

    def test_without_the_other_peer_there_is_no_difference(self, records):
        assert find(records, "good", size=50)["difference"]["auroc"] is None

    def test_a_peer_does_not_differ_from_itself(self, records):
        same = find(records, "noise")["difference"]["auroc"]
        assert same == {"value": 0.0, "low": 0.0, "high": 0.0}

    def test_tables_are_of_all_seeds_together(self, records):
        record = find(records, "good")
        assert sum(row["n"] for row in record["by_magnitude"]) == 80
        assert record["coverage"][0]["n"] == 80
        assert (record["n_seeds"], record["n_test"], record["n_fit"]) == (2, 40, 100)

    def test_seeds_with_one_answer_for_all_are_counted(self):
        flat = predictions("flat", 0.9).with_columns(p_unreliable=0.4)
        assert scoreboard.standings(flat, "", resamples=5)[0]["n_flat"] == 2

    def test_the_order_of_the_rows_does_not_matter(self):
        frame = predictions("good", 0.9)
        one, two = (
            scoreboard.standings(rows, "", resamples=10)[0]["figures"]
            for rows in (frame, frame.sample(fraction=1.0, shuffle=True, seed=3))
        )
        for name, found in one.items():
            assert two[name] == pytest.approx(found)

    def test_the_record_is_json(self, records):
        assert json.loads(json.dumps(records, allow_nan=False)) == records

    def test_no_predictions_are_no_records(self):
        assert scoreboard.standings(pl.DataFrame(schemas.COMPARED.empty_table()), "noise") == []


class TestMarkdown:
    @pytest.fixture
    def text(self, records):
        return scoreboard.markdown(records, FACTS)

    def test_a_table_for_each_split_and_tolerance_and_the_curves(self, text):
        heads = [line for line in text.splitlines() if line.startswith("## ")]
        assert heads[0].startswith("## random, boundary (0.")
        assert heads[1] == "## random, 1.0 kcal/mol"
        assert heads[2:] == [
            f"## Learning curve, random, boundary: {name}" for name in ("AUROC", "accuracy", "MCC")
        ]

    def test_a_row_has_as_many_cells_as_its_head(self, text):
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert {line.count("|") for line in rows} == {20, 4}

    def test_a_row_holds_the_figures(self, text, records):
        auroc = find(records, "dear")["figures"]["auroc"]
        row = next(line for line in text.splitlines() if line.startswith("| dear | 1 | 100 | 40 |"))
        assert f"| {auroc['value']:.3f} [{auroc['low']:.3f}, {auroc['high']:.3f}] |" in row

    def test_what_has_no_answer_is_said(self, text):
        assert "- left out: spread: the members are not known" in text

    def test_a_figure_that_is_not_defined_is_a_dash(self):
        """Nobody is beyond 100 kcal/mol, so there is nothing to rank."""
        rows = scoreboard.standings(predictions("good", 0.9, tolerance=100.0), "", resamples=5)
        text = scoreboard.markdown(rows, FACTS)
        assert "| - | - |" in next(line for line in text.splitlines() if line.startswith("| good"))
