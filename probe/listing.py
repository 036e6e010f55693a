"""Lists of networks: what is said of each, in YAML, and whether that is right."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from probe import tables
from probe.errors import ProbeError

ADAPTERS = {
    "aimnet": frozenset({"wheel", "registry", "fingerprints"}),
    "ani": frozenset({"wheel"}),
    "mace": frozenset({"loader", "model", "head"}),
}
"""The adapters, modules of probe/backbones, and the keys of a listed network that are theirs."""
REQUIRED = ("adapter", "method", "licence", "citation")
OPTIONAL = ("path", "sha256", "fingerprint")
HEX = {"sha256": 64, "fingerprint": 16}
"""Keys that are hexadecimal numbers, and their digits."""


@dataclass(frozen=True)
class Entry:
    """One listed network.

    ``path`` is the file where the list names one; otherwise the adapter gets the weights by what
    ``source`` says. ``sha256`` and ``fingerprint`` are None where the list has none. ``family``
    is the ensemble, of which this is ``member``: NAME is member 0 and NAME-k member k.
    """

    name: str
    family: str
    member: int
    adapter: str
    method: str
    licence: str
    citation: str
    listed_in: Path
    path: Path | None = None
    sha256: str | None = None
    fingerprint: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Located:
    """A network on disk that was proven to be the listed one; ``model`` is what was read of it."""

    path: Path
    sha256: str
    fingerprint: str
    source: str
    model: Any = field(repr=False, compare=False)


@cache
def read(path: Path) -> dict[str, Entry]:
    """The networks of the list ``path``, by name; file names in it start in its folder.

    Raises:
        ProbeError: it cannot be read, or something in it is wrong.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProbeError(
            f"{path}: cannot read this list of backbones ({error.strerror})"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProbeError(f"{path}: not YAML ({tables.first_line(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(x, dict) for x in content.values()):
        raise ProbeError(f"{path}: not a list of backbones; write a name and, under it, its keys")
    found = {}
    for name, given in content.items():
        facts = {str(key): value for key, value in given.items() if value is not None}
        _check(facts, f"{path}: {name}")
        members = facts.get("fingerprints", [facts.get("fingerprint")])
        for member, pin in enumerate(members):
            full = str(name) if member == 0 else f"{name}-{member}"
            found[full] = _entry(full, facts, pin, path)
    return {name: _in_family(one, found) for name, one in found.items()}


def _entry(name: str, facts: Mapping[str, Any], pin: str | None, listed_in: Path) -> Entry:
    return Entry(
        name=name,
        family=name,
        member=0,
        listed_in=listed_in,
        path=listed_in.resolve().parent / str(facts["path"]) if "path" in facts else None,
        sha256=str(facts["sha256"]) if "sha256" in facts else None,
        fingerprint=pin,
        source={key: facts[key] for key in ADAPTERS[facts["adapter"]] & facts.keys()},
        **{key: str(facts[key]) for key in REQUIRED},
    )


def _in_family(one: Entry, known: Mapping[str, Entry]) -> Entry:
    """``one`` as a member of the ensemble that its name says it is of, if that is listed."""
    family, _, member = one.name.rpartition("-")
    if family in known and member.isdigit():
        return replace(one, family=family, member=int(member))
    return one


def _check(facts: Mapping[str, Any], where: str) -> None:
    """Raise ProbeError at what is wrong with a listed network."""
    if missing := [key for key in REQUIRED if not facts.get(key)]:
        raise ProbeError(f"{where} has no {', '.join(missing)}; add it")
    if facts["adapter"] not in ADAPTERS:
        raise ProbeError(f"{where}: adapter must be one of {', '.join(ADAPTERS)}")
    own = ADAPTERS[facts["adapter"]]
    known = {*REQUIRED, *OPTIONAL, *own}
    if unknown := sorted(facts.keys() - known):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
        raise ProbeError(f"{where}: key {unknown[0]} is unknown; {hint}")
    for key, digits in HEX.items():
        if key in facts and not re.fullmatch(f"[0-9a-f]{{{digits}}}", str(facts[key])):
            raise ProbeError(f"{where}: {key} must be {digits} hexadecimal digits, in quotes")
    if "path" in facts and own & facts.keys() - {"head"}:
        others = ", ".join(sorted(own & facts.keys() - {"head"}))
        raise ProbeError(f"{where}: path and {others} exclude each other; keep one")
    if "path" not in facts and not own & facts.keys() - {"head"}:
        raise ProbeError(f"{where} has no path; add that of the weights")
