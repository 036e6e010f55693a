"""The report's map in a real browser: pointing, pinning, filters, colours and downloads."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from browser import at_every_width
from playwright.sync_api import expect
from report_library import FORMULA, HOSTILE, data_of, unpacked


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
