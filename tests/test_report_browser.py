"""The report in a real browser: offline, quiet, readable on a phone, and its controls work."""

import os
import shutil

import pytest
from playwright.sync_api import sync_playwright
from report_library import HOSTILE, data_of, library

from probe.report.page import write_report

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = [1280, 390]


@pytest.fixture(scope="module")
def chromium():
    path = os.environ.get("PROBE_CHROMIUM") or shutil.which("chromium")
    if path is None:
        why = "no Chromium: install it, or name it in PROBE_CHROMIUM"
        if os.environ.get("PROBE_REQUIRE_BROWSER") == "1":
            pytest.fail(why)
        pytest.skip(why)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    made = library()
    made.conformers[0]["molecule_id"] = "a" * 300  # a long name without a place to break
    made.rejected = [{"source": "demo.smi:62", "reason": "b" * 300, "molecule_id": HOSTILE}]
    write_report(made.write(folder), folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def opened(chromium, report, request):
    """The report open at a width, with all that went wrong or was asked for on the way."""
    context = chromium.new_context(viewport={"width": request.param, "height": 900})
    tab = context.new_page()
    tab.troubles, tab.requests, tab.dialogs = [], [], []
    tab.on("console", lambda message: tab.troubles.append(message.text))
    tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
    tab.on("request", lambda asked: tab.requests.append(asked.url))
    tab.on("dialog", lambda dialog: (tab.dialogs.append(dialog.message), dialog.dismiss()))
    tab.goto(report.as_uri(), wait_until="load")
    yield tab
    context.close()


at_every_width = pytest.mark.parametrize("opened", WIDTHS, indirect=True)


@at_every_width
def test_opens_quietly_and_asks_for_nothing(opened, report):
    assert opened.troubles == []
    assert [url for url in opened.requests if not url.startswith("data:")] == [report.as_uri()]


@at_every_width
def test_shows_the_counts(opened):
    flow = opened.locator(".flow").inner_text().split()
    assert flow[:3] == ["62", "records", "read"]
    assert "61" in flow


@at_every_width
def test_fits_the_screen(opened):
    width = opened.evaluate("document.documentElement.scrollWidth")
    assert width <= opened.viewport_size["width"]


@at_every_width
def test_a_hostile_name_is_text(opened):
    assert opened.locator("#worst h3").first.inner_text() == HOSTILE
    assert opened.locator("img").count() == 0
    assert opened.dialogs == []


@at_every_width
def test_the_slider_reads_off_the_curve(opened, report):
    data = data_of(report.read_text())["coverage"]
    accepted = opened.locator("[data-says=accepted]")
    assert accepted.inner_text().split()[0] == str(data["n"][60])
    opened.locator("#slider").fill("90")
    assert opened.locator("[data-says=cutoff]").inner_text() == "0.90"
    assert accepted.inner_text().split()[0] == str(data["n"][90])
    assert data["n"][90] < data["n"][60]
    left = data["total"] - data["n"][90]
    assert opened.locator("[data-says=recompute]").inner_text().split()[0] == str(left)
    opened.locator("#slider").fill("100")
    assert opened.locator("[data-says=expected]").inner_text() == "nothing accepted"


@at_every_width
def test_each_reading_stands_on_one_line(opened):
    for reading in opened.locator("#reader dd").all():
        assert reading.bounding_box()["height"] < 32


@at_every_width
def test_the_map_names_the_molecule_under_the_pointer(opened, report):
    left, top, p, name, _ = data_of(report.read_text())["umap"][0]
    frame = opened.locator("#map")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    opened.mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
    said = opened.locator("#map-says").inner_text()
    assert said.startswith(f"{name}: p_unreliable {p:.2f}")
    assert opened.locator(".ring").is_visible()


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
