"""`probe compare`: every peer on identical splits, resumable, with the same calibration."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from labelled_set import made_up
from scipy.special import expit

from probe import cli, schemas
from probe.classifier.calibration import Labelled
from probe.comparison import compare, splits
from probe.comparison.parts import LabelledSet
from probe.comparison.peers import PEERS, NotApplicable
from probe.errors import ProbeError


@dataclass
class Counted:
    """A peer that scores by the number of atoms and notes what it was given."""

    name: str = "counted"
    dear: bool = False
    calls: list = field(default_factory=list)

    def fit(self, fit, tune, tolerances, seed):
        self.calls.append((fit, tune, tolerances, seed))
        return lambda part: np.tile(part.sizes().astype(float)[:, None], len(tolerances))


@dataclass
class Silent:
    """A peer that has no answer."""

    name: str = "silent"
    dear: bool = False

    def fit(self, fit, tune, tolerances, seed):  # noqa: ARG002
        raise NotApplicable("nothing to say")


@pytest.fixture(scope="module")
def labels():
    return made_up()[0]


def settings(*peers, **changes):
    return compare.Settings(**{"peers": peers, "seeds": 2, "seeds_dear": 1, **changes})


def predictions(folder):
    return pl.read_parquet(folder / "predictions.parquet")


class TestPlan:
    def test_every_kind_for_every_seed(self, labels):
        planned = compare.plan(labels.data, settings(kinds=compare.KINDS))
        assert [(split.name, split.seed) for split, _ in planned] == [
            (name, seed) for seed in (1, 2) for name in ("random", "scaffold", "element-I", "size")
        ]

    def test_sizes_are_subsets_of_the_random_split_below_all_of_it(self, labels):
        planned = list(compare.plan(labels.data, settings(seeds=1, sizes=(24, 36, 48, 500))))
        assert [split.size for split, _ in planned] == [None, 24, 36]
        assert {id(whole) for _, whole in planned} == {id(planned[0][0])}


class TestPlatt:
    def test_it_finds_the_odds_that_made_the_outcomes(self):
        random = np.random.default_rng(0)
        score = random.normal(size=20_000) * 5 + 3
        probability = expit(0.4 * score - 1.0)
        fitted = compare.platt(score, random.random(20_000) < probability)
        assert fitted(score) == pytest.approx(probability, abs=0.02)

    def test_it_keeps_the_order(self):
        score = np.array([0.0, 1.0, 2.0, 3.0])
        p = compare.platt(score, np.array([False, True, False, True]))(np.array([9.0, -4.0, 1.5]))
        assert p[1] < p[2] < p[0]

    def test_a_shift_or_a_unit_of_the_score_does_not_matter(self):
        random = np.random.default_rng(0)
        score, truth = random.normal(size=50), random.random(50) < 0.5
        truth[score > 0.5] = True
        one = compare.platt(score, truth)(score)
        assert compare.platt(1000 * score + 7, truth)(1000 * score + 7) == pytest.approx(one)

    @pytest.mark.parametrize(
        ("score", "unreliable", "frequency"),
        [
            ([3.0, 2.0, 1.0, 0.0], [False, False, True, True], 3 / 6),  # the wrong way round
            ([1.0, 1.0, 1.0], [True, False, False], 2 / 5),
            ([0.0, 1.0], [False, False], 1 / 4),
        ],
    )
    def test_what_ranks_nothing_gets_the_frequency(self, score, unreliable, frequency):
        p = compare.platt(np.array(score), np.array(unreliable))(np.array([-5.0, 5.0]))
        assert p == pytest.approx([frequency, frequency])


class TestRun:
    def test_peers_get_the_same_parts_and_not_the_tested(self, labels, tmp_path):
        one, other = Counted("one"), Counted("other")
        compare.run(labels, settings(one, other), tmp_path)
        for mine, theirs in zip(one.calls, other.calls, strict=True):
            assert mine[0] is theirs[0]
            assert mine[1] is theirs[1]
        for fit, tune, tolerances, seed in one.calls:
            split = splits.at_random(labels.data.smiles, seed)
            assert set(fit.smiles) == set(labels.data.smiles[split.fit])
            assert set(tune.smiles) == set(labels.data.smiles[split.tune])
            assert tolerances[1:] == (1.0,)

    def test_a_row_for_each_tested_conformer_tolerance_and_seed(self, labels, tmp_path):
        compare.compare(labels, settings(Counted()), "", tmp_path)
        found = predictions(tmp_path)
        assert found.schema == pl.DataFrame(schemas.COMPARED.empty_table()).schema
        assert len(found) == 2 * 2 * 12
        assert found.n_unique(["seed", "tolerance_kcal", "conformer_id"]) == len(found)
        for (seed,), rows in found.partition_by("seed", as_dict=True).items():
            tested = splits.at_random(labels.data.smiles, seed).test
            assert set(rows["conformer_id"]) == {f"c{row}" for row in tested}
        assert found["size"].null_count() == len(found)
        fixed = found.filter(~pl.col("boundary"))
        assert fixed["tolerance_kcal"].unique().to_list() == [1.0]

    def test_the_score_is_the_peer_s(self, labels, tmp_path):
        compare.compare(labels, settings(Counted()), "", tmp_path)
        sizes = {f"c{i}": len(s.numbers) for i, s in enumerate(labels.data.samples)}
        found = predictions(tmp_path)
        assert found["score"].to_list() == [sizes[name] for name in found["conformer_id"]]

    def test_what_is_there_is_not_computed_again(self, labels, tmp_path):
        first, again, new = Counted(), Counted(), Counted("new")
        compare.run(labels, settings(first), tmp_path)
        compare.compare(labels, settings(again, new, seeds=3), "", tmp_path)
        assert [call[3] for call in first.calls] == [1, 2]
        assert [call[3] for call in again.calls] == [3]
        assert [call[3] for call in new.calls] == [1, 2, 3]
        assert predictions(tmp_path)["peer"].unique().sort().to_list() == ["counted", "new"]

    def test_nor_is_another_peer_s_part_forgotten(self, labels, tmp_path):
        compare.compare(labels, settings(Counted("one")), "", tmp_path)
        compare.compare(labels, settings(Counted("two")), "", tmp_path)
        assert set(predictions(tmp_path)["peer"]) == {"one", "two"}

    @pytest.mark.parametrize("change", ["labels", "tolerances"])
    def test_predictions_for_something_else_are_computed_anew(self, labels, tmp_path, change):
        compare.compare(labels, settings(Counted("old"), Counted()), "", tmp_path)
        again, changes = Counted(), {}
        if change == "labels":
            identity = {"backbone": "another"}
            labels = LabelledSet(labels.data, labels.conformer_ids, None, identity)
        else:
            changes["tolerances_kcal"] = (2.0,)
        compare.compare(labels, settings(again, **changes), "", tmp_path)
        assert len(again.calls) == 2
        assert set(predictions(tmp_path)["peer"]) == {"counted"}

    def test_a_dear_peer_gets_fewer_seeds(self, labels, tmp_path):
        dear, cheap = Counted("dear", dear=True), Counted("cheap")
        record = compare.compare(labels, settings(dear, cheap), "cheap", tmp_path)
        assert (len(dear.calls), len(cheap.calls)) == (1, 2)
        seeds = {row["peer"]: row["n_seeds"] for row in record["standings"]}
        assert seeds == {"dear": 1, "cheap": 2}
        assert "| dear | 1 | 36 |" in (tmp_path / "compare.md").read_text()

    def test_a_peer_without_an_answer_is_said_once(self, labels, tmp_path, capsys):
        record = compare.compare(labels, settings(Silent(), Counted()), "", tmp_path)
        assert record["skipped"] == ["silent: nothing to say"]
        assert "random 1, silent left out: nothing to say" in capsys.readouterr().err
        assert {row["peer"] for row in record["standings"]} == {"counted"}

    def test_a_fit_says_its_time_and_what_had_no_error(self, tmp_path):
        labels, _ = made_up(iodine=3)
        record = compare.compare(labels, settings(Counted(), seeds=1), "", tmp_path)
        (fit,) = record["fits"]
        assert fit["n_left_out"] == 3
        assert fit["seconds"] >= 0
        assert {k: fit[k] for k in ("split", "seed", "size", "peer")} == {
            **{"split": "random", "seed": 1, "size": None, "peer": "counted"}
        }

    def test_a_learning_curve_has_its_sizes(self, labels, tmp_path):
        record = compare.compare(labels, settings(Counted(), sizes=(24,)), "", tmp_path)
        fitted = {(row["size"], row["n_fit"]) for row in record["standings"]}
        assert fitted == {(24, 18), (None, 36)}

    def test_every_kind_of_split_is_in_the_table(self, labels, tmp_path):
        compare.compare(labels, settings(Counted(), kinds=compare.KINDS), "", tmp_path)
        text = (tmp_path / "compare.md").read_text()
        for name in ("random", "scaffold", "element-I", "size"):
            assert f"## {name}, boundary" in text

    def test_a_folder_that_cannot_be_written_stops_before_any_work(self, labels, tmp_path):
        (tmp_path / "file").touch()
        peer = Counted()
        with pytest.raises(ProbeError, match="choose another folder"):
            compare.compare(labels, settings(peer), "", tmp_path / "file" / "out")
        assert not peer.calls


class TestChoose:
    def test_without_names_all(self):
        assert compare.choose([]) == list(PEERS)

    def test_by_name_in_the_order_given(self):
        assert [p.name for p in compare.choose(["spread", "majority"])] == ["spread", "majority"]

    def test_an_unknown_one_is_one_line_with_the_nearest(self):
        with pytest.raises(ProbeError, match="peer spraed is unknown; did you mean spread"):
            compare.choose(["spraed"])


@pytest.fixture(scope="module")
def real(calibration, calibration_samples):
    rows = list(range(0, len(calibration), 3))
    data = Labelled.of(calibration, calibration_samples, rows)
    ids = np.array([calibration.conformer_ids[i] for i in rows])
    return LabelledSet(data, ids, None, {"backbone": "aimnet2-b973c", "fingerprint": "", "of": 3})


def test_cheap_peers_on_a_part_of_the_real_labels(real, tmp_path):
    chosen = compare.choose(["majority", "spread", "element-count", "pooled-logistic"])
    record = compare.compare(real, settings(*chosen, seeds=1), "majority", tmp_path)
    assert [line.split(":")[0] for line in record["skipped"]] == ["spread"]
    best = record["standings"][0]
    assert best["peer"] == "pooled-logistic"
    assert best["difference"]["auroc"]["value"] > 0.1


class TestCommand:
    def test_it_writes_the_table(self, monkeypatch, tmp_path, aimnet_file):
        monkeypatch.setattr("probe.comparison.parts.gather", lambda *_: made_up()[0])
        monkeypatch.setenv("PROBE_WEIGHTS", str(aimnet_file.parent))
        done = self.invoke(tmp_path, "--peers", "majority", "--peers", "atom-count", "--seeds", "1")
        assert done.exit_code == 0, done.output
        assert done.output.splitlines()[-1] == f"{tmp_path / 'out' / 'compare.md'}: 2 fits"
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
            *("compare.json", "compare.md", "figures", "parts", "predictions.parquet")
        ]
        assert pq.read_schema(tmp_path / "out/predictions.parquet").names == schemas.COMPARED.names

    def test_an_unknown_peer_is_one_line(self, tmp_path):
        done = self.invoke(tmp_path, "--peers", "majorty")
        assert done.exit_code == 2
        assert done.output == ("probe: error: peer majorty is unknown; did you mean majority?\n")

    def invoke(self, folder, *more):
        call = ["compare", "--labels", "labels.parquet", "--backbone", "aimnet2-b973c"]
        folders = ["--cache", str(folder / "cache"), "--out", str(folder / "out")]
        return CliRunner().invoke(cli.main, [*call, *folders, *more])
