"""Outputs of ORCA, read back: each is held against the manifest of the decks before it counts."""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe import decks, dft, engines, tables
from probe.energies import COLLECTED
from probe.errors import ProbeError
from probe.journal import Row

SUFFIXES = (".out", ".log")

Parsed = Any
"""What cclib makes of an output; it has no types. None if nothing."""

FINAL = re.compile(r"FINAL SINGLE POINT ENERGY\s+(-?\d+\.\d+)\s*$", re.MULTILINE)
"""With dispersion and the short-range-bond term, which cclib leaves out of what it adds up."""


@dataclass(frozen=True)
class Outcome:
    """Outputs that were read, gave an energy, and did not."""

    n_read: int
    n_usable: int
    n_unusable: int


def collect(folder: Path, outputs: Sequence[Path], manifest: Path) -> Outcome:
    """Read ORCA ``outputs`` (files, or folders searched through) into the library in ``folder``.

    They are named after the decks. What was collected before stays, an energy before a failure.

    Raises:
        ProbeError: the manifest is none, or not of ORCA; or an output path is not there.
    """
    entries = {
        row["conformer_id"]: row for row in tables.read(manifest, tables.MANIFEST).to_pylist()
    }
    if {entry["program"] for entry in entries.values()} - {"orca"}:
        raise ProbeError(f"{manifest}: not of ORCA decks; only ORCA outputs are read back")
    path = folder / COLLECTED
    before = tables.read(path, tables.COMPUTED).to_pylist() if path.exists() else []
    collected = {row["conformer_id"]: row for row in before}
    n_read = n_usable = 0
    for output in _files(outputs):
        n_read += 1
        entry = entries.get(output.stem)
        if entry is None:
            _say(f"{output}: not named after a deck of {manifest.name}; left out")
            continue
        row = read(output, entry)
        n_usable += row["converged"]
        if row["reason"]:
            _say(f"{output}: {row['reason']}")
        if row["converged"] or not collected.get(output.stem, {}).get("converged"):
            collected[output.stem] = row
    record = {"manifest": manifest.name}
    tables.write(path, list(collected.values()), tables.COMPUTED, record)
    return Outcome(n_read, n_usable, n_read - n_usable)


def read(output: Path, entry: Mapping[str, Any]) -> Row:
    """A row of ``tables.COMPUTED`` of an ORCA output, held against its ``tables.MANIFEST`` row."""
    named = {
        "conformer_id": entry["conformer_id"],
        "method": entry["method"],
        "engine": engines.PROGRAMS["orca"],
    }
    text = output.read_text(errors="replace")
    problem = _problem(text, _parsed(output), entry)
    if problem:
        return named | engines.failed(problem)
    energy = float(FINAL.findall(text)[-1])
    return (
        named
        | engines.failed("")
        | {
            "dft_energy_ev": energy * dft.EV_PER_HARTREE,
            "converged": True,
            "reason": None,
        }
    )


def _parsed(output: Path) -> Parsed:
    from cclib.io.ccio import ccopen  # noqa: PLC0415 (slow import)

    try:
        parser = ccopen(str(output), loglevel=logging.CRITICAL)
        return parser.parse() if parser is not None else None
    except (ArithmeticError, AttributeError, LookupError, StopIteration, ValueError) as error:
        _say(f"{output}: cclib gave up ({tables.first_line(error)})")
        return None


def _problem(text: str, parsed: Parsed, entry: Mapping[str, Any]) -> str:
    """Why an output cannot be used; empty if it can. The first reason that holds."""
    if parsed is None or parsed.metadata.get("package") != "ORCA":
        return "not an ORCA output that can be read; look whether it is whole"
    if "SCF NOT CONVERGED" in text or "SCF CONVERGED" not in text:
        return "the SCF did not converge"
    if "ORCA TERMINATED NORMALLY" not in text or not FINAL.search(text):
        return "ORCA did not end normally; run it again"
    found = {
        "charge": getattr(parsed, "charge", None),
        "multiplicity": getattr(parsed, "mult", None),
    }
    for name, value in found.items():
        if value != entry[name]:
            return f"its {name} is {value}, and the deck's is {entry[name]}"
    numbers, positions = parsed.atomnos, parsed.atomcoords[-1]
    if decks.geometry_sha256(numbers, positions) != entry["geometry_sha256"]:
        return "its geometry is not the deck's; run the deck as it is, without optimisation"
    return ""


def _files(outputs: Sequence[Path]) -> Iterator[Path]:
    for place in outputs:
        if not place.exists():
            raise ProbeError(f"{place}: no such file or folder")
        if place.is_dir():
            yield from sorted(path for path in place.rglob("*") if path.suffix in SUFFIXES)
        else:
            yield place


def _say(text: str) -> None:
    print(f"collect: {text}", file=sys.stderr, flush=True)
