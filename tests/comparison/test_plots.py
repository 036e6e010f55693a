"""The figures of a comparison: those that it has data for, the same bytes each time."""

import numpy as np
import polars as pl
import pytest

from probe.comparison import plots, scoreboard

N = 120


def predictions(peers=("probe", "random-forest", "spread"), splits=("random",), size=None):
    """Peers that know half of the truth, on one seed of each split."""
    frames = []
    for number, split in enumerate(splits):
        for place, peer in enumerate(peers):
            random = np.random.default_rng([number, place])
            error = random.normal(0, 1, N)
            score = np.abs(error) - 0.7 + random.normal(0, 0.5 + place, N)
            columns = {
                "split": split,
                "seed": 1,
                "size": size,
                "n_fit": 300,
                "peer": peer,
                "tolerance_kcal": 0.7,
                "boundary": True,
                "conformer_id": [f"c{i}" for i in range(N)],
                "smiles": [f"m{i // 2}" for i in range(N)],
                "error_kcal": error,
                "score": score,
                "p_unreliable": 1 / (1 + np.exp(-score)),
            }
            frames.append(pl.DataFrame(columns).with_columns(pl.col("size").cast(pl.Int32)))
    return pl.concat(frames)


def drawn(said, folder):
    standings = scoreboard.standings(said, "probe", resamples=20)
    return plots.draw(standings, said, folder)


def test_every_figure_is_there_for_papers_and_for_pages(tmp_path):
    names = drawn(predictions(), tmp_path)
    assert {"peers-boundary", "calibration", "risk", "extremes", "sides", "magnitude"} <= set(names)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}


def test_splits_are_compared_where_there_are_several(tmp_path):
    assert "splits" not in drawn(predictions(), tmp_path)
    assert "splits" in drawn(predictions(splits=("random", "scaffold")), tmp_path)


def test_the_same_comparison_gives_the_same_svg(tmp_path):
    for folder in ("a", "b"):
        drawn(predictions(), tmp_path / folder)
    for path in (tmp_path / "a").glob("*.svg"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("peers", [("probe",), ("spread",), ("probe", "majority")])
def test_few_peers_are_no_failure(peers, tmp_path):
    assert drawn(predictions(peers), tmp_path)


def test_what_a_comparison_no_longer_has_is_removed(tmp_path):
    drawn(predictions(splits=("random", "scaffold")), tmp_path)
    drawn(predictions(), tmp_path)
    assert not list(tmp_path.glob("splits.*"))
