"""The style that all figures share: readable by the colour-blind, on white and on black."""

from itertools import combinations, pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from probe import figures
from probe.comparison import marks

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
SEEN_BY = {
    "all": np.eye(3),
    "protanopes": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopes": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopes": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_XYZ = np.array(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)  # fmt: skip
WHITE = TO_XYZ.sum(axis=1)


def linear(colour):
    value = np.array(to_rgb(colour))
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(colour, eye):
    """CIELAB of ``colour`` as the ``eye`` sees it."""
    seen = np.clip(SEEN_BY[eye] @ linear(colour), 0, 1)
    ratio = TO_XYZ @ seen / WHITE
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(first, second, eye):
    return float(np.linalg.norm(lab(first, eye) - lab(second, eye)))


def contrast(first, second):
    """Ratio of luminances as the accessibility guidelines count it."""
    high, low = sorted((float(TO_XYZ[1] @ linear(c)) + 0.05 for c in (first, second)), reverse=True)
    return high / low


@pytest.mark.parametrize("eye", SEEN_BY)
def test_good_and_bad_are_told_apart(eye):
    assert apart(figures.COOL, figures.WARM, eye) > 40


@pytest.mark.parametrize("eye", SEEN_BY)
def test_the_scale_of_p_goes_one_way_and_hides_no_part(eye):
    steps = [figures.UNRELIABLE(x) for x in np.linspace(0, 1, 11)]
    neighbours = [apart(a, b, eye) for a, b in pairwise(steps)]
    assert min(neighbours) > 5
    assert apart(steps[0], steps[-1], eye) > 50
    assert apart(steps[0], steps[5], eye) > 25 < apart(steps[5], steps[-1], eye)


def test_peers_differ_in_marker_and_dashes_not_only_in_colour():
    for (_, marker, dashes), (_, other, others) in combinations(marks.FEW, 2):
        assert marker != other
        assert dashes != others


@pytest.mark.parametrize("colour", [figures.INK, figures.MUTED, figures.COOL, figures.WARM])
def test_text_stands_out_from_white(colour):
    assert contrast(colour, "white") > 4.5


def line():
    drawn = figures.figure(2, 1, layout="constrained")
    drawn.subplots().plot([0, 1], [0, 1])
    return drawn


def test_drawing_in_the_style_leaves_matplotlibs_settings_alone():
    before = dict(mpl.rcParams)
    with figures.style():
        assert not line().axes[0].spines["top"].get_visible()
    assert dict(mpl.rcParams) == before


def test_a_figure_is_saved_as_svg_and_png_the_same_each_time(tmp_path):
    for name in ("once", "again"):
        with figures.style():
            figures.save(line(), tmp_path, name)
    for kind in ("svg", "png"):
        first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("once", "again"))
        assert first == second
    assert (tmp_path / "once.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_in_the_page_takes_its_colours_from_there_and_says_what_it_is():
    with figures.style():
        svg = figures.inline(line(), "line", 'of "two" points')
    assert figures.MUTED not in svg
    assert "var(--muted)" in svg
    assert svg.startswith('<svg role="img" aria-label="of &#34;two&#34; points"')
