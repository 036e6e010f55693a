"""The report in a real browser: offline, quiet, readable on a phone, and its controls work."""

import csv
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright
from report_library import FORMULA, HOSTILE, data_of, library, unpacked, with_cache
from repository import ROOT

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
AXE = (ROOT / "tests/vendor/axe.min.js").read_text(encoding="utf-8")


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
    made.conformers[7]["synonyms"] = ["CAS 64-17-5"]
    made.rejected = [{"source": "demo.smi:62", "reason": "b" * 300, "molecule_id": HOSTILE}]
    inputs = with_cache(made, made.write(folder), folder)
    write_report(inputs, folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def opened(chromium, report, request):
    """The report open at a width, with all that went wrong or was asked for on the way."""
    yield from opening(chromium, report, request.param)


def opening(chromium, report, width):
    context = chromium.new_context(viewport={"width": width, "height": 900})
    tab = context.new_page()
    tab.troubles, tab.requests, tab.dialogs = [], [], []
    tab.on("console", lambda message: complain(tab, message.text))
    tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
    tab.on("request", lambda asked: tab.requests.append(asked.url))
    tab.on("dialog", lambda dialog: (tab.dialogs.append(dialog.message), dialog.dismiss()))
    tab.goto(report.as_uri(), wait_until="load")
    tab.wait_for_selector("#explorer[data-ready]")
    yield tab
    context.close()


def complain(tab, text):
    """Keep what the page says, not what Chromium says of drawing without a graphics card."""
    if "GL Driver Message" not in text:
        tab.troubles.append(text)


@pytest.fixture(scope="module", params=WIDTHS)
def untouched(chromium, report, request):
    """The report open at a width, for tests that only look."""
    yield from opening(chromium, report, request.param)


at_every_width = pytest.mark.parametrize("opened", WIDTHS, indirect=True)


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


@at_every_width
def test_the_pointer_shows_the_molecule(opened):
    point_at(opened, 0)
    tip = opened.locator("#tip")
    tip.wait_for(state="visible")
    assert tip.locator("b").inner_text() == HOSTILE
    assert tip.locator("svg.sketch").count() == 1
    said = tip.inner_text()
    assert f"p_unreliable {sample(opened)['p'][0]:.3f}, to recompute" in said
    assert " eV" in said
    assert opened.dialogs == []


@at_every_width
def test_a_click_pins_the_molecule(opened):
    known = sample(opened)
    row = loneliest(known)
    point_at(opened, row, click=True)
    expect(opened.locator("#pinned-title")).to_have_text(known["name"][row])
    body = opened.locator("#pinned-body")
    expect(body.locator("svg.sketch .glow circle").first).to_be_attached()
    expect(body.locator("canvas[role=img]")).to_have_attribute(
        "aria-label", re.compile(r"Attention matrix of \d+ atoms. Strongest: \w+ gives \w+ ")
    )
    expect(body.locator(".viewer canvas").first).to_be_visible()
    said = body.inner_text()
    assert known["id"][row] in said
    assert known["reason"][row] in said


@pytest.mark.parametrize("opened", [1280], indirect=True)
def test_the_matrix_says_what_a_cell_is(opened):
    opened.locator("[data-step='1']").click()
    canvas = opened.locator("#pinned-body canvas[role=img]")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    opened.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2)
    last = opened.locator(".told").inner_text().split()
    assert last[0] == last[2]  # the lower right cell: the last atom and itself


@pytest.mark.parametrize("opened", [1280], indirect=True)
def test_the_keyboard_steps_through_the_worst(opened):
    known = sample(opened)
    forwards = opened.locator("[data-step='1']")
    forwards.focus()
    for place in range(3):
        opened.keyboard.press("Enter")
        expect(opened.locator("#pinned-title")).to_have_text(known["name"][place])
    opened.locator("[data-step='-1']").press("Enter")
    expect(opened.locator("#pinned-title")).to_have_text(known["name"][1])


@at_every_width
def test_filters_count_and_name_what_they_leave(opened):
    known = sample(opened)
    n = len(known["p"])
    says = opened.locator("#shown")
    assert says.inner_text() == f"{n} on this page are shown."
    opened.locator("[name=verdict]").select_option("recompute")
    opened.locator("[name=element]").select_option("Cl")
    both = [
        not accepted and holds == "1"
        for accepted, holds in zip(known["accept"], known["elements"]["Cl"], strict=True)
    ]
    assert says.inner_text() == f"{sum(both)} of {n} on this page are shown."
    command = opened.locator("#command").inner_text()
    assert command.endswith("triage --verdict recompute --element Cl --out ids.csv")
    opened.locator("[name=verdict]").select_option("")
    opened.locator("[name=element]").select_option("")
    opened.locator("[name=text]").fill("cas 64-17")  # a further name
    assert says.inner_text() == f"1 of {n} on this page is shown."
    opened.locator("[name=text]").fill("it's not there")
    assert says.inner_text() == f"0 of {n} on this page are shown."
    assert "--text 'it'\\''s not there'" in opened.locator("#command").inner_text()
    assert opened.locator("#download").is_disabled()


