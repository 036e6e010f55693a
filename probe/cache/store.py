"""The content-addressed store of backbone energies and embeddings.

A folder holds one backbone's answers, ``<root>/<fingerprint>/part-*.parquet``. Parts are only
ever added, each complete or not at all, so any number of runs may share a cache. What nobody
needs any more is removed by ``probe cache prune`` alone (probe.cache.upkeep): a part's time says
when it was last asked for, and a lock that a run is using the folder.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from probe import schemas, tables
from probe.errors import ProbeError

LOCK = ".in-use"
"""File of a folder that runs hold a shared lock on; who removes parts needs it alone."""

PART_BYTES = 64 * 2**20
"""Embeddings in a part: one row group, read at once, and the most that a kill can lose."""


class PartLostError(ProbeError):
    """A part of the cache is gone, damaged or not what it was."""


@dataclass(frozen=True)
class Cached:
    """One conformer's entry: ``embedding`` [N, D] float16, ``charges`` [N] float32 or None."""

    conformer_id: str
    energy_ev: float
    terms_ev: dict[str, float]
    charges: NDArray[np.float32] | None
    embedding: NDArray[np.float16]


class Cache:
    """The parts of one backbone below ``root``."""

    def __init__(self, root: Path, fingerprint: str, embedding_dim: int) -> None:
        self.folder = root / fingerprint
        self.fingerprint = fingerprint
        self.embedding_dim = embedding_dim

    def locate(self, conformer_ids: pl.Series) -> pl.DataFrame:
        """Columns conformer_id and part, for those of ``conformer_ids`` that are here.

        Every part is checked on the way, and read in full where it holds something wanted; a
        damaged or foreign one is set aside. Those that hold something wanted are as if written
        now.
        """
        wanted = pl.DataFrame({"conformer_id": conformer_ids.unique()})
        found = [pl.DataFrame(schema={"conformer_id": pl.String, "part": pl.String})]
        for path in sorted(self.folder.glob("part-*.parquet")):
            table = self._read(path, ["conformer_id"])
            if table is not None:
                ids = pl.DataFrame({"conformer_id": table["conformer_id"].to_pylist()})
                here = wanted.join(ids, on="conformer_id", how="semi")
                if here.height and self._read(path, None) is not None:
                    found.append(here.with_columns(part=pl.lit(path.name)))
                    _touch(path)
        return pl.concat(found).unique("conformer_id", keep="first", maintain_order=True)

    def add(self, rows: Sequence[Cached]) -> str:
        """Write ``rows`` as one part and return its name.

        The name is a hash of the ids, so two runs that compute the same rows write one part.
        """
        if not rows:
            raise ValueError("a part holds at least one conformer")
        schema = schemas.embeddings(tuple(rows[0].terms_ev))
        ids = [row.conformer_id for row in rows]
        name = part_name(ids)
        table = pa.Table.from_arrays(
            [
                pa.array(ids),
                pa.array([len(row.embedding) for row in rows], pa.int32()),
                pa.array([row.energy_ev for row in rows], pa.float64()),
                pa.array([row.terms_ev for row in rows], schema.field("energy_terms_ev").type),
                pa.array([_bytes(row.charges, "<f4") for row in rows], pa.binary()),
                pa.array([_bytes(row.embedding, "<f2") for row in rows], pa.binary()),
            ],
            schema=tables.with_provenance(
                schema, self._identity() | {"terms": list(rows[0].terms_ev)}
            ),
        )
        tables.atomically(
            self.folder / name,
            lambda handle: pq.write_table(
                table,
                handle,
                row_group_size=len(rows),
                compression="none",  # zstd: 11 % smaller on these features, and slower to read
                use_dictionary=False,
                write_page_checksum=True,
            ),
        )
        return name

    def read(self, part: str) -> pl.DataFrame:
        """All columns of ``part``.

        Raises:
            PartLostError: the part is gone or damaged; a damaged one has been set aside.
        """
        path = self.folder / part
        table = self._read(path, None) if path.exists() else None
        if table is None:
            raise PartLostError(f"{path}: this part of the cache is gone or damaged")
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        return frame

    def entries(self, part: str) -> Iterator[Cached]:
        """The rows of ``part``, arrays as views of what was read."""
        for row in self.read(part).iter_rows(named=True):
            charges = np.frombuffer(row["charges"], dtype="<f4")
            yield Cached(
                conformer_id=row["conformer_id"],
                energy_ev=row["energy_ev"],
                terms_ev=row["energy_terms_ev"],
                charges=charges if len(charges) else None,
                embedding=np.frombuffer(row["embedding"], dtype="<f2").reshape(
                    row["n_atoms"], self.embedding_dim
                ),
            )

    def _identity(self) -> dict[str, object]:
        return {"fingerprint": self.fingerprint, "embedding_dim": self.embedding_dim}

    def check(self, path: Path, columns: list[str] | None) -> pa.Table | str:
        """``columns`` (all if None) of ``path``, or what keeps it from being a part of this cache.

        Raises:
            FileNotFoundError: another run has set it aside.
            ProbeError: it is there and cannot be read.
        """
        try:
            file = pq.ParquetFile(path, page_checksum_verification=True)
            record = json.loads((file.schema_arrow.metadata or {}).get(tables.PROVENANCE_KEY, "{}"))
            if any(record.get(key) != value for key, value in self._identity().items()):
                return "is not of this backbone"
            if not _has_schema(file.schema_arrow, record):
                return "is damaged (other columns than a part's)"
            table = file.read(columns=columns)
            if table.num_rows != file.metadata.num_rows or any(c.null_count for c in table.columns):
                return "is damaged (a value is missing)"
            return table.replace_schema_metadata(None)
        except (FileNotFoundError, pa.ArrowMemoryError):
            raise  # neither says anything about the part
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise ProbeError(f"{path}: cannot read it ({error.strerror})") from error
            return f"is damaged ({tables.first_line(error)})"

    def _read(self, path: Path, columns: list[str] | None) -> pa.Table | None:
        """``path``, or None after setting it aside because it is not a whole part of this cache."""
        try:
            found = self.check(path, columns)
        except FileNotFoundError:
            return None
        if not isinstance(found, str):
            return found
        self.set_aside(path, found)
        return None

    def set_aside(self, path: Path, why: str) -> None:
        """Rename the part ``path``, so that nothing reads it and what it held is computed again.

        Raises:
            ProbeError: it cannot be renamed.
        """
        aside = path.with_suffix(".damaged")
        print(f"cache: {path} {why}; set aside as {aside.name}", file=sys.stderr)
        try:
            path.replace(aside)
        except FileNotFoundError:
            return  # another run was quicker
        except OSError as error:
            raise ProbeError(f"{path} {why} and cannot be moved ({error.strerror})") from error


def part_name(conformer_ids: Sequence[str]) -> str:
    """The file name of the part that holds ``conformer_ids``, in this order."""
    return f"part-{hashlib.sha256(''.join(conformer_ids).encode()).hexdigest()[:16]}.parquet"


@contextlib.contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Keep the parts in ``folder`` from being removed; any number of runs may.

    Where the folder cannot be written to or knows no locks, nothing is kept.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a cache that is read-only or lies on such a system
            handle = stack.enter_context((folder / LOCK).open("a+"))  # NFS reads to share a lock
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def _has_schema(found: pa.Schema, record: Mapping[str, object]) -> bool:
    """Whether ``found`` is the schema of a part. No checksum guards names and types of columns."""
    if found.names != schemas.embeddings(()).names:
        return False
    terms = found.field("energy_terms_ev").type
    names = [field.name for field in terms] if pa.types.is_struct(terms) else []
    return found.equals(schemas.embeddings(names)) and record.get("terms", names) == names


def _touch(path: Path) -> None:
    """Let the time of ``path`` say that it was asked for."""
    with contextlib.suppress(OSError):  # another one's part, or set aside by another run
        os.utime(path)


def _bytes(values: NDArray[np.floating] | None, dtype: str) -> bytes:
    return b"" if values is None else np.ascontiguousarray(values, dtype=dtype).tobytes()
