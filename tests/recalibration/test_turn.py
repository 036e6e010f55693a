"""A turn of recalibrating: which labels count, what is refused, what is recorded."""

import numpy as np
import pytest

from probe import schemas, tables
from probe.backbones import Backbone
from probe.classifier import card, labels
from probe.classifier.calibration import select
from probe.classifier.checkpoint import save_checkpoint
from probe.classifier.training import Recipe, train
from probe.errors import ProbeError
from probe.recalibration import gains, turn

QUICK = Recipe(members=1, max_epochs=1)
RESERVED = "C#N"


def rows(known, wanted):
    """``wanted`` rows of a labelled set as they are written."""
    return [
        {
            **{"smiles": known.smiles[i], "source": "", "geometry": ""},
            "numbers": known.geometries[i].numbers.tolist(),
            "positions": known.geometries[i].positions.ravel().tolist(),
            "charge": known.geometries[i].charge,
            "energy_ev": float(known.energy_ev[i]),
        }
        for i in wanted
    ]


def write(path, content, method="B97-3c"):
    tables.write(path, content, schemas.LABELS, {"method": method})
    return path


@pytest.fixture(scope="module")
def small(calibration):
    """Rows of a hundred conformers of hydrogen, carbon, nitrogen and oxygen."""
    plain = (i for i, g in enumerate(calibration.geometries) if set(g.numbers) <= {1, 6, 7, 8})
    return rows(calibration, [next(plain) for _ in range(100)])


class TestJoin:
    def test_only_what_is_not_there_is_added_and_what_was_there_comes_first(self, small, tmp_path):
        old = write(tmp_path / "old.parquet", small[:5])
        new = write(tmp_path / "new.parquet", small[3:8])
        again = write(tmp_path / "again.parquet", small[6:9])
        assert gains.join(old, [new, again], tmp_path / "out.parquet") == 4
        assert rows(labels.read(tmp_path / "out.parquet"), range(9)) == [
            row | {"source": "", "geometry": ""} for row in small[:9]
        ]

    def test_a_reserved_molecule_is_not(self, small, tmp_path):
        old = write(tmp_path / "old.parquet", small[:2])
        new = write(tmp_path / "new.parquet", [small[2] | {"smiles": RESERVED}])
        assert gains.join(old, [new], tmp_path / "out.parquet") == 0

    def test_a_library_that_gained_nothing_adds_nothing(self, small, tmp_path):
        old, new = write(tmp_path / "old.parquet", small[:2]), write(tmp_path / "new.parquet", [])
        assert gains.join(old, [new], tmp_path / "out.parquet") == 0

    def test_another_method_is_refused(self, small, tmp_path):
        old = write(tmp_path / "old.parquet", small[:2])
        new = write(tmp_path / "new.parquet", small[2:4], method="HF")
        with pytest.raises(ProbeError, match=r"new\.parquet: labels by HF, .* are by B97-3c"):
            gains.join(old, [new], tmp_path / "out.parquet")


@pytest.fixture(scope="module")
def fitted(small, aimnet, tmp_path_factory):
    """A folder with labels, a checkpoint fitted to them, and a cache that holds what it took."""
    folder = tmp_path_factory.mktemp("fitted")
    known = labels.read(write(folder / "labels.parquet", small[:80]))
    identity = {"name": "first", "backbone": aimnet.name, "fingerprint": aimnet.fingerprint}
    samples = select(known, aimnet, folder / "cache", 1000)
    save_checkpoint(train(known, samples, identity, QUICK), folder / "first")
    return folder


@pytest.fixture
def run(fitted, aimnet: Backbone, tmp_path):
    """Run a turn with further labels; its record."""

    def go(new, *, least=1, known="labels.parquet"):
        more = write(tmp_path / "new.parquet", new)
        asked = turn.Turn(str(fitted / "first"), fitted / known, [more], tmp_path / "out", least)
        return turn.turn(asked, aimnet, fitted / "cache", 1000)

    return go


class TestTurn:
    def test_too_few_new_labels_fit_nothing(self, run, small, tmp_path):
        record = run(small[70:84], least=5)
        assert (record["n_new_labels"], record["verdict"]) == (4, "too few new labels")
        assert not record["promoted"]
        assert record["checkpoint"].endswith("first")
        assert not (tmp_path / "out/turn-1" / card.CARD).exists()
        assert "kept" in turn.in_words(record)

    def test_labels_of_something_else_are_refused(self, run, small, fitted):
        write(fitted / "others.parquet", small[:40])
        with pytest.raises(ProbeError, match="not the labels that checkpoint first was fitted to"):
            run(small[80:], known="others.parquet")

    def test_a_worse_one_is_kept_apart_and_its_figures_recorded(
        self, run, small, monkeypatch, tmp_path
    ):
        """A real turn, judged as if the interval of a gain had ended below 0."""
        judged = turn.promotion.verdict
        low = {"value": -0.2, "low": -0.3, "high": -0.1}
        monkeypatch.setattr(turn.promotion, "verdict", lambda gain: judged(gain | {"auroc": low}))
        record = run(small[80:])
        assert (record["verdict"], record["promoted"]) == ("worse", False)
        assert tables.read_json(tmp_path / "out" / turn.RECORD) == record
        assert card.read(str(tmp_path / "out/turn-1"))["name"] == "aimnet2-b973c-turn-1"
        with pytest.raises(ProbeError, match="neither a shipped one nor a folder"):
            card.resolve(str(tmp_path / "out"))

    def test_of_two_promoted_the_folder_stands_for_the_last(
        self, run, small, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(turn.promotion, "verdict", lambda _: "better")
        for number in (1, 2):
            assert run(small[80:])["candidate"] == str(tmp_path / f"out/turn-{number}")
            assert card.resolve(str(tmp_path / "out")) == tmp_path / f"out/turn-{number}"

    def test_what_was_held_out_stays_so(self, run, small, fitted, tmp_path):
        run(small[80:])
        old, new = (
            tables.frame(folder / card.HELD_OUT, schemas.HELD_OUT)
            for folder in (fitted / "first", tmp_path / "out/turn-1")
        )
        assert np.isin(old["conformer_id"], new["conformer_id"]).all()
