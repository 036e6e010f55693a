"""Input decks for other programs: an archive for each shard, and a manifest of what is in them."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from probe import schemas, tables
from probe.dft import methods, recompute, scf
from probe.dft.methods import B97_3C, WB97M_D3, Method
from probe.errors import ProbeError

ORCA = {
    B97_3C.name: "B97-3c TightSCF",
    WB97M_D3.name: "wB97M-D3BJ def2-TZVPP def2/J RIJCOSX TightSCF",
}
PSI4 = {B97_3C.name: "b97-3c", WB97M_D3.name: "wb97m-d3bj/def2-tzvpp"}
SUFFIXES = {"orca": "inp", "psi4": "dat", "gaussian": "gjf"}
ARCHIVES = (".tar.gz", ".zip")

Deck = Callable[[Mapping[str, Any], Method, str | None], str]
"""Writes the deck of a conformer; the text is the route of a program that needs one."""


def export(
    folder: Path, program: str, out: Path, route: str | None = None
) -> tuple[int, list[Path]]:
    """Write decks of every shard of ``folder``'s plan, and a manifest (``schemas.MANIFEST``).

    ``out`` is a .tar.gz or .zip; the archive of shard k has -k before that suffix, the manifest
    beside them ends in .manifest.parquet. What no deck can be made of is in the manifest without
    one. Returns the number of decks, and the archives.

    Raises:
        ProbeError: the suffix is unknown, Gaussian is given no route, another program one, or
            nothing is planned.
    """
    suffix = next((known for known in ARCHIVES if out.name.endswith(known)), None)
    if suffix is None:
        raise ProbeError(f"{out}: unknown kind of archive; known are {' '.join(ARCHIVES)}")
    if (route is None) == (program == "gaussian"):
        raise ProbeError(
            "Gaussian has neither B97-3c nor wB97M-D3(BJ); state a level with --gaussian-route, "
            "as in --gaussian-route '#P B97D3/def2TZVP'"
            if route is None
            else f"{program} decks are of the backbone's method; leave --gaussian-route out"
        )
    plan, record = recompute.planned(folder)
    method = methods.named(record["method"])
    stem = out.name.removesuffix(suffix)
    chosen = plan.filter(pl.col("shard").is_not_null())
    manifest, archives = [], []
    for shard, rows in sorted(chosen.partition_by("shard", as_dict=True).items()):
        archive = out.with_name(f"{stem}-{shard[0]:05d}{suffix}")
        entries = [_entry(row, program, method, archive.name, route) for row in rows.to_dicts()]
        decks = {
            entry["deck"]: DECKS[program](row, method, route)
            for entry, row in zip(entries, rows.to_dicts(), strict=True)
            if entry["deck"]
        }
        tables.atomically(archive, partial(PACKERS[suffix], decks))
        manifest += entries
        archives.append(archive)
    tables.write(out.with_name(f"{stem}.manifest.parquet"), manifest, schemas.MANIFEST, record)
    return sum(entry["deck"] is not None for entry in manifest), archives


def geometry_sha256(numbers: ArrayLike, positions: ArrayLike) -> str:
    """Digest of atoms [N] at coordinates [N, 3] or [3N] Å, which are rounded to 1e-4 Å."""
    atoms: NDArray[np.int64] = np.asarray(numbers, dtype="<i8").ravel()
    units = np.rint(np.asarray(positions, dtype=np.float64).ravel() * 1e4).astype("<i8")
    return hashlib.sha256(atoms.tobytes() + units.tobytes()).hexdigest()


def _entry(
    row: Mapping[str, Any], program: str, method: Method, archive: str, route: str | None
) -> dict[str, Any]:
    problem = scf.wrong_spin(row["numbers"], row["charge"], row["multiplicity"])
    return {
        "conformer_id": row["conformer_id"],
        "program": program,
        "method": route or method.name,
        "charge": row["charge"],
        "multiplicity": row["multiplicity"],
        "numbers": row["numbers"],
        "geometry_sha256": geometry_sha256(row["numbers"], row["positions"]),
        "archive": None if problem else archive,
        "deck": None if problem else f"{row['conformer_id']}.{SUFFIXES[program]}",
    }


def _atoms(row: Mapping[str, Any]) -> str:
    positions = np.array(row["positions"]).reshape(-1, 3)
    return "\n".join(
        f"{chemical_symbols[number]:<2} {x:14.4f} {y:14.4f} {z:14.4f}"
        for number, (x, y, z) in zip(row["numbers"], positions, strict=True)
    )


def _orca(row: Mapping[str, Any], method: Method, _: str | None) -> str:
    shells = " UKS" if row["multiplicity"] != 1 else ""
    return (
        f"# {row['conformer_id']}\n! {ORCA[method.name]}{shells}\n"
        f"* xyz {row['charge']} {row['multiplicity']}\n{_atoms(row)}\n*\n"
    )


def _psi4(row: Mapping[str, Any], method: Method, _: str | None) -> str:
    reference = "uks" if row["multiplicity"] != 1 else "rks"
    return (
        f"# {row['conformer_id']}\nmolecule {{\n{row['charge']} {row['multiplicity']}\n"
        f"{_atoms(row)}\nunits angstrom\nno_reorient\nno_com\nsymmetry c1\n}}\n\n"
        f"set reference {reference}\nenergy('{PSI4[method.name]}')\n"
    )


def _gaussian(row: Mapping[str, Any], _: Method, route: str | None) -> str:
    return (
        f"{route} NoSymm\n\n{row['conformer_id']}\n\n"
        f"{row['charge']} {row['multiplicity']}\n{_atoms(row)}\n\n"
    )


DECKS: Mapping[str, Deck] = {"orca": _orca, "psi4": _psi4, "gaussian": _gaussian}


def _tar(decks: Mapping[str, str], handle: IO[bytes]) -> None:
    with tarfile.open(fileobj=handle, mode="w:gz") as archive:
        for name, text in decks.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


def _zip(decks: Mapping[str, str], handle: IO[bytes]) -> None:
    with zipfile.ZipFile(handle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in decks.items():
            archive.writestr(name, text)


PACKERS: Mapping[str, Callable[[Mapping[str, str], IO[bytes]], None]] = {
    ".tar.gz": _tar,
    ".zip": _zip,
}
