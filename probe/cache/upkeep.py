"""What a cache holds, whether it is sound, and what of it nobody needs any more."""

import contextlib
import fcntl
import math
import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from probe import schemas, tables, weights
from probe.cache.store import LOCK, Cache, part_name
from probe.config import Library
from probe.errors import ProbeError
from probe.library import plan as planning

PARTS = "part-*.parquet"
LEFTOVERS = ("part-*.damaged", ".part-*.tmp")
"""What was set aside, and what a run that was killed left."""


@dataclass(frozen=True)
class Holding:
    """What the cache holds of one backbone; ``backbone`` is None if no list names it."""

    fingerprint: str
    backbone: str | None
    n_parts: int
    n_conformers: int  # different ones
    n_duplicates: int  # held by more than one part
    n_atoms: int  # of all parts, duplicates too
    n_bytes: int  # of all parts
    n_unreadable: int  # parts that `verify` says more about
    n_leftovers: int

    @property
    def bytes_per_atom(self) -> float | None:
        """Of the parts; None where there is no atom."""
        return self.n_bytes / self.n_atoms if self.n_atoms else None


@dataclass(frozen=True)
class Damage:
    """A part that is not what it should be, and why."""

    path: Path
    why: str


@dataclass(frozen=True)
class Removal:
    """What can be removed of one backbone, and why the rest stays.

    ``paths`` are parts that nobody needs and leftovers, last used before the time ``used_before``
    (seconds of the epoch); ``kept`` says why parts stay, with their number.
    """

    fingerprint: str
    paths: tuple[Path, ...]
    used_before: float
    n_bytes: int
    kept: Mapping[str, int]


@dataclass(frozen=True)
class Needs:
    """What the libraries of a project refer to, by fingerprint.

    ``parts`` are names of files; ``unknown`` names libraries that have yet to say what they need.
    """

    parts: Mapping[str, frozenset[str]]
    unknown: Mapping[str, tuple[str, ...]]


def holdings(root: Path) -> list[Holding]:
    """What is in the cache at ``root``, a backbone each.

    Raises:
        ProbeError: there is no such folder.
    """
    names = {
        fingerprint: name
        for name, entry in weights.entries().items()
        if (fingerprint := weights.fingerprint(entry))
    }
    return [_holding(folder, names.get(folder.name)) for folder in _folders(root)]


def damages(root: Path, *, repair: bool = False) -> Iterator[Damage]:
    """Read every part at ``root`` in full and yield those that are damaged, one after the other.

    Held against each other are checksums, fingerprint, name and ids, sizes and numbers of atoms;
    every energy, charge and feature must be finite. With ``repair`` what is damaged is set aside,
    as a run that meets it does.

    Raises:
        ProbeError: there is no such folder, or a part cannot be read or moved.
    """
    for folder in _folders(root):
        width = _width(folder)
        cache = Cache(root, folder.name, width)
        for path in sorted(folder.glob(PARTS)):
            try:
                why = _fault(cache, path)
            except FileNotFoundError:
                continue  # a run has set it aside
            if why is not None:
                if repair:
                    cache.set_aside(path, why)
                yield Damage(path, why)


def needs(configured: Iterable[Mapping[str, Library]], results: Iterable[Path]) -> Needs:
    """What the screened libraries in the folders ``results`` refer to, and those ``configured``.

    The latter are the libraries of each configuration. One that is to be screened and has not
    been, or not in full, or with another backbone, needs what nobody knows.
    """
    parts: dict[str, set[str]] = {}
    embedded_with: dict[str, set[str | None]] = {}
    for folder in (plan.parent for root in results for plan in sorted(root.glob("*/plan.json"))):
        listed: dict[Path, str] = {}
        for path in sorted((folder / "embedded").glob("*.parquet")):
            listed[path] = str(tables.provenance(path).get("fingerprint"))
            names = tables.read(path, schemas.EMBEDDED, ["part"])["part"]
            parts.setdefault(listed[path], set()).update(pc.unique(names.drop_null()).to_pylist())
        wanted = planning.load(folder / "plan.json").files(folder / "embedded")
        embedded_with.setdefault(folder.name, set()).update(map(listed.get, wanted))
    unknown: dict[str, set[str]] = {}
    for name, library in (pair for libraries in configured for pair in libraries.items()):
        fingerprint = weights.fingerprint(weights.entry(library.backbone)) or library.backbone
        if not embedded_with.get(name, {None}) <= {fingerprint}:
            unknown.setdefault(fingerprint, set()).add(name)
    return Needs(
        {key: frozenset(names) for key, names in parts.items()},
        {key: tuple(sorted(names)) for key, names in unknown.items()},
    )


def unneeded(root: Path, needed: Needs, days: float) -> list[Removal]:
    """What at ``root`` no library refers to and no run has asked for within ``days``."""
    oldest = time.time() - days * 86_400
    return [_unneeded(folder, needed, oldest) for folder in _folders(root)]


def of_backbone(root: Path, name: str) -> list[Removal]:
    """Everything at ``root`` of the backbone ``name``, or with the fingerprint ``name``.

    Raises:
        ProbeError: the cache holds nothing of it.
    """
    known = weights.entries()
    fingerprint = weights.fingerprint(known[name]) if name in known else name
    for folder in _folders(root):
        if folder.name == fingerprint:
            paths = tuple(sorted(folder.glob(PARTS))) + tuple(_leftovers(folder))
            return [Removal(folder.name, paths, math.inf, _bytes(paths), {})]
    raise ProbeError(f"{root}: holds nothing of backbone {name}; `probe cache show` lists what")


