"""Pictures of all conformers of a large library."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from report_library import library

from probe import figures
from probe.report import composition, rasters, screening
from probe.report.material import Material


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three conformers in the corners: lower left, lower right, upper right; one has no place."""
    made = library(["CCO", "CC", "CCl", "CBr"])
    loaded = screening.load(made.write(tmp_path_factory.mktemp("rasters")))
    places = np.full((4, 2), np.nan)
    scored = np.flatnonzero(~np.isnan(loaded.p))
    places[scored] = [[0.01, 0.01], [0.99, 0.01], [0.99, 0.99]]
    material = Material(loaded, composition.elements(loaded), places)
    found = rasters.rasters(material, places, np.zeros(2), np.ones(2))
    return loaded, scored, {name: read(picture) for name, picture in found.items()}


def read(picture):
    assert picture.startswith("data:image/png;base64,")
    content = base64.b64decode(picture.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)


def test_every_colouring_of_all_conformers_has_a_picture(pictures):
    assert list(pictures[2]) == ["density", "p", "verdict", "H", "C", "O", "Cl", "Br"]


def test_only_cells_with_conformers_are_painted(pictures):
    _, _, found = pictures
    for pixels in found.values():
        rows, columns = np.nonzero(pixels[:, :, 3])
        assert len(rows) == 3
        top, bottom = rows < rasters.CELLS / 2, rows > rasters.CELLS / 2
        assert top.sum() == 1
        assert columns[top][0] > rasters.CELLS / 2  # upper right
        assert sorted(columns[bottom] > rasters.CELLS / 2) == [False, True]


def test_colours_are_those_of_the_scale(pictures):
    loaded, scored, found = pictures
    pixels = found["p"][found["p"][:, :, 3] > 0][:, :3]
    upper_right = pixels[0]
    expected = 255 * np.array(figures.UNRELIABLE(loaded.p[scored[2]])[:3])
    np.testing.assert_allclose(upper_right, expected, atol=6)
