"""The report in a real browser: offline, quiet, readable on a phone, and its controls work."""

import pytest
from browser import WIDTHS, at_every_width, opening
from playwright.sync_api import expect
from report_library import HOSTILE, data_of, library
from repository import ROOT

from probe.report.page import write_report

AXE = (ROOT / "tests/vendor/axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module", params=WIDTHS)
def untouched(chromium, report, request):
    """The report open at a width, for tests that only look."""
    yield from opening(chromium, report, request.param)


def test_opens_quietly_and_asks_for_nothing(untouched, report):
    assert untouched.troubles == []
    assert [url for url in untouched.requests if not url.startswith("data:")] == [report.as_uri()]


def test_shows_the_counts(untouched):
    flow = untouched.locator(".flow").inner_text().split()
    assert flow[:3] == ["62", "records", "read"]
    assert "61" in flow


def test_fits_the_screen(untouched):
    width = untouched.evaluate("document.documentElement.scrollWidth")
    assert width <= untouched.viewport_size["width"]


def test_a_hostile_name_is_text(untouched):
    assert untouched.locator("#worst h3").first.inner_text() == HOSTILE
    assert untouched.locator("img").count() == 0
    assert untouched.dialogs == []


@at_every_width
def test_the_cutoff_moves(opened, report):
    data = data_of(report.read_text())["decision"]
    says = {
        name: opened.locator(f"#cutoff [data-says={name}]")
        for name in ("cutoff", "accept", "expected", "between", "recompute", "saved", "spent")
    }

    def first(name):
        return says[name].inner_text().split()[0]

    assert says["cutoff"].inner_text() == "0.60"
    for step in (60, 80):
        opened.locator("#cutoff-slider").fill(str(step))
        assert says["cutoff"].inner_text() == f"{step / 100:.2f}"
        for name in ("accept", "between", "recompute"):
            assert first(name) == str(data[name][step])
        risk = data["expected_unreliable"][step]
        low, high = data["low"][step], data["high"][step]
        assert says["expected"].inner_text() == f"{risk:.1%} ({low:.1%} to {high:.1%})".replace(
            "%", " %"
        )
        assert float(first("saved")) == pytest.approx(data["core_hours_saved"][step], rel=0.01)
        assert float(first("spent")) == pytest.approx(data["core_hours_spent"][step], rel=0.01)
    assert data["accept"][80] < data["accept"][60]
    opened.locator("#cutoff-slider").fill("100")
    assert says["expected"].inner_text() == "nothing accepted"


@pytest.mark.parametrize(
    ("opened", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")], indirect=["opened"]
)
def test_nothing_that_axe_knows_keeps_anyone_out(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    opened.locator("[data-step='1']").click()
    expect(opened.locator("#pinned-body .viewer")).to_be_visible()
    opened.evaluate(AXE)
    found = opened.evaluate("axe.run()")["violations"]
    said = [(rule["id"], node["html"][:200]) for rule in found for node in rule["nodes"]]
    assert said == []


@pytest.mark.parametrize("opened", [1280], indirect=True)
def test_on_paper_the_map_is_a_picture_and_controls_are_gone(opened):
    assert not opened.locator("#still").is_visible()
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 703, "height": 1000})  # A4 less its margins
    assert opened.evaluate("document.documentElement.scrollWidth") <= 703
    assert opened.locator("#still").is_visible()
    assert not opened.locator("#explorer").is_visible()


@pytest.mark.parametrize("unreliable", [False, True])
@pytest.mark.parametrize("smiles", [[], ["CCO"]])
def test_a_page_with_next_to_nothing_opens_quietly(chromium, tmp_path, smiles, unreliable):
    made = library(smiles)
    for row in made.scores:
        row["p_unreliable"] = 0.99 if unreliable else 0.01
    write_report(made.write(tmp_path), tmp_path / "report.html")
    tab = chromium.new_page(viewport={"width": 390, "height": 900})
    troubles = []
    tab.on("console", lambda message: troubles.append(message.text))
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.goto((tmp_path / "report.html").as_uri(), wait_until="load")
    said = tab.locator("main").inner_text()
    assert "No map: it takes at least" in said
    assert "Every record was ingested." in said
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert troubles == []
    tab.close()


@pytest.mark.parametrize("opened", [1280], indirect=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(opened, scheme):
    opened.emulate_media(color_scheme=scheme)
    for selector in ("body", "figcaption", "a", ".flow .good b", ".flow .bad b", "thead th"):
        assert contrast(opened, selector) >= 4.5


def contrast(tab, selector):
    """WCAG contrast of an element's text with the page's background."""
    colours = tab.evaluate(
        """(selector) => [getComputedStyle(document.querySelector(selector)).color,
            getComputedStyle(document.body).backgroundColor]""",
        selector,
    )
    lights = sorted(luminance(colour) for colour in colours)
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour):
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").rstrip(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
