"""Records of AIMNet's training format: an HDF5 file with a group for each atom count.

A group of B conformers of N atoms holds coord [B, N, 3] in Å, numbers [B, N] and charge [B], and
may hold mult [B] (2S + 1), SMILES and names. Energies and forces in it are left alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from probe import tables
from probe.errors import ProbeError

REQUIRED = ("coord", "numbers", "charge")
"""Datasets that every group must have."""

MULTIPLICITIES = ("mult", "multiplicity")
NAMES = ("molecule_id", "mol_id", "name", "names", "ids", "id")
"""Datasets of a group that are read where they exist, the first of each."""

CHUNK = 1000
"""Conformers that are read at once."""

Arrays = dict[str, NDArray[Any]]


def n_rows(path: Path) -> int:
    """Number of conformers in ``path``, whose groups are checked.

    Raises:
        ProbeError: the file cannot be read, or a group lacks a dataset or has one that does not
            fit the others.
    """
    with _opened(path) as file:
        return sum(len(group["coord"]) for group in _groups(path, file))


def rows(path: Path, first: int, count: int) -> Iterator[dict[str, Any]]:
    """Conformers ``first`` (counted from 0) to ``first + count``, as rows of Parquet are.

    They are counted through the groups in the order of their names.

    Raises:
        ProbeError: as ``n_rows``.
    """
    begin, end = 0, first + count
    with _opened(path) as file:
        for group in _groups(path, file):
            size = len(group["coord"])
            low, high = max(first - begin, 0), min(end - begin, size)
            for start in range(low, high, CHUNK):
                yield from _read(group, start, min(start + CHUNK, high))
            begin += size


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError as error:
        raise ProbeError(f"{path}: no such file") from error
    except (OSError, RuntimeError, KeyError) as error:  # what HDF5 raises for a damaged file
        reason = tables.first_line(error)
        raise ProbeError(f"{path}: not a readable HDF5 file ({reason}); copy it again") from error


def _groups(path: Path, file: h5py.File) -> list[h5py.Group]:
    """The groups that hold conformers, checked."""
    groups = [file[name] for name in sorted(file)]
    for group in groups:
        problem = _problem(group)
        if problem:
            raise ProbeError(
                f"{path}: {group.name} {problem}; AIMNet's format has groups by atom count with "
                f"{', '.join(REQUIRED)}"
            )
    return groups


def _problem(group: h5py.Group | h5py.Dataset) -> str:
    if not isinstance(group, h5py.Group):
        return "is a dataset outside of a group"
    missing = [name for name in REQUIRED if not isinstance(group.get(name), h5py.Dataset)]
    if missing:
        return f"has no dataset {', '.join(missing)}"
    shape = group["coord"].shape
    if len(shape) != 3 or shape[2] != 3:
        return f"has coord of shape {shape}, not [conformers, atoms, 3]"
    if group["numbers"].shape != shape[:2]:
        return f"has numbers of shape {group['numbers'].shape} beside coord of shape {shape}"
    for name in _columns(group):
        if group[name].shape != shape[:1]:
            return f"has {name} of shape {group[name].shape} for {shape[0]} conformers"
    return ""


def _columns(group: h5py.Group) -> dict[str, str]:
    """Datasets with one value a conformer, and what a row calls them."""
    wanted = {
        "charge": ("charge",),
        "multiplicity": MULTIPLICITIES,
        "smiles": ("smiles",),
        "molecule_id": NAMES,
    }
    found = {
        column: next((name for name in names if name in group), None)
        for column, names in wanted.items()
    }
    return {name: column for column, name in found.items() if name is not None}


def _read(group: h5py.Group, start: int, stop: int) -> Iterator[dict[str, Any]]:
    numbers, positions = group["numbers"][start:stop], group["coord"][start:stop]
    columns = {column: group[name][start:stop] for name, column in _columns(group).items()}
    for index in range(stop - start):
        values = {column: _plain(array[index]) for column, array in columns.items()}
        yield {"numbers": numbers[index], "positions": positions[index], **values}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a dataset holds
    if isinstance(value, bytes):
        return value.rstrip(b"\0").decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value
