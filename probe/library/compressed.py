"""Text files opened for reading, decompressed where their names say so."""

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from probe import tables
from probe.errors import ProbeError
from probe.library.formats import GZIP, ZSTD, compression

MARKS = {b"\x1f\x8b": GZIP, b"\x28\xb5\x2f\xfd": ZSTD}
"""How compressed content begins."""

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """``path`` opened for reading, decompressed, after its byte order mark.

    Raises:
        ProbeError: the file cannot be read, now or while it is, or is UTF-16, or is not compressed
            as its name says.
    """
    kind = compression(path)
    try:
        with _stream(path, kind) as handle:
            _skip_mark(path, handle)
            yield handle
    except EOFError as error:
        raise ProbeError(f"{path}: the gzip file is truncated; copy it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, kind, error) from error
    except OSError as error:
        if kind == ZSTD and error.errno is None:
            raise _damaged(path, kind, error) from error
        raise ProbeError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _stream(path: Path, kind: str) -> IO[bytes]:
    if kind == GZIP:
        return cast("IO[bytes]", gzip.open(path))
    if kind == ZSTD:
        with path.open("rb"):  # for a message of Python's own where that fails
            return io.BufferedReader(pa.input_stream(path, compression="zstd"))
    return path.open("rb")


def _skip_mark(path: Path, handle: IO[bytes]) -> None:
    """Go on after a byte order mark; refuse what another reader should have been chosen for."""
    mark = cast("io.BufferedReader", handle).peek(4)[:4]
    for start, suffix in MARKS.items():
        if mark.startswith(start):
            raise ProbeError(f"{path}: the content is compressed; add {suffix} to its name")
    if mark.startswith(UTF16):
        raise ProbeError(f"{path}: the text is UTF-16; save it as UTF-8")
    if mark.startswith(codecs.BOM_UTF8):
        handle.read(len(codecs.BOM_UTF8))


def _damaged(path: Path, kind: str, error: Exception) -> ProbeError:
    name = {GZIP: "gzip", ZSTD: "zstd"}[kind]
    reason = tables.first_line(error)
    return ProbeError(f"{path}: not a readable {name} file ({reason}); copy it again")
