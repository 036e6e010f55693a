"""Outputs of ORCA, read back: each is held against the manifest of the decks before it counts."""

import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe import schemas, tables
from probe.dft import decks, engines, scf
from probe.dft.energies import COLLECTED
from probe.dft.journal import Row
from probe.errors import ProbeError

SUFFIXES = (".out", ".log")

Parsed = Any
"""What cclib makes of an output; it has no types. None if nothing."""

FINAL = re.compile(r"FINAL SINGLE POINT ENERGY\s+(-?\d+\.\d+)\s*$", re.MULTILINE)
"""With dispersion and the short-range-bond term, which cclib leaves out of what it adds up."""

SCF = re.compile(r"SCF ITERATIONS|D-I-I-S|SCF (NOT )?CONVERGED")
"""Where the SCF begins, which versions of ORCA print differently: cclib reads no farther."""

KEYWORDS = re.compile(r"^\|\s*\d+>\s*!(.*)$", re.MULTILINE)
"""Of the input, which ORCA prints again."""


@dataclass(frozen=True)
class Outcome:
    """Outputs that were read, gave an energy, and did not; and those of no deck of ours."""

    n_read: int
    n_usable: int
    n_unusable: int
    n_foreign: int


def collect(folder: Path, outputs: Sequence[Path], manifest: Path) -> Outcome:
    """Read ORCA ``outputs`` (files, or folders searched through) into the library in ``folder``.

    They are named after the decks; of others their number is told. What was collected before
    stays, an energy before a failure.

    Raises:
        ProbeError: the manifest is none, or not of ORCA; or an output path is not there.
    """
    entries = {
        row["conformer_id"]: row for row in tables.read(manifest, schemas.MANIFEST).to_pylist()
    }
    if {entry["program"] for entry in entries.values()} - {"orca"}:
        raise ProbeError(f"{manifest}: not of ORCA decks; only ORCA outputs are read back")
    path = folder / COLLECTED
    before = tables.read(path, schemas.COMPUTED).to_pylist() if path.exists() else []
    collected = {row["conformer_id"]: row for row in before}
    found = list(_files(outputs))
    ours = [output for output in found if output.stem in entries]
    n_foreign, n_usable = len(found) - len(ours), 0
    if n_foreign:
        _say(f"{n_foreign} outputs are not named after a deck of {manifest.name}; left out")
    for output in ours:
        row = read(output, entries[output.stem])
        n_usable += row["converged"]
        if row["reason"]:
            _say(f"{output}: {row['reason']}")
        if row["converged"] or not collected.get(output.stem, {}).get("converged"):
            collected[output.stem] = row
    record = {"manifest": manifest.name}
    tables.write(path, list(collected.values()), schemas.COMPUTED, record)
    return Outcome(len(ours), n_usable, len(ours) - n_usable, n_foreign)


def read(output: Path, entry: Mapping[str, Any]) -> Row:
    """A row of ``schemas.COMPUTED`` of an ORCA output, held against its row of the manifest."""
    named = {
        "conformer_id": entry["conformer_id"],
        "method": entry["method"],
        "engine": engines.PROGRAMS["orca"],
    }
    text = output.read_text(errors="replace")
    problem = _problem(text, entry)
    if problem:
        return named | engines.failed(problem)
    energy = float(FINAL.findall(text)[0])
    return (
        named
        | engines.failed("")
        | {
            "dft_energy_ev": energy * scf.EV_PER_HARTREE,
            "converged": True,
            "reason": None,
        }
    )


def _problem(text: str, entry: Mapping[str, Any]) -> str:
    """Why an output cannot be used; empty if it can. The first reason that holds."""
    parsed = _parsed(text)
    if parsed is None:
        return "not an ORCA output that can be read; look whether it is whole"
    if "SCF NOT CONVERGED" in text or "not fully converged" in text:
        return "the SCF did not converge"
    if "ORCA TERMINATED NORMALLY" not in text or not FINAL.search(text):
        return "ORCA did not end normally; run it again"
    if len(FINAL.findall(text)) > 1:
        return "more than one energy is in it; run the deck as it is, a single point"
    return _difference(text, parsed, entry)


def _difference(text: str, parsed: Parsed, entry: Mapping[str, Any]) -> str:
    """What is not as in the manifest; empty if nothing."""
    keywords = " ".join(KEYWORDS.findall(text)).lower().split()
    missing = set(decks.ORCA[entry["method"]].lower().split()) - set(keywords)
    if missing:
        return f"its input lacks {', '.join(sorted(missing))}, which the deck has"
    for name, value in (("charge", parsed.charge), ("multiplicity", parsed.mult)):
        if value != entry[name]:
            return f"its {name} is {value}, and the deck's is {entry[name]}"
    digest = decks.geometry_sha256(parsed.atomnos, parsed.atomcoords[-1])
    return "" if digest == entry["geometry_sha256"] else "its geometry is not the deck's"


def _parsed(text: str) -> Parsed:
    """What cclib makes of the part before the SCF: charge, multiplicity and geometry."""
    from cclib.io.ccio import ccread  # noqa: PLC0415 (slow import)

    found = SCF.search(text)
    head = text[: found.start()] if found else text
    try:
        parsed = ccread(io.StringIO(head), loglevel=logging.CRITICAL)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError):
        return None
    wanted = ("charge", "mult", "atomnos", "atomcoords")
    known = parsed is not None and parsed.metadata.get("package") == "ORCA"
    return parsed if known and all(hasattr(parsed, name) for name in wanted) else None


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
