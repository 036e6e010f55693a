"""Plan of a library: how many records it holds and which shard reads which of them."""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probe import tables
from probe.errors import ProbeError
from probe.library import records, sources

NAMED = 10
"""Files without records that a warning names."""


@dataclass(frozen=True)
class Source:
    """A file of a library as it was when its records were counted."""

    path: str
    name: str
    """What sources of records call it."""
    n_records: int
    size: int
    """Bytes; with ``mtime_ns`` they tell whether the file is still the one counted."""
    mtime_ns: int


@dataclass(frozen=True)
class Shard:
    """A run of records that one job reads, through one file or several."""

    first: int
    """Number of records before it, of all files."""
    count: int
    offset: int | None
    """Byte where its first record begins; None where it cannot be sought (compressed, not text)."""


@dataclass(frozen=True)
class Part:
    """What a shard reads of one file."""

    source: Source
    first: int
    """Number of records before it in the file."""
    count: int
    offset: int | None


@dataclass(frozen=True)
class Plan:
    """What the files of a library held when they were counted."""

    library: str
    path: str
    """As it was given: a file, a folder or a pattern."""
    n_records: int
    shard_size: int
    shards: tuple[Shard, ...]
    sources: tuple[Source, ...]
    ignored: tuple[str, ...]
    """Files in the folder that are of no known format."""

    def files(self, folder: Path) -> list[Path]:
        """The shards' tables in ``folder``, in order."""
        return [folder / f"{name}.parquet" for name in self.names()]

    def names(self) -> list[str]:
        """The shards' names: five digits or more."""
        return [f"{index:05d}" for index in range(len(self.shards))]

    def warning(self) -> str | None:
        """Which files hold no records, and what to do; None where every file holds some."""
        empty = [source.path for source in self.sources if not source.n_records]
        if not empty:
            return None
        names = ", ".join(empty[:NAMED]) + (", …" if len(empty) > NAMED else "")
        return (
            f"{names}: no records there; if there should be any, write the file again and repeat "
            "the command"
        )

    def parts(self, shard: int) -> list[Part]:
        """What ``shard`` reads, file by file; of an empty library, nothing of its first file."""
        return list(self._parts(self.shards[shard]))

    def _parts(self, shard: Shard) -> Iterator[Part]:
        begins = list(itertools.accumulate((s.n_records for s in self.sources), initial=0))
        if not shard.count:
            yield Part(self.sources[0], 0, 0, None)
        first, left, offset = shard.first, shard.count, shard.offset
        while left:
            index = bisect_right(begins, first) - 1
            source, inside = self.sources[index], first - begins[index]
            count = min(left, source.n_records - inside)
            yield Part(source, inside, count, offset)
            first, left, offset = first + count, left - count, None


def current(
    library: str, path: Path, shard_size: int, out: Path, *, pickles: str = "refuse"
) -> Plan:
    """The plan stored in ``out`` if it still describes ``path``; else a new one, stored there.

    An empty library has one shard of no records, so that it too ends in a report.

    Raises:
        ProbeError: the library cannot be read, or its format is unknown, or it holds a pickle
            and ``pickles`` is not "trust".
    """
    files, ignored = sources.find(path)
    for file, _ in files:
        records.require_trust(file, pickles)
    states = [(str(file), name, *_state(file)) for file, name in files]
    stored = _stored(out)
    if stored is not None and _identity(stored) == (library, str(path), shard_size, states):
        return stored
    plan = _made(library, path, shard_size, states, ignored)
    tables.write_json(out, asdict(plan))
    return plan


def load(out: Path) -> Plan:
    """The plan stored in ``out``.

    Raises:
        ProbeError: the file is missing or holds no plan.
    """
    record = tables.read_json(out)
    try:
        return _parse(record)
    except (KeyError, TypeError) as error:
        raise ProbeError(f"{out}: not a plan of a library; delete it and plan again") from error


def check(sources: Iterable[Source]) -> None:
    """Make sure that ``sources`` are the files that were counted.

    Raises:
        ProbeError: one is gone or has changed since.
    """
    for source in sources:
        if _state(Path(source.path)) != (source.size, source.mtime_ns):
            raise ProbeError(f"{source.path}: the file changed after it was counted; plan it again")


def _stored(out: Path) -> Plan | None:
    """The plan in ``out``; None if there is none or it is damaged, as it can be made again."""
    try:
        return load(out)
    except ProbeError:
        return None


def _parse(record: Mapping[str, Any]) -> Plan:
    known = {
        "shards": tuple(Shard(**shard) for shard in record["shards"]),
        "sources": tuple(Source(**source) for source in record["sources"]),
        "ignored": tuple(record["ignored"]),
    }
    return Plan(**{**record, **known})


State = tuple[str, str, int, int]
"""Path, name, size and time of change of a file."""


def _identity(plan: Plan) -> tuple[str, str, int, list[State]]:
    states = [(file.path, file.name, file.size, file.mtime_ns) for file in plan.sources]
    return plan.library, plan.path, plan.shard_size, states


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise ProbeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return state.st_size, state.st_mtime_ns


def _made(
    library: str, path: Path, shard_size: int, states: list[State], ignored: list[str]
) -> Plan:
    found: list[Source] = []
    offsets: dict[int, int] = {}
    n_records = 0
    for file, name, size, mtime_ns in states:
        skipped = -n_records % shard_size
        count, begins = records.count(Path(file), shard_size, skipped)
        offsets |= {n_records + skipped + i * shard_size: at for i, at in enumerate(begins)}
        found.append(Source(file, name, count, size, mtime_ns))
        n_records += count
    shards = tuple(
        Shard(first, min(shard_size, n_records - first), offsets.get(first))
        for first in range(0, max(n_records, 1), shard_size)
    )
    return Plan(library, str(path), n_records, shard_size, shards, tuple(found), tuple(ignored))