def remove(root: Path, removals: Collection[Removal]) -> int:
    """Delete what ``removals`` name, and return the number of bytes.

    What a run has asked for in the meantime stays.

    Raises:
        ProbeError: a run is using the parts of a backbone; nothing of it has been deleted.
    """
    freed = 0
    for removal in removals:
        if not removal.paths:
            continue
        with _alone(root / removal.fingerprint):
            for path in removal.paths:
                state = _state(path)
                if state is not None and state.st_mtime < removal.used_before:
                    path.unlink()
                    freed += state.st_size
    return freed


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ProbeError(f"{root}: no such folder; name the cache with --cache")
    return sorted(folder for folder in root.iterdir() if folder.is_dir())


def _holding(folder: Path, backbone: str | None) -> Holding:
    paths = sorted(folder.glob(PARTS))
    ids, n_rows, n_atoms, n_unreadable = [], 0, 0, 0
    for path in paths:
        try:
            table = tables.read(path, schemas.embeddings(()), ["conformer_id", "n_atoms"])
        except ProbeError:
            n_unreadable += 1
            continue
        ids.append(table["conformer_id"].combine_chunks())
        n_rows += table.num_rows
        n_atoms += pc.sum(table["n_atoms"]).as_py() or 0
    different = pc.count_distinct(pa.chunked_array(ids, pa.string())).as_py()
    leftovers = len(_leftovers(folder))
    sizes = _bytes(paths)
    duplicates = n_rows - different
    counts = (len(paths), different, duplicates, n_atoms, sizes, n_unreadable, leftovers)
    return Holding(folder.name, backbone, *counts)


def _width(folder: Path) -> int:
    """Numbers of an atom's embedding that most of the parts in ``folder`` state; 0 if none do."""
    found: Counter[int] = Counter()
    for path in folder.glob(PARTS):
        try:
            found[int(tables.provenance(path).get("embedding_dim", 0))] += 1
        except (ProbeError, ValueError, TypeError):
            continue  # the check of the part itself says what is wrong with it
    return found.most_common(1)[0][0] if found else 0


def _fault(cache: Cache, path: Path) -> str | None:
    """What is wrong with the part ``path`` of ``cache``, None if nothing is."""
    table = cache.check(path, None)
    if isinstance(table, str):
        return table
    ids = table["conformer_id"].to_pylist()
    atoms = table["n_atoms"].to_numpy()
    lengths = {name: pc.binary_length(table[name]).to_numpy() for name in ("charges", "embedding")}
    checks = (
        ("nothing in it", bool(ids)),
        ("a value is missing", not any(column.null_count for column in table.columns)),
        ("a conformer is in it twice", len(set(ids)) == len(ids)),
        ("its name is not that of its ids", part_name([str(name) for name in ids]) == path.name),
        ("a conformer without atoms", bool((atoms > 0).all())),
        (
            "an embedding is not as long as its atoms",
            np.array_equal(lengths["embedding"], 2 * cache.embedding_dim * atoms),
        ),
        (
            "charges are not as many as the atoms",
            np.array_equal(lengths["charges"], 4 * atoms) or not lengths["charges"].any(),
        ),
        ("a number in it is not finite", _is_finite(table)),
    )
    wrong = next((what for what, holds in checks if not holds), None)
    return None if wrong is None else f"is damaged ({wrong})"


def _is_finite(table: pa.Table) -> bool:
    """Whether every energy, charge and feature is a number, as far as the lengths allow to say."""
    terms = table["energy_terms_ev"].combine_chunks().flatten()
    energies = [table["energy_ev"].to_numpy(), *(term.to_numpy() for term in terms)]
    rows = [
        np.frombuffer(value[: len(value) // width * width], dtype)
        for name, dtype, width in (("charges", "<f4", 4), ("embedding", "<f2", 2))
        for value in table[name].drop_null().to_pylist()
    ]
    return all(bool(np.isfinite(values).all()) for values in (*energies, *rows))


def _unneeded(folder: Path, needed: Needs, oldest: float) -> Removal:
    names = needed.parts.get(folder.name, frozenset())
    waiting = needed.unknown.get(folder.name, ())
    free, kept = [], Counter[str]()
    for path in sorted(folder.glob(PARTS)):
        if path.name in names:
            kept["referred to"] += 1
        elif waiting:
            kept[f"{', '.join(waiting)} not screened in full"] += 1
        elif not _is_older(path, oldest):
            kept["used lately"] += 1
        else:
            free.append(path)
    free += [path for path in _leftovers(folder) if _is_older(path, oldest)]
    return Removal(folder.name, tuple(free), oldest, _bytes(free), dict(kept))


def _leftovers(folder: Path) -> list[Path]:
    return sorted(path for pattern in LEFTOVERS for path in folder.glob(pattern))


def _is_older(path: Path, time_: float) -> bool:
    state = _state(path)
    return state is not None and state.st_mtime < time_


def _bytes(paths: Iterable[Path]) -> int:
    return sum(state.st_size for state in map(_state, paths) if state is not None)


def _state(path: Path) -> os.stat_result | None:
    """Of ``path``, None if another run has just moved or removed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder`` that excludes every run.

    Raises:
        ProbeError: a run holds it, or the file system knows no locks.
    """
    with (folder / LOCK).open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ProbeError(f"{folder}: a screening is using it; prune when it is done") from error
        except OSError as error:
            raise ProbeError(
                f"{folder}: cannot be locked ({error.strerror}), so nothing tells whether a "
                "screening is using it; nothing was removed"
            ) from error
        yield
