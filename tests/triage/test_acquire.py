"""Acquisition: the worst first, not alike, and nothing that may not be labelled."""

from collections import Counter

import numpy as np
import polars as pl
import pytest

from probe.classifier import labels
from probe.triage.acquire import LEFT_OUT, Settings, select, spread

FREE = [name for name in ("C" * n for n in range(1, 200)) if not labels.reserved(name)]
RESERVED = next(name for name in ("C" * n for n in range(1, 200)) if labels.reserved(name))


def scored(p, smiles=None, ids=None):
    """Conformers of p_unreliable ``p``, each of a molecule of its own and with ids in order."""
    names = FREE[: len(p)] if smiles is None else smiles
    keys = [f"id{index:02d}" for index in range(len(p))] if ids is None else ids
    types = {"conformer_id": pl.String, "smiles": pl.String, "p_unreliable": pl.Float64}
    return pl.DataFrame([keys, names, p], schema=types)


def on_a_line(places):
    """Embeddings of the conformers id00, id01, … in one dimension."""
    known = {f"id{index:02d}": place for index, place in enumerate(places)}
    return lambda ids: np.array([[known[key]] for key in ids], dtype=np.float32).reshape(-1, 1)


def not_asked(ids):
    raise AssertionError(f"asked for the embeddings of {ids}")


def chosen(*arguments, **options):
    return select(*arguments, **options).batch["conformer_id"].to_list()


class TestSpread:
    @pytest.mark.parametrize(
        ("points", "rows"),
        [
            ([0, 1, 10, 4], [0, 2, 3, 1]),
            ([5, 0, 10, 6, 4], [0, 1, 2, 3, 4]),
            ([3], [0]),
            ([], []),
            ([2, 2, 2], [0, 1, 2]),
            ([0, 7, 0, 7, 3], [0, 1, 4, 2, 3]),
        ],
        ids=["a line", "of equals the first", "one", "none", "all alike", "the alike come last"],
    )
    def test_the_farthest_from_all_that_are_chosen_is_next(self, points, rows):
        made = np.array(points, dtype=np.float32).reshape(-1, 1)
        assert spread(made, len(points)) == rows

    def test_distance_is_that_of_all_dimensions(self):
        points = np.array([[0, 0], [3, 4], [5.5, 0], [0, 4.9]])
        assert spread(points, 3) == [0, 2, 3]

    def test_a_smaller_choice_is_the_beginning_of_a_larger_one(self):
        points = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
        assert spread(points, 40)[:15] == spread(points, 15)


class TestSelect:
    def test_without_diversity_it_is_the_worst_first(self):
        frame = scored([0.2, 0.9, 0.5, 0.7])
        assert chosen(frame, not_asked, Settings(n=3, diversity=1)) == ["id01", "id03", "id02"]

    def test_equals_are_ordered_by_id(self):
        frame = scored([0.5] * 4, ids=["d", "b", "c", "a"])
        assert chosen(frame, not_asked, Settings(n=3, diversity=1)) == ["a", "b", "c"]

    def test_with_it_the_batch_is_spread_over_so_many_of_the_worst(self):
        """The four worst are at 0, 1, 2 and 9; what lies at 50 is not among them."""
        frame = scored([0.9, 0.8, 0.7, 0.6, 0.5])
        places = on_a_line([0, 1, 2, 9, 50])
        assert chosen(frame, places, Settings(n=2, diversity=2)) == ["id00", "id03"]
        assert chosen(frame, places, Settings(n=2, diversity=3)) == ["id00", "id04"]

    def test_where_there_are_too_few_it_takes_all(self):
        selection = select(scored([0.5, 0.6]), on_a_line([0, 1]), Settings(n=5))
        assert selection.batch["conformer_id"].to_list() == ["id01", "id00"]

    def test_of_a_molecule_it_takes_the_worst_conformers(self):
        one, other = FREE[:2]
        frame = scored([0.9, 0.8, 0.7, 0.6], [one, one, one, other])
        first = select(frame, not_asked, Settings(n=4, diversity=1))
        assert first.batch["conformer_id"].to_list() == ["id00", "id03"]
        assert first.left_out["molecule"] == 2
        two = Settings(n=4, diversity=1, per_molecule=2)
        assert chosen(frame, not_asked, two) == ["id00", "id01", "id03"]

    def test_conformers_of_one_molecule_do_not_crowd_out_others(self):
        frame = scored([0.9 - index / 100 for index in range(20)] + [0.1], [FREE[0]] * 20 + ["CO"])
        assert chosen(frame, not_asked, Settings(n=2, diversity=1)) == ["id00", "id20"]

    def test_what_may_not_be_labelled_is_counted_once_by_the_first_reason(self):
        frame = scored(
            [None, float("nan"), 0.9, 0.9, 0.9, 0.9, 0.9, 0.1],
            [RESERVED, FREE[0], "", None, RESERVED, FREE[1], FREE[2], FREE[2]],
        )
        labelled = {"id01", "id04", "id05", "of another library"}
        selection = select(frame, not_asked, Settings(diversity=1), labelled)
        assert selection.batch["conformer_id"].to_list() == ["id06"]
        assert selection.left_out == {
            **{"no_answer": 2, "no_smiles": 2, "reserved": 1, "labelled": 1, "molecule": 1}
        }

    def test_a_duplicate_is_one_conformer(self):
        frame = scored([0.9, 0.9, 0.8], [FREE[0], FREE[0], FREE[1]], ["a", "a", "b"])
        settings = Settings(n=3, diversity=1, per_molecule=3)
        assert chosen(frame, not_asked, settings) == ["a", "b"]

    def test_nothing_gives_nothing(self):
        selection = select(scored([]), on_a_line([]), Settings())
        assert (selection.batch.height, selection.n_candidates) == (0, 0)
        assert set(selection.left_out) == set(LEFT_OUT)

    @pytest.mark.parametrize("seed", range(10))
    def test_whatever_comes_in(self, seed):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 300))
        p = np.round(rng.random(count), 1).tolist()
        names = rng.choice([*FREE[:40], RESERVED, ""], count).tolist()
        frame = scored([None if value == 0.3 else value for value in p], names)
        points = {key: rng.normal(size=4).round(1) for key in frame["conformer_id"]}
        labelled = set(rng.choice(frame["conformer_id"], count // 5).tolist())
        settings = Settings(
            *(int(rng.integers(1, 30)), int(rng.integers(1, 4)), int(rng.integers(1, 5)))
        )

        def run(rows):
            return select(rows, lambda ids: np.array([points[k] for k in ids]), settings, labelled)

        selection = run(frame)
        batch = selection.batch
        ids = batch["conformer_id"].to_list()
        assert len(ids) == len(set(ids)) == min(settings.n, selection.n_candidates)
        assert selection.n_candidates + sum(selection.left_out.values()) == count
        assert not set(ids) & labelled
        assert not set(batch["smiles"]) & {RESERVED, ""}
        assert max(Counter(batch["smiles"]).values(), default=0) <= settings.per_molecule
        known = frame.join(batch, on=frame.columns, how="semi")
        assert known.height == batch.height
        again = frame.sample(fraction=1.0, shuffle=True, seed=seed)
        assert run(pl.concat([again, frame.head(20)])).batch.equals(batch)
