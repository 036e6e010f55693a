"""Formats of library files, known by their names."""

import difflib
from pathlib import Path, PurePath

from probe.errors import ProbeError

SMILES, CSV, TSV, SDF, XYZ = "smiles", "csv", "tsv", "sdf", "xyz"
PARQUET, HDF5, GRAPHS = "parquet", "hdf5", "graphs"

SUFFIXES = {
    ".smi": SMILES,
    ".smiles": SMILES,
    ".txt": SMILES,
    ".csv": CSV,
    ".tsv": TSV,
    ".sdf": SDF,
    ".sd": SDF,
    ".mol": SDF,
    ".xyz": XYZ,
    ".extxyz": XYZ,
    ".parquet": PARQUET,
    ".h5": HDF5,
    ".hdf5": HDF5,
    ".pt": GRAPHS,
}
"""Formats by suffix; the text formats may be followed by .gz or .zst."""

TEXTS = (SMILES, CSV, TSV, SDF, XYZ)
GZIP, ZSTD = ".gz", ".zst"


def format_of(path: PurePath) -> str:
    """The format that the suffix of ``path`` stands for.

    Raises:
        ProbeError: the suffix is unknown, or a format that is not text is compressed.
    """
    suffix = Path(_uncompressed_name(path)).suffix.lower()
    kind = SUFFIXES.get(suffix)
    if kind is not None and kind not in TEXTS and compression(path):
        raise ProbeError(
            f"{path}: only text formats are read compressed; unpack it and give the {suffix}"
        )
    if kind is not None:
        return kind
    near = difflib.get_close_matches(suffix, SUFFIXES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ProbeError(
        f"{path}: unknown suffix {suffix or '(none)'}; {hint}known are {' '.join(SUFFIXES)}, "
        "the text formats also followed by .gz or .zst"
    )


def is_known(path: PurePath) -> bool:
    """Whether the suffix of ``path`` stands for a format."""
    return Path(_uncompressed_name(path)).suffix.lower() in SUFFIXES


def stem(path: PurePath) -> str:
    """Name of ``path`` without .gz or .zst and the suffix of its format."""
    return Path(_uncompressed_name(path)).stem


def compression(path: PurePath) -> str:
    """GZIP or ZSTD as the name of ``path`` says; empty if it is not compressed."""
    suffix = path.suffix.lower()
    return suffix if suffix in (GZIP, ZSTD) else ""


def _uncompressed_name(path: PurePath) -> str:
    return path.stem if compression(path) else path.name
