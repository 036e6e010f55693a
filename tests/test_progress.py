"""Progress: rate and time left, rewritten on a terminal, as lines in a log."""

import io

import pytest

from probe import progress
from probe.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that goes on by a second whenever it is read."""
    now = [0.0]

    def read():
        now[0] += 1
        return now[0]

    monkeypatch.setattr(progress.time, "monotonic", read)
    return now


def run(stream, total):
    report = Progress("embed", total, "conformers", stream)
    for done in range(1, total + 1):
        report(done)
    return stream.getvalue()


def test_a_log_has_a_line_every_ten_seconds_and_one_at_the_end():
    lines = run(io.StringIO(), 25).splitlines()
    assert lines == [
        "embed: 10 of 25 conformers, 1.0 a second, 15 s left",
        "embed: 20 of 25 conformers, 1.0 a second, 5 s left",
        "embed: 25 of 25 conformers, 1.0 a second, 25 s in all",
    ]


def test_a_terminal_has_one_line_that_is_rewritten():
    text = run(Terminal(), 3)
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.count("\r") == 3
    assert "\rembed: 2 of 3 conformers, 1.0 a second, 1 s left\x1b[K" in text


@pytest.mark.parametrize("total", [0, 5])
def test_what_is_over_at_once_says_nothing(total):
    assert run(io.StringIO(), total) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3600 * 30 + 61, "30 h 1 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
