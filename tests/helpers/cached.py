"""Rows of a cache, and one bit of a part flipped."""

import numpy as np
import pyarrow.parquet as pq

from probe.cache.store import Cached

WIDTH = 8


def row(name, n_atoms, *, charges=True):
    rng = np.random.default_rng(n_atoms)
    return Cached(
        conformer_id=name,
        energy_ev=-1000.123456789 * n_atoms,
        terms_ev={"network": -1000.0 * n_atoms, "coulomb": -0.123456789 * n_atoms},
        charges=rng.normal(size=n_atoms).astype(np.float32) if charges else None,
        embedding=rng.normal(size=(n_atoms, WIDTH)).astype(np.float16),
    )


def flip(part, column):
    """Change one bit in the data page of a column."""
    group = pq.ParquetFile(part).metadata.row_group(0)
    chunk = next(
        chunk
        for chunk in map(group.column, range(group.num_columns))
        if chunk.path_in_schema == column
    )
    content = bytearray(part.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 0x10
    part.write_bytes(content)
