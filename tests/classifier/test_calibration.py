"""A labelled set as PROBE sees it, and what `probe evaluate` says of one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from probe import backbones, cli, schemas, tables, weights
from probe.classifier.calibration import Labelled, evaluate, select, siblings_ev
from probe.classifier.checkpoint import load
from probe.classifier.labels import read
from probe.classifier.metrics import CUTOFFS
from probe.errors import ProbeError

METRICS = {
    *("n", "boundary_kcal", "accuracy", "majority_accuracy", "mcc", "f1_unreliable", "auroc"),
    *("average_precision", "aurc", "ece", "brier", "spearman", "coverage"),
}
SODIUM = {
    **{"smiles": "[Na]Cl", "source": "made up", "geometry": "", "charge": 0, "energy_ev": -16900.0},
    **{"numbers": [11, 17], "positions": [0.0, 0.0, 0.0, 2.36, 0.0, 0.0]},
}
"""What the backbone cannot take."""


@pytest.fixture(scope="module")
def shipped():
    return load("aimnet2-b973c")


@pytest.fixture(scope="module")
def covered(shipped, calibration):
    """Rows of the calibration set that the checkpoint has a reference shift for."""
    rows = range(len(calibration))
    return [i for i in rows if shipped.shift.covers(calibration.geometries[i].numbers)]


@pytest.fixture
def some(covered, calibration, calibration_samples):
    """Every tenth label, and what the backbone says of it."""
    rows = covered[::10]
    labels = replace(
        calibration,
        conformer_ids=tuple(calibration.conformer_ids[i] for i in rows),
        smiles=tuple(calibration.smiles[i] for i in rows),
        geometries=tuple(calibration.geometries[i] for i in rows),
        energy_ev=calibration.energy_ev[rows],
    )
    return labels, [calibration_samples[i] for i in rows]


@pytest.fixture
def label_file(calibration, tmp_path):
    """Writes rows of the calibration set and others as a labelled Parquet file."""

    def write(indices, *others):
        rows = [
            {
                "smiles": calibration.smiles[i],
                "source": "b973c",
                "geometry": "",
                "numbers": calibration.geometries[i].numbers.tolist(),
                "positions": calibration.geometries[i].positions.ravel().tolist(),
                "charge": calibration.geometries[i].charge,
                "energy_ev": calibration.energy_ev[i],
            }
            for i in indices
        ]
        path = tmp_path / "labels.parquet"
        pq.write_table(pa.Table.from_pylist([*rows, *others], schema=schemas.LABELS), path)
        return path

    return write


class TestSelect:
    def test_each_label_has_its_own_answer_in_order(self, label_file, aimnet, tmp_path):
        """Labels of different sizes, which the batches put into another order."""
        labels = read(label_file([40, 3, 300, 3], SODIUM))
        samples = select(labels, aimnet, tmp_path / "cache", 50)
        assert samples[-1] is None
        for geometry, sample in zip(labels.geometries[:-1], samples[:-1], strict=True):
            alone = aimnet.evaluate([geometry])
            assert sample.numbers.tolist() == geometry.numbers.tolist()
            assert sample.energy_ev == pytest.approx(alone.energy[0], abs=1e-4)
            np.testing.assert_allclose(sample.embedding, alone.atom_features, atol=2e-2)

    def test_a_second_time_nothing_is_computed(self, label_file, aimnet, tmp_path, capsys):
        labels = read(label_file([3, 40], SODIUM))
        select(labels, aimnet, tmp_path / "cache", 1000)
        assert "0 from the cache, 2 computed, 1 refused" in capsys.readouterr().err
        select(labels, aimnet, tmp_path / "cache", 1000)
        assert "2 from the cache, 0 computed, 1 refused" in capsys.readouterr().err


class TestSiblings:
    def test_each_other_network_says_what_it_says_alone(self, label_file, aimnet, tmp_path):
        labels = read(label_file([40, 3], SODIUM))
        found = siblings_ev(labels, aimnet, tmp_path / "cache", 1000)
        assert found.shape == (3, 3)
        assert np.isnan(found[2]).all()
        for column, other in enumerate(weights.ensemble(weights.entry(aimnet.name))[1:]):
            alone = backbones.load(other.name, "cpu").evaluate(labels.geometries[:2])
            assert found[:2, column] == pytest.approx(alone.energy, abs=1e-4)
        own = aimnet.evaluate(labels.geometries[:2]).energy
        assert np.abs(found[:2] - own[:, None]).min() > 1e-4  # other networks they are

    def test_of_a_backbone_that_is_alone_there_are_none(self, label_file, aimnet, tmp_path):
        lone = SimpleNamespace(name="ani-2xt", device=aimnet.device)
        assert siblings_ev(read(label_file([3])), lone, tmp_path / "cache", 1000) is None

    def test_another_network_s_energies_make_another_error(self, some):
        labels, samples = some
        data = Labelled.of(labels, samples)
        rows = np.arange(len(data))
        other = data.by_another(labels.energy_ev[: len(data)] - 0.5)
        assert other.differences(rows) == pytest.approx(0.5)
        assert [one.embedding for one in other.samples] == [one.embedding for one in data.samples]


class TestEvaluate:
    @pytest.fixture
    def found(self, shipped, some, tmp_path):
        figures = evaluate(shipped, *some, tmp_path)
        predictions = tables.frame(tmp_path / "predictions.parquet", schemas.PREDICTIONS)
        return figures, predictions, tables.read_json(tmp_path / "metrics.json")

    def test_it_writes_what_it_returns(self, found):
        figures, _, written = found
        assert {key: written[key] for key in figures} == figures
        assert set(written) >= METRICS
        assert [row["cutoff"] for row in written["coverage"]] == list(CUTOFFS)

    def test_every_label_has_a_prediction_in_order(self, found, some, tmp_path):
        labels, _ = some
        predictions = found[1]
        file = pq.ParquetFile(tmp_path / "predictions.parquet")
        assert file.schema_arrow.names == [
            *("conformer_id", "smiles", "error_kcal", "p_unreliable", "unreliable")
        ]
        assert predictions["conformer_id"].to_list() == list(labels.conformer_ids)
        assert predictions["smiles"].to_list() == list(labels.smiles)

    def test_the_error_is_the_references_less_shift_and_backbone(self, found, some, shipped):
        labels, samples = some
        for error, energy, geometry, sample in zip(
            found[1]["error_kcal"], labels.energy_ev, labels.geometries, samples, strict=True
        ):
            shift = shipped.shift.of(geometry.numbers, geometry.charge)
            by_hand = (energy - sample.energy_ev - shift) * 23.060548
            assert error == pytest.approx(by_hand, abs=1e-6)

    def test_the_figures_are_of_the_predictions(self, found, shipped):
        figures, predictions, _ = found
        error, p = predictions["error_kcal"].to_numpy(), predictions["p_unreliable"].to_numpy()
        unreliable = np.abs(error) > shipped.boundary_kcal
        assert predictions["unreliable"].to_list() == unreliable.tolist()
        assert figures["n"] == len(error)
        assert figures["boundary_kcal"] == shipped.boundary_kcal
        assert figures["accuracy"] == pytest.approx(((p > 0.5) == unreliable).mean())
        assert figures["auroc"] == pytest.approx(roc_auc_score(unreliable, p))
        assert figures["brier"] == pytest.approx(np.mean((p - unreliable) ** 2))

    def test_p_is_what_the_checkpoint_says_of_each_alone(self, found, some, shipped):
        p = found[1]["p_unreliable"].to_list()
        for value, sample in list(zip(p, some[1], strict=True))[::10]:
            assert value == pytest.approx(shipped.score([sample])[0].p_unreliable, abs=1e-5)

    def test_what_is_refused_is_counted_and_has_no_prediction(self, shipped, some, tmp_path):
        labels, samples = some
        figures = evaluate(shipped, labels, [None, *samples[1:-1], None], tmp_path)
        predictions = tables.frame(tmp_path / "predictions.parquet", schemas.PREDICTIONS)
        assert (figures["n_left_out"], figures["n"]) == (2, len(samples) - 2)
        assert predictions["conformer_id"].to_list() == list(labels.conformer_ids[1:-1])

    def test_labels_that_it_was_trained_on_are_called_so(self, shipped, some, tmp_path, capsys):
        labels, samples = some
        card = {**shipped.card, "training": {"labels_sha256": labels.sha256}}
        figures = evaluate(replace(shipped, card=card), labels, samples, tmp_path)
        assert figures["trained_on"] is True
        assert "trained on these labels" in capsys.readouterr().err

    def test_a_set_that_is_refused_whole_is_an_error(self, shipped, some, tmp_path):
        labels, samples = some
        with pytest.raises(ProbeError, match="can take none of the labelled"):
            evaluate(shipped, labels, [None] * len(samples), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_one_label_alone_has_figures_without_those_that_need_two(self, shipped, some, tmp_path):
        labels, samples = some
        figures = evaluate(shipped, labels, [samples[0]] + [None] * (len(samples) - 1), tmp_path)
        assert figures["n"] == 1
        assert figures["auroc"] is None
        assert figures["accuracy"] in (0.0, 1.0)


def test_the_command_writes_both_files(label_file, tmp_path, calibration, covered):
    rows = covered[:50:10]
    labels = label_file(rows, SODIUM)
    out = tmp_path / "evaluation"
    words = ("--labels", labels, "--out", out, "--cache", tmp_path / "cache", "--device", "cpu")
    run = CliRunner().invoke(
        cli.main, ["evaluate", "--checkpoint", "aimnet2-b973c", *map(str, words)]
    )
    assert run.exit_code == 0, run.output
    metrics = tables.read_json(out / "metrics.json")
    assert (metrics["n"], metrics["n_left_out"]) == (5, 1)
    assert metrics["labels_sha256"] == read(labels).sha256
    assert metrics["trained_on"] is False
    predictions = tables.frame(out / "predictions.parquet", schemas.PREDICTIONS)
    assert predictions["conformer_id"].to_list() == [calibration.conformer_ids[i] for i in rows]


def test_a_missing_reference_is_an_error_and_never_a_label(label_file):
    labels = label_file([1, 2], SODIUM | {"energy_ev": None})
    with pytest.raises(ProbeError, match="row 3 has no energy_ev; mend it or take it out"):
        read(labels)