@pytest.mark.parametrize("opened", [1280], indirect=True)
def test_colours_follow_what_is_chosen(opened):
    choices = opened.locator("[name=colour] option").evaluate_all("all => all.map(o => o.value)")
    assert choices[:3] == ["p", "verdict", "error"]
    assert "element:Br" in choices
    assert "descriptor:TPSA" in choices
    seen = set()
    for choice in choices:
        opened.locator("[name=colour]").select_option(choice)
        opened.wait_for_function(
            "choice => document.querySelector('#legend').innerText", arg=choice
        )
        seen.add(opened.locator("#legend").inner_text())
    assert len(seen) == len(choices)
    known = sample(opened)
    opened.locator("[name=colour]").select_option("element:Br")
    n = known["elements"]["Br"].count("1")
    assert f"holds Br ({n})" in opened.locator("#legend").inner_text()
    assert opened.troubles == []


def test_errors_are_those_of_the_reference_energies(report):
    known = unpacked(data_of(report.read_text())["umap"]["sample"])
    found = [error for error in known["error"] if error is not None]
    assert found == pytest.approx([0.01 * 23.060548] * 10, abs=1e-3)


@at_every_width
def test_a_region_is_downloaded_and_named(opened):
    opened.locator("[data-drag=select]").click()
    drag(opened, (0.02, 0.02), (0.98, 0.98))
    known = sample(opened)
    n = len(known["p"])
    expect(opened.locator("#shown")).to_have_text(f"{n} of {n} on this page are in the box.")
    box = [float(x) for x in re.search(r"--box (\S+)", command_of(opened))[1].split(",")]
    assert box[0] < min(known["x"]) < max(known["x"]) < box[1]
    assert box[2] < min(known["y"]) < max(known["y"]) < box[3]
    with opened.expect_download() as started:
        opened.locator("#download").click()
    text = Path(started.value.path()).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["conformer_id"] for row in rows] == known["id"]
    names = [row["molecule_id"] for row in rows]
    assert names[0] == HOSTILE
    assert f"'{FORMULA}" in names
    assert FORMULA not in names
    opened.locator("#clear").click()
    expect(opened.locator("#shown")).to_have_text(f"{n} on this page are shown.")


@pytest.mark.parametrize("opened", [1280], indirect=True)
def test_a_lasso_is_named_by_the_box_around_it(opened):
    opened.locator("[data-drag=lasso]").click()
    drag(opened, (0.02, 0.02), (0.98, 0.05), (0.98, 0.98), (0.02, 0.95))
    n = len(sample(opened)["p"])
    expect(opened.locator("#shown")).to_have_text(f"{n} of {n} on this page are inside the lasso.")
    assert "from the box around the lasso" in opened.locator("#harvest").inner_text()
    assert "--box" in command_of(opened)


@pytest.mark.parametrize("opened", [1280], indirect=True)
def test_zooming_and_back(opened):
    def wide():
        low, high = opened.evaluate("document.querySelector('#plot').layout.xaxis.range")
        return high - low

    whole = wide()
    opened.locator("[aria-label='Zoom in']").click()
    assert wide() == pytest.approx(0.6 * whole)
    opened.locator("[data-zoom=all]").click()
    assert wide() == pytest.approx(whole)


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


def command_of(tab):
    return tab.locator("#command").inner_text()


def sample(tab):
    """What the page knows of the molecules that it shows."""
    return tab.evaluate("report.unpack(report.data.umap.sample)")


def loneliest(known):
    """The row of the molecule that is farthest from its neighbour on the map: no other is hit."""
    places = np.array([known["x"], known["y"]]).T
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(apart, np.inf)
    return int(apart.min(axis=1).argmax())


def point_at(tab, row, click=False):
    """Move the pointer to the ``row`` of the sample, on top of what may lie over it."""
    tab.locator("#plot").scroll_into_view_if_needed()
    box = tab.locator("#plot").bounding_box()
    left, top = tab.evaluate(
        """([x, y]) => {
            const {xaxis, yaxis} = document.querySelector("#plot")._fullLayout;
            return [xaxis.l2p(x), yaxis.l2p(y)];
        }""",
        [sample(tab)[axis][row] for axis in "xy"],
    )
    tab.mouse.move(box["x"] + left + 8, box["y"] + top + 8)
    tab.mouse.move(box["x"] + left + 1, box["y"] + top + 1, steps=3)
    if click:
        tab.mouse.click(box["x"] + left + 1, box["y"] + top + 1)


def drag(tab, *places):
    """Drag over the map, along ``places`` that are fractions of it."""
    tab.locator("#plot").scroll_into_view_if_needed()
    box = tab.locator("#plot").bounding_box()
    first, *others = [
        (box["x"] + left * box["width"], box["y"] + top * box["height"]) for left, top in places
    ]
    tab.mouse.move(*first)
    tab.mouse.down()
    for place in others:
        tab.mouse.move(*place, steps=8)
    tab.mouse.up()


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
