"""The model card: its numbers are those of the checkpoint's own answers."""

import re
import shutil

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from probe import schemas, tables
from probe.classifier import card
from probe.classifier.exceedance import exceedance
from probe.report import model_card

NAME = "aimnet2-b973c"


@pytest.fixture(scope="module")
def held_out():
    return tables.frame(card.resolve(NAME) / card.HELD_OUT, schemas.HELD_OUT)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return model_card.write(NAME, tmp_path_factory.mktemp("card"))


def row(page, start):
    """Cells of the table's row that begins with ``start``."""
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_both_tolerances_are_judged_on_what_was_held_out(written, held_out):
    page = written.read_text()
    error = held_out["error_kcal"].abs().to_numpy()
    location, scale = (np.array(held_out[f"{n}_kcal"].to_list()) for n in ("location", "scale"))
    by_hand = {
        "boundary": roc_auc_score(
            error > card.read(NAME)["boundary_kcal"], held_out["p_unreliable"]
        ),
        "1.0 kcal/mol": roc_auc_score(error > 1, exceedance(location, scale, 1.0)),
    }
    for at, auroc in by_hand.items():
        value, low, high = map(float, re.findall(r"[\d.]+", row(page, at)[3]))
        assert value == pytest.approx(auroc, abs=5e-4)
        assert low < value < high


def test_it_shows_what_the_card_says(written):
    page, record = written.read_text(), card.read(NAME)
    assert f"fingerprint `{record['fingerprint']}`" in page
    assert page.startswith(f"# PROBE checkpoint {record['name']}\n")
    for element, count in record["elements"].items():
        assert f"{element} {count}" in page
    assert row(page, "0.5")[2] == f"{record['held_out']['accuracy']:.3f}"
    for promise in record["promises"]:
        start = f"{100 * promise['max_unreliable']:.1f} %"
        assert row(page, start)[3] == f"{100 * promise['accepted']:.1f} %"


def test_every_picture_that_it_names_is_there(written):
    pictures = re.findall(r"\]\((.+?)\)", written.read_text())
    assert len(pictures) == 4
    for picture in pictures:
        assert (written.parent / picture).stat().st_size > 10_000
        assert (written.parent / picture).with_suffix(".svg").is_file()


def test_of_two_classes_there_is_the_boundary_alone(tmp_path, held_out):
    folder = tmp_path / "classes"
    shutil.copytree(card.resolve(NAME), folder)
    nothing = pl.lit(None, pl.List(pl.Float32))
    classes = held_out.with_columns(location_kcal=nothing, scale_kcal=nothing)
    tables.write(folder / card.HELD_OUT, classes.to_arrow(), schemas.HELD_OUT, {})
    tables.write_json(folder / card.CARD, {**card.read(NAME), "head": "classes", "promises": []})
    page = model_card.write(str(folder)).read_text()
    assert "1.0 kcal/mol" not in page
    assert "What it can promise" not in page
    assert row(page, "boundary")
