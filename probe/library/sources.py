"""Files of a library: the one that is named, those of a folder, or those that match a pattern."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from probe.errors import ProbeError
from probe.library import formats

Found = list[tuple[Path, str]]
"""Files in order, and how a record's source names each of them."""


def find(path: Path) -> tuple[Found, list[str]]:
    """Files of the library ``path``, and names of those in its folder that are of no known format.

    A folder is searched with all folders in it; what begins with a dot is left out. Files are in
    the order of their names, which are relative to the folder, or to the part of a pattern that
    has no wildcard. A file whose own name looks like a pattern is that file.

    Raises:
        ProbeError: there is no such file, or none of a known format in the folder.
    """
    if path.is_dir():
        return _in_folder(path)
    if path.exists() or not is_pattern(path):
        return [(path, path.name)], []
    root = _fixed_part(path)
    matches = sorted(root.glob(path.relative_to(root).as_posix()))
    named = [(match, match.relative_to(root)) for match in matches if match.is_file()]
    files = [(match, name.as_posix()) for match, name in named if not _is_hidden(name)]
    if not files:
        raise ProbeError(f"{path}: no file matches this pattern")
    return files, []


def is_pattern(path: Path) -> bool:
    """Whether ``path`` has a wildcard: ``*``, ``?`` or ``[``."""
    return glob.has_magic(str(path))


def _in_folder(folder: Path) -> tuple[Found, list[str]]:
    files = [(file, file.relative_to(folder).as_posix()) for file in sorted(_walk(folder))]
    known = [(file, name) for file, name in files if formats.is_known(file)]
    if not known:
        suffixes = " ".join(formats.SUFFIXES)
        raise ProbeError(f"{folder}: no library file in this folder; known are {suffixes}")
    return known, [name for file, name in files if not formats.is_known(file)]


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _fixed_part(pattern: Path) -> Path:
    """The folder above the first part of ``pattern`` that has a wildcard."""
    fixed = Path(pattern.anchor)
    for part in pattern.parts[len(fixed.parts) :]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed
