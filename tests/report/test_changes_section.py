"""The report's section on what changed since the last screening."""

import html
import re
from types import SimpleNamespace

import pytest
from screened_before import CUTOFFS, ROWS, checkpoint, folder, found, library, row, screen

from probe.classifier import card
from probe.report import changes_section, rendering

__all__ = ["checkpoint", "folder", "screen"]


@pytest.fixture
def section(folder):
    """What the section of the library in ``folder`` shows, and its words."""

    def run():
        inputs = SimpleNamespace(triage=folder)
        content = changes_section.section(SimpleNamespace(screening=SimpleNamespace(inputs=inputs)))
        if content is None:
            return None, None
        template = rendering.environment().get_template("sections/changes.html")
        page = template.render(content=content)
        return page, " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())

    return run


def test_there_is_none_without_a_last_screening(screen, section, folder):
    library(folder, ROWS)
    assert section() == (None, None)
    screen(ROWS)
    assert section() == (None, None)


def test_counts_causes_and_what_differs_are_said(screen, section, checkpoint):
    screen(ROWS)
    (checkpoint / card.WEIGHTS).write_text("other")
    cutoffs = CUTOFFS | {"accept_confidence": 0.9}
    rows = [row("a", "recompute", 0.2), ROWS[1], row("d", molecule="<b>bold</b>")]
    _, table = screen(rows, size=2_000, cutoffs=cutoffs)
    assert found(table)["a"] == ("to recompute", "cutoffs")
    page, said = section()
    assert "new: not in the last screening library: the library's files changed 1" in said
    assert "gone: in the last screening only library: the library's files changed 1" in said
    assert "to recompute: was accepted cutoffs: the settings of triage changed 1" in said
    assert "In both, with the same verdict: 1." in said
    assert "Accepted 2 1 −1" in said
    assert "Conformers 3 3 same" in said
    assert "Library, bytes 10 2,000 changed" in said
    assert "cutoffs: accept_confidence 0.6 0.9 changed" in said
    assert "Backbone b (f) b (f) same" in said
    assert "molecule c C library accept: p_unreliable 0.2 whatever not in it" in said
    assert "<b>bold" not in page


def test_that_nothing_changed_is_said_too(screen, section):
    screen(ROWS)
    screen(ROWS, size=11)
    _, said = section()
    assert "none is new, gone or judged differently" in said
    assert "In both, with the same verdict: 3." in said


def test_of_many_the_page_lists_some_and_says_so(screen, section):
    screen(ROWS)
    screen([row(f"n{i}") for i in range(60)], size=11)
    _, said = section()
    assert "New: 60 The first 40, the largest change" in said
    assert "Gone: 3 All of them" in said
