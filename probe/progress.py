"""How far a long loop is: one line that is rewritten on a terminal, lines now and then in a log."""

import sys
import time
from typing import IO

LOG_SECONDS = 10.0
TERMINAL_SECONDS = 0.2
"""Between two reports."""


class Progress:
    """Says how many of ``total`` are done, at which rate, and how long the rest may take.

    What is over before the first line is due says nothing.
    """

    def __init__(self, what: str, total: int, unit: str, stream: IO[str] | None = None) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._stream = sys.stderr if stream is None else stream
        self._rewrites = self._stream.isatty()
        self._start = self._last = time.monotonic()
        self._said = False

    def __call__(self, done: int) -> None:
        """Hear that ``done`` are done by now."""
        now = time.monotonic()
        due = now - self._last >= (TERMINAL_SECONDS if self._rewrites else LOG_SECONDS)
        ends = done >= self._total
        if due or (ends and self._said):
            self._say(done, now - self._start, "\n" if ends or not self._rewrites else "")
            self._last, self._said = now, True

    def _say(self, done: int, seconds: float, end: str) -> None:
        rate = done / max(seconds, 1e-9)
        left = duration((self._total - done) / rate) if done else "unknown"
        line = f"{self._what}: {done:,} of {self._total:,} {self._unit}, {rate:.1f} a second, " + (
            f"{left} left" if done < self._total else f"{duration(seconds)} in all"
        )
        begin, clear = ("\r", "\x1b[K") if self._rewrites else ("", "")
        print(f"{begin}{line}{clear}", file=self._stream, end=end, flush=True)


def duration(seconds: float) -> str:
    """``seconds`` in the two units that say most, as in 3 min 20 s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
