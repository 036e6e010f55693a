"""Backbone weights: where they come from, and proof that they are the listed network.

Networks are listed in resources/backbones.yaml and in a file of the user's own of the same form,
which $PROBE_BACKBONES names (the config key backbones sets it). How networks of one kind are
fetched, read and identified is their adapter's matter (probe/backbones).

A network that the list gives no fingerprint is pinned by its first fetch: digest and fingerprint
are written beside the weights, as NAME.json, and hold from then on.
"""

import difflib
import hashlib
import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from probe import listing, tables
from probe.errors import ProbeError
from probe.listing import Entry, Located

if TYPE_CHECKING:
    from probe.backbones.contract import Adapter

RESOURCES = Path(__file__).resolve().parent.parent / "resources"


def entries() -> dict[str, Entry]:
    """Every listed network, by name: the shipped ones, then the user's own.

    Raises:
        ProbeError: the user's list cannot be read, or something in it is wrong.
    """
    shipped = listing.read(RESOURCES / "backbones.yaml")
    if not (own := os.environ.get("PROBE_BACKBONES")):
        return shipped
    added = listing.read(Path(own))
    if taken := sorted(set(shipped) & set(added)):
        raise ProbeError(f"{own}: {taken[0]} is a shipped backbone; give yours another name")
    return shipped | added


def entry(name: str) -> Entry:
    """The network ``name``.

    Raises:
        ProbeError: there is none; the message names the nearest, or says how to list a file.
    """
    known = entries()
    if name in known:
        return known[name]
    if Path(name).is_file():
        raise ProbeError(
            f"backbone {name} is a file (sha256 {_digest(Path(name).read_bytes())}), not a name; "
            f"list it with this digest in the YAML file of the config key backbones "
            f"($PROBE_BACKBONES), see docs/new-backbone.md"
        )
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "`probe weights list` has all"
    raise ProbeError(f"backbone {name} is unknown; {hint}")


def ensemble(wanted: Entry) -> list[Entry]:
    """``wanted`` and the other networks of the ensemble that it is of."""
    others = [one for one in entries().values() if one.family == wanted.family and one != wanted]
    return [wanted, *others]


