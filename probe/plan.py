"""Plan of a library: how many records it holds and which shard reads which of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probe import records, tables
from probe.errors import ProbeError


@dataclass(frozen=True)
class Shard:
    """A run of records that one job reads."""

    first: int
    """Number of records before it."""
    count: int
    offset: int | None
    """Byte where its first record begins; None where it cannot be sought (.gz, Parquet, empty)."""


@dataclass(frozen=True)
class Plan:
    """What a library file held when it was counted."""

    library: str
    path: str
    format: str
    n_records: int
    shard_size: int
    shards: tuple[Shard, ...]
    size: int
    """Bytes of the file; with ``mtime_ns`` it tells whether the file is still the one counted."""
    mtime_ns: int

    def files(self, folder: Path) -> list[Path]:
        """The shards' tables in ``folder``, in order."""
        return [folder / f"{name}.parquet" for name in self.names()]

    def names(self) -> list[str]:
        """The shards' names: five digits or more."""
        return [f"{index:05d}" for index in range(len(self.shards))]


def current(library: str, path: Path, shard_size: int, out: Path) -> Plan:
    """The plan stored in ``out`` if it still describes ``path``; else a new one, stored there.

    An empty library has one shard of no records, so that it too ends in a report.

    Raises:
        ProbeError: the library cannot be read, or its format is unknown.
    """
    size, mtime_ns = _state(path)
    stored = _stored(out)
    asked = (library, str(path), shard_size, size, mtime_ns)
    if stored is not None and asked == _identity(stored):
        return stored
    n_records, shards = _count(path, shard_size)
    kind = records.format_of(path)
    plan = Plan(library, str(path), kind, n_records, shard_size, shards, size, mtime_ns)
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


def check(plan: Plan) -> None:
    """Make sure that the library file is the one that was counted.

    Raises:
        ProbeError: the file is gone or has changed since.
    """
    if _state(Path(plan.path)) != (plan.size, plan.mtime_ns):
        raise ProbeError(f"{plan.path}: the file changed after it was counted; plan it again")


def _stored(out: Path) -> Plan | None:
    """The plan in ``out``; None if there is none or it is damaged, as it can be made again."""
    try:
        return load(out)
    except ProbeError:
        return None


def _parse(record: Mapping[str, Any]) -> Plan:
    shards = tuple(Shard(**shard) for shard in record["shards"])
    return Plan(**{**record, "shards": shards})


def _identity(plan: Plan) -> tuple[str, str, int, int, int]:
    return plan.library, plan.path, plan.shard_size, plan.size, plan.mtime_ns


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise ProbeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return state.st_size, state.st_mtime_ns


def _count(path: Path, shard_size: int) -> tuple[int, tuple[Shard, ...]]:
    """Number of records of ``path``, and its shards."""
    offsets: list[int | None] = []
    if records.format_of(path) == records.PARQUET:
        n_records = records.n_rows(path)
    else:
        n_records = 0
        for offset, _ in records.texts(path):
            if n_records % shard_size == 0:
                offsets.append(None if records.is_compressed(path) else offset)
            n_records += 1
    firsts = range(0, max(n_records, 1), shard_size)
    offsets = offsets or [None] * len(firsts)
    return n_records, tuple(
        Shard(first, min(shard_size, n_records - first), offset)
        for first, offset in zip(firsts, offsets, strict=True)
    )
