"""The calibration of the checkpoint, beside its card."""

from report_library import library
from scipy.stats import binomtest

from probe import figures
from probe.comparison import marks
from probe.report import reliability, screening
from probe.report.material import Material


def test_the_diagram_shows_every_bin_with_an_exact_interval():
    found = [{"n": 10, "mean_p": 0.35, "frequency": 0.3}, {"n": 1, "mean_p": 0.9, "frequency": 1.0}]
    axes = figures.figure(4, 4).subplots()
    marks.bins(axes, found, figures.COOL)
    exact = binomtest(3, 10).proportion_ci()
    assert list(axes.lines[1].get_ydata()) == [exact.low, exact.high]
    assert list(axes.lines[1].get_xdata()) == [0.35, 0.35]
    assert axes.collections[0].get_offsets().tolist() == [[0.35, 0.3], [0.9, 1.0]]


def test_the_section_has_the_diagram_and_the_numbers(tmp_path):
    loaded = screening.load(library(["CCO"]).write(tmp_path))
    with figures.style():
        content = reliability.section(Material(loaded, [], None))
    assert content["reliability"].startswith("<svg")
    assert "AUROC" in [title for title, *_ in content["metrics"]]
    assert (tmp_path / "figures/reliability.svg").is_file()


def test_a_card_without_held_out_figures_has_no_diagram(tmp_path):
    made = library(["CCO"])
    del made.card["held_out"]
    loaded = screening.load(made.write(tmp_path))
    with figures.style():
        content = reliability.section(Material(loaded, [], None))
    assert (content["reliability"], content["metrics"]) == (None, [])
    assert (tmp_path / "figures/reliability.png").is_file()
