"""Conformers as files for the programs that label and train: one format for each suffix."""

import difflib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import ase
import h5py
import numpy as np
import polars as pl
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict, write_xyz

from probe import tables
from probe.errors import ProbeError
from probe.library.parser import tidy
from probe.triage import sdf

Writer = Callable[[pl.DataFrame, Path], None]
"""Writes rows (numbers, positions, molecule_id and ``sdf.PROPERTIES``) to a file, atomically."""


def writer_for(path: Path) -> Writer:
    """The writer of the format that the suffix of ``path`` stands for.

    Raises:
        ProbeError: the suffix is unknown.
    """
    suffix = path.suffix.lower()
    if suffix in WRITERS:
        return WRITERS[suffix]
    near = difflib.get_close_matches(suffix, WRITERS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ProbeError(
        f"{path}: unknown suffix {suffix or '(none)'}; {hint}known are {' '.join(WRITERS)}"
    )


def write_extended_xyz(rows: pl.DataFrame, path: Path) -> None:
    """Write ``rows`` as extended XYZ, a frame each, in order; coordinates in Å.

    Charge and multiplicity are in the info line under the names that readers know: ``charge``,
    ``spin`` and ``multiplicity``, both 2S + 1. Texts come back from ASE's reader as they are.
    """

    def fill(handle: IO[bytes]) -> None:
        text = io.TextIOWrapper(handle, encoding="utf-8", newline="\n")
        write_xyz(text, _frames(rows), columns=["symbols", "positions"])
        text.flush()
        text.detach()

    tables.atomically(path, fill)


def write_aimnet(rows: pl.DataFrame, path: Path) -> None:
    """Write ``rows`` as the HDF5 file that AIMNet is trained on, a group for each atom count.

    A group of B conformers of N atoms holds coord [B, N, 3] in Å, numbers [B, N], charge [B] and
    mult [B] (2S + 1), and to know them again conformer_id, molecule_id, smiles and p_unreliable
    [B]. Energies are what labelling adds.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        sizes: list[int] = rows["n_atoms"].unique().sort().to_list()
        for n_atoms in sizes:
            group = rows.filter(pl.col("n_atoms") == n_atoms)
            for name, values in _arrays(group, rows).items():
                file.create_dataset(f"{n_atoms:03d}/{name}", data=values)
    tables.atomically(path, lambda handle: handle.write(buffer.getbuffer()))


WRITERS: Mapping[str, Writer] = {
    ".extxyz": write_extended_xyz,
    ".xyz": write_extended_xyz,
    ".h5": write_aimnet,
    ".hdf5": write_aimnet,
    ".sdf": sdf.write,
}
"""Formats by suffix."""


def _frames(rows: pl.DataFrame) -> Iterator[ase.Atoms]:
    for row in rows.iter_rows(named=True):
        texts = {
            "name": row["molecule_id"],
            "smiles": row["smiles"],
            "conformer_id": row["conformer_id"],
        }
        numbers = {
            "charge": row["charge"],
            "spin": row["multiplicity"],
            "multiplicity": row["multiplicity"],
            "p_unreliable": row["p_unreliable"],
        }
        info = {key: _readable(tidy(text)) for key, text in texts.items() if text}
        info |= {key: value for key, value in numbers.items() if value is not None}
        positions = np.array(row["positions"]).reshape(-1, 3)
        yield ase.Atoms(numbers=row["numbers"], positions=positions, info=info)


def _readable(text: str) -> str:
    """``text`` so written that ASE reads it back.

    Its writer leaves backslashes alone, which its reader takes away, and hydrogen fluoride's
    SMILES, F, would come back as False.
    """
    escaped = text.replace("\\", "\\\\")
    if not text.startswith("_JSON "):
        written = key_val_dict_to_str({"text": escaped})  # type: ignore[no-untyped-call]
        found = key_val_str_to_dict(written)["text"]  # type: ignore[no-untyped-call]
        if isinstance(found, str) and found == text:
            return escaped
    return f"_JSON {json.dumps(text, ensure_ascii=False)}".replace("\\", "\\\\")


def _arrays(group: pl.DataFrame, rows: pl.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    """What a group of AIMNet's file holds; texts are as wide as the widest of all ``rows``."""
    n = group.height
    texts = {}
    for name in ("conformer_id", "molecule_id", "smiles"):
        width = max(len((text or "").encode()) for text in rows[name])
        texts[name] = np.array([(text or "").encode() for text in group[name]], dtype=f"S{width}")
    return {
        "coord": np.array(group["positions"].to_list(), dtype=np.float64).reshape(n, -1, 3),
        "numbers": np.array(group["numbers"].to_list(), dtype=np.int64),
        "charge": group["charge"].to_numpy().astype(np.float32),
        "mult": group["multiplicity"].to_numpy().astype(np.float32),
        "p_unreliable": group["p_unreliable"].to_numpy(),
        **texts,
    }
