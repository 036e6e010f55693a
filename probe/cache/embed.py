"""Backbone energies and embeddings of a shard of conformers, into the cache."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from probe import devices, schemas, tables
from probe.backbones import Backbone, Evaluation, Geometry, refusal
from probe.cache.packing import packs
from probe.cache.store import PART_BYTES, Cache, Cached, in_use
from probe.errors import is_out_of_memory
from probe.progress import Progress


@dataclass(frozen=True)
class Embedding:
    """What embedding a shard came to; ``n_computed`` is zero when the cache held it all."""

    n_conformers: int
    n_cached: int
    n_computed: int
    n_refused: int


def embed_shard(
    conformers: Path, backbone: Backbone, cache_root: Path, out: Path, batch_atoms: int | None
) -> Embedding:
    """Make sure that the cache holds every conformer of ``conformers``; list where in ``out``.

    Conformers that the backbone cannot take are listed with the refusal instead.

    Raises:
        ProbeError: ``conformers`` is not a conformer table.
    """
    columns = ["conformer_id", "numbers", "positions", "charge", "multiplicity"]
    shard = tables.read(conformers, schemas.CONFORMERS, columns)
    ids: list[str] = shard["conformer_id"].to_pylist()
    rows = zip(*(shard[name] for name in columns[1:]), strict=True)
    geometries = dict(zip(ids, (geometry_of(*row) for row in rows), strict=True))
    origin = {
        "backbone": backbone.name,
        "fingerprint": backbone.fingerprint,
        "device": devices.describe(backbone.device),
    }
    with in_use(cache_root / backbone.fingerprint):
        listing, result = ensure(geometries, backbone, cache_root, batch_atoms)
        tables.write(out, listing.to_arrow(), schemas.EMBEDDED, origin | vars(result))
    return result


def ensure(
    geometries: dict[str, Geometry], backbone: Backbone, cache_root: Path, batch_atoms: int | None
) -> tuple[pl.DataFrame, Embedding]:
    """Compute what the cache lacks of ``geometries`` (by conformer_id).

    ``batch_atoms`` is the number of padded atoms in a batch, by default the device's.
    Returns a frame with the columns of ``schemas.EMBEDDED`` in the order given, and the counts.
    """
    cache = Cache(cache_root, backbone.fingerprint, backbone.embedding_dim)
    refused = {
        name: why
        for name, g in geometries.items()
        if (why := refusal(backbone, g.numbers, g.charge, g.multiplicity))
    }
    wanted = [name for name in geometries if name not in refused]
    cached = cache.locate(pl.Series(wanted, dtype=pl.String))
    parts = dict(zip(cached["conformer_id"], cached["part"], strict=True))
    n_cached = len(parts)
    missing = {name: geometries[name] for name in wanted if name not in parts}
    if missing:
        remedy = "choose another cache in the configuration, or with --cache"
        tables.require_writable(cache.folder, remedy)
    budget = batch_atoms or devices.BATCH_ATOMS[backbone.device.type]
    for rows, failures in compute(missing, backbone, budget):
        refused |= failures
        if rows:
            part = cache.add(rows)
            parts |= {row.conformer_id: part for row in rows}
    listing = pl.DataFrame(
        {
            "conformer_id": list(geometries),
            "part": [parts.get(name) for name in geometries],
            "refusal": [refused.get(name) for name in geometries],
        },
        schema={"conformer_id": pl.String, "part": pl.String, "refusal": pl.String},
    )
    return listing, Embedding(len(geometries), n_cached, len(parts) - n_cached, len(refused))


def compute(
    missing: dict[str, Geometry], backbone: Backbone, batch_atoms: int
) -> Iterator[tuple[list[Cached], dict[str, str]]]:
    """Evaluate ``missing`` and yield it in pieces of about ``PART_BYTES``, smallest first.

    Each piece comes as the rows to cache, and the refusals of what has no finite answer.
    """
    order = sorted(missing, key=lambda name: len(missing[name].numbers))
    sizes = [len(missing[name].numbers) for name in order]
    report = Progress("embed", len(order), "conformers")
    rows: list[Cached] = []
    failures: dict[str, str] = {}
    held = done = 0
    for start, stop in packs(sizes, batch_atoms):
        names = order[start:stop]
        answers = evaluate(backbone, names, [missing[name] for name in names])
        for name, row in zip(names, answers, strict=True):
            if isinstance(row, str):
                failures[name] = row
            else:
                rows.append(row)
                held += row.embedding.nbytes
        done += len(names)
        report(done)
        if held >= PART_BYTES:
            yield rows, failures
            rows, failures, held = [], {}, 0
    if rows or failures:
        yield rows, failures


def evaluate(
    backbone: Backbone, names: Sequence[str], batch: Sequence[Geometry]
) -> list[Cached | str]:
    """One cache row per conformer of ``batch``, in order, or why there is none.

    While the device has not enough memory the batch is halved; a conformer that is too large
    alone is refused.
    """
    try:
        return _rows(backbone, names, batch, backbone.evaluate(batch))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    if len(batch) == 1:
        size = len(batch[0].numbers)
        return [f"{size} atoms do not fit into the memory of {backbone.device} for {backbone.name}"]
    if backbone.device.type == "cuda":
        torch.cuda.empty_cache()
    half = len(batch) // 2
    first = evaluate(backbone, names[:half], batch[:half])
    return first + evaluate(backbone, names[half:], batch[half:])


def geometry_of(numbers: object, positions: object, charge: object, spin: object) -> Geometry:
    """A row's Arrow scalars as a geometry."""
    return Geometry(
        numbers=numbers.values.to_numpy(),  # type: ignore[attr-defined]
        positions=positions.values.to_numpy().reshape(-1, 3),  # type: ignore[attr-defined]
        charge=charge.as_py(),  # type: ignore[attr-defined]
        multiplicity=spin.as_py(),  # type: ignore[attr-defined]
    )


def _rows(
    backbone: Backbone, names: Sequence[str], batch: Sequence[Geometry], evaluation: Evaluation
) -> list[Cached | str]:
    with np.errstate(over="ignore"):  # an overflow is found below, as infinity
        embedding = evaluation.atom_features.astype(np.float16)
    rows: list[Cached | str] = []
    stop = 0
    for index, (name, geometry) in enumerate(zip(names, batch, strict=True)):
        start, stop = stop, stop + len(geometry.numbers)
        energy = float(evaluation.energy[index])
        if not (np.isfinite(energy) and np.isfinite(embedding[start:stop]).all()):
            rows.append(f"{backbone.name} has no finite energy for this geometry")
            continue
        charges = None if evaluation.charges is None else evaluation.charges[start:stop]
        terms = {term: float(values[index]) for term, values in evaluation.parts.items()}
        rows.append(Cached(name, energy, terms, charges, embedding[start:stop]))
    return rows