def folder() -> Path:
    """Where weights are kept: $PROBE_WEIGHTS, or probe-screen/weights in the user's cache."""
    if chosen := os.environ.get("PROBE_WEIGHTS"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "probe-screen" / "weights"


def fingerprint(wanted: Entry, where: Path | None = None) -> str | None:
    """The fingerprint that ``wanted`` must have, None where nothing has pinned one yet."""
    return _pinned(wanted, where or folder()).fingerprint


def locate(wanted: Entry, where: Path | None = None) -> Located:
    """``wanted`` in the weights folder or where it is listed; nothing is downloaded or written.

    Raises:
        ProbeError: it is not there, or is another network.
    """
    base = where or folder()
    path = _place(wanted, base)
    if not path.is_file():
        remedy = (
            f"run `probe weights fetch {wanted.name}` where there is a network"
            if wanted.path is None
            else f"put the file there, or mend its path in {wanted.listed_in}"
        )
        raise ProbeError(f"{path}: the weights of {wanted.name} are missing; {remedy}")
    return _located(path, _pinned(wanted, base), "cached" if wanted.path is None else "listed file")


def fetch(
    wanted: Entry,
    where: Path | None = None,
    *,
    offline: bool = False,
    local: Path | None = None,
    sha256: str | None = None,
) -> Located:
    """Make sure that ``wanted`` is in the weights folder, from the first source that has it.

    Sources, in order: the folder itself, ``local`` (a file that the adapter reads), then the
    adapter's. What is there and right is not touched, so the folder may be read-only. Of a kind
    of file that is code, a local one is read only if its digest is known: ``sha256`` gives one
    that no list has. A file that the list names stays where it is.

    Raises:
        ProbeError: no source gave the pinned network; one line says what each one said.
    """
    if wanted.path is not None:
        return locate(wanted)
    base = where or folder()
    target, pinned = _place(wanted, base), _pinned(wanted, base)
    said: list[str] = []
    if target.is_file():
        try:
            return _located(target, pinned, "cached")
        except ProbeError as error:
            said.append(str(error))
    if local is not None and not local.is_file():
        raise ProbeError(f"cannot get the weights of {wanted.name}: {local}: no such file")
    adapter = adapter_of(wanted)
    sources = adapter.sources(wanted, base, offline=offline, local=local)
    if sources and local is None:  # a download is not started in vain
        remedy = "set PROBE_WEIGHTS to a folder for the weights that can be"
        tables.require_writable(base, remedy)
    pinned = replace(pinned, sha256=pinned.sha256 or sha256)
    for source, get in sources:
        try:
            content = get()
            if local is not None:
                _require_known(content, pinned, str(local))
            _store(content, pinned, target, source)
        except ProbeError as error:
            said.append(f"{source}: {error}")
        else:
            return _located(target, _pinned(wanted, base), source)
    if offline:
        said.append(adapter.advice(wanted, target))
    raise ProbeError(f"cannot get the weights of {wanted.name}: {'; '.join(said)}")


def adapter_of(wanted: Entry) -> "Adapter":
    """The module of probe/backbones that adapts ``wanted``."""
    return cast("Adapter", import_module(f"probe.backbones.{wanted.adapter}"))


def verify(content: bytes, sha256: str, what: str) -> None:
    """Raise ProbeError unless ``content`` has the digest ``sha256``."""
    digest = _digest(content)
    if digest != sha256:
        raise ProbeError(f"{what} has sha256 {digest}, pinned is {sha256}; it is not used")


def _place(wanted: Entry, base: Path) -> Path:
    return wanted.path or base / f"{wanted.name}{adapter_of(wanted).SUFFIX}"


def _pin(wanted: Entry, base: Path) -> Path:
    return base / f"{wanted.name}.json"


def _pinned(wanted: Entry, base: Path) -> Entry:
    """``wanted`` with what its first fetch has pinned, where the list says nothing."""
    if wanted.path is not None or wanted.fingerprint is not None:
        return wanted
    if not (pin := _pin(wanted, base)).is_file():
        return wanted
    record = tables.read_json(pin)
    return replace(
        wanted,
        sha256=wanted.sha256 or record.get("sha256"),
        fingerprint=record.get("fingerprint"),
    )


def _require_known(content: bytes, pinned: Entry, what: str) -> None:
    """Raise ProbeError where a file that is code has no digest to compare with."""
    if pinned.sha256 is not None or not adapter_of(pinned).IS_CODE:
        return
    remedy = (
        f"run this again with --sha256 {_digest(content)}"
        if pinned.path is None
        else f"add the line `sha256: {_digest(content)}` to {pinned.name} in {pinned.listed_in}"
    )
    raise ProbeError(
        f"{what} can run code when it is read, and no digest of {pinned.name} is listed; if you "
        f"trust where it came from, {remedy}"
    )


def _store(content: bytes, pinned: Entry, target: Path, source: str) -> None:
    """Save ``content`` as ``target`` if it is the pinned network, and pin what was not."""
    if pinned.sha256 is not None:
        verify(content, pinned.sha256, "it")
    found = _identify(content, pinned, "it")[0]
    record = {"sha256": _digest(content), "fingerprint": found, "source": source}
    try:
        tables.atomically(target, lambda handle: handle.write(content))
        if pinned.fingerprint is None:
            tables.write_json(_pin(pinned, target.parent), record)
    except ProbeError as error:
        raise ProbeError(f"{error}; PROBE_WEIGHTS names the folder of the weights") from error


def _located(path: Path, pinned: Entry, source: str) -> Located:
    """What lies at ``path``, read once: the bytes that were verified are those that are loaded."""
    content = path.read_bytes()
    _require_known(content, pinned, str(path))
    if pinned.sha256 is not None:
        verify(content, pinned.sha256, str(path))
    found, model = _identify(content, pinned, str(path))
    return Located(path, _digest(content), found, source, model)


def _identify(content: bytes, pinned: Entry, where: str) -> tuple[str, Any]:
    """Fingerprint and model of ``content``, if it is the pinned network."""
    adapter = adapter_of(pinned)
    model = adapter.read(content, pinned, where)
    try:
        found = adapter.identify(model)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, yaml.YAMLError) as error:
        raise ProbeError(
            f"{where} is a model file of another kind ({type(error).__name__}: {error}); "
            f"remove it and fetch again"
        ) from error
    if pinned.fingerprint not in (None, found):
        remedy = f"mend {pinned.listed_in}" if pinned.path else "remove it and fetch again"
        raise ProbeError(
            f"{where} is another network than {pinned.name} "
            f"(fingerprint {found}, pinned {pinned.fingerprint}); {remedy}"
        )
    return found, model


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
