"""Records of the LoQI release of ChEMBL3D: PyTorch-Geometric graphs, collated, in a .pt file.

Such a file is a pickle. It is read by torch's restricted unpickler alone: the classes that the
release is made of are replaced by containers of this module, and a file that asks for any other is
refused, trusted or not. Neither PyTorch-Geometric nor RDKit is run on what it holds.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probe import tables
from probe.errors import ProbeError

ELEMENTS = np.array([1, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 33, 35, 53, 80, 83, 34])
"""Atomic numbers by the codes of the release (its ``x``)."""

NAMES = ("chemblid", "mol_id", "name")
"""Attributes that may hold a molecule's name, in this order."""


class _Container:
    """Keeps what the pickle says that an object holds."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.state = state


class _Store(_Container):
    pass


class _Dropped:
    """Stands for objects that are not needed, such as the molecules of RDKit."""

    def __init__(self, *content: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Molecule(_Dropped):
    pass


class _EdgeAttribute(_Dropped):
    pass


class _TensorAttribute(_Dropped):
    pass


ALLOWED: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Container, "torch_geometric.data.data.Data"),
    (_Store, "torch_geometric.data.storage.GlobalStorage"),
    (_EdgeAttribute, "torch_geometric.data.data.DataEdgeAttr"),
    (_TensorAttribute, "torch_geometric.data.data.DataTensorAttr"),
    (_Molecule, "rdkit.Chem.rdchem.Mol"),
]
"""All that a pickle may name beside torch's own tensors, and what is made instead of it."""


def n_rows(path: Path) -> int:
    """Number of molecules in ``path``.

    Raises:
        ProbeError: the file cannot be read, asks for code, or is not laid out as the release.
    """
    return len(_loaded(path)[1]) - 1


def rows(path: Path, first: int, count: int) -> Iterator[dict[str, Any]]:
    """Molecules ``first`` (counted from 0) to ``first + count``, as rows of Parquet are.

    Raises:
        ProbeError: as ``n_rows``.
    """
    held, ends = _loaded(path)
    names: list[object] = next((held[key] for key in NAMES if key in held), [])
    for index in range(first, min(first + count, len(ends) - 1)):
        atoms = slice(ends[index], ends[index + 1])
        codes = held["x"][atoms].numpy().astype(np.int64)
        known = (codes >= 0) & (codes < len(ELEMENTS))
        yield {
            "numbers": np.where(known, ELEMENTS[np.where(known, codes, 0)], 0),
            "positions": held["pos"][atoms].numpy(),
            "charge": int(held["charges"][atoms].sum()),
            "smiles": str(held["smiles"][index]),
            "molecule_id": str(names[index]) if names else "",
        }


def _loaded(path: Path) -> tuple[Mapping[str, Any], list[int]]:
    """What ``path`` holds, and where the atoms of each molecule begin (and the last ends)."""
    content = _unpickled(path)
    try:
        data, slices = content
        held = data.state["_store"].state["_mapping"]
        ends = slices["pos"].tolist()
        sizes = {len(held[key]) for key in ("x", "pos", "charges")}
        texts = {len(held[key]) for key in ("smiles", *NAMES) if key in held}
        shapes = [tuple(held[key].shape[1:]) for key in ("x", "pos", "charges")]
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ProbeError(
            f"{path}: not laid out as the LoQI release, which holds collated graphs with x, pos, "
            "charges and smiles, and slices; export it as Parquet or SDF"
        ) from error
    agree = sizes == {ends[-1]} and texts == {len(ends) - 1} and shapes == [(), (3,), ()]
    if not agree or ends[0] != 0 or np.any(np.diff(ends) < 0):
        raise ProbeError(f"{path}: its atoms and its slices do not agree; copy it again")
    return held, ends


def _unpickled(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise ProbeError(f"{path}: no such file") from error
    except Exception as error:  # whatever a stranger's file makes of the unpickler
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else tables.first_line(error)
        raise ProbeError(
            f"{path}: not a .pt file of the LoQI release ({reason}); export it as Parquet or SDF"
        ) from error
