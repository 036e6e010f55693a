"""The map of the library: PROBE's molecular embeddings by incremental PCA, then UMAP."""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.decomposition import IncrementalPCA
from sklearn.neighbors import KNeighborsRegressor

from probe import schemas, tables
from probe.errors import ProbeError
from probe.report.screening import Floats, Rows, Screening

if TYPE_CHECKING:
    from umap import UMAP

Matrix = npt.NDArray[np.float32]

PCA_WIDTH = 50
NEIGHBOURS = 15
NEAREST = 5
"""Fitted conformers that each other one is placed by."""
MIN_DIFFERENT = 10
"""Fewer different embeddings have no neighbourhoods that a map could show."""
NO_MAP = (
    "No map: it takes at least "
    f"{MIN_DIFFERENT} different molecular embeddings to show neighbourhoods."
)
BATCH = 4096
MAP_FILE = "map.parquet"


def locate(screening: Screening) -> Floats | None:
    """Map coordinates [conformers, 2], NaN where there is no embedding; None without a map.

    PCA and UMAP are fitted on at most ``umap_points`` conformers, drawn evenly from the deciles
    of p_unreliable; each other one lies amid the fitted ones whose embeddings are nearest to its
    own, weighted by nearness.
    """
    seed = screening.inputs.seed
    chosen = stratified(screening.p, screening.inputs.umap_points, seed)
    sample = _embeddings(screening, chosen)
    n_different = len(np.unique(sample, axis=0))
    if n_different < MIN_DIFFERENT:
        return None
    pca = IncrementalPCA(min(PCA_WIDTH, n_different), batch_size=BATCH).fit(sample)
    reduced = pca.transform(sample).astype(np.float32)
    umap = _umap(n_neighbors=min(NEIGHBOURS, len(chosen) - 1), seed=seed).fit(reduced)
    places = np.full((screening.listed.num_rows, 2), np.nan)
    places[chosen] = umap.embedding_
    if np.count_nonzero(~np.isnan(screening.p)) > len(chosen):
        known = KNeighborsRegressor(NEAREST, weights="distance").fit(reduced, umap.embedding_)
        _place_rest(screening, pca, known, places)
    return places


def save(places: Floats | None, screening: Screening) -> None:
    """Write ``places`` [conformers, 2] beside the lists, a row a listed conformer."""
    ids = screening.listed["conformer_id"]
    found = np.full((len(ids), 2), np.nan) if places is None else places
    x, y = (pa.array(column, pa.float64(), from_pandas=True) for column in found.T)
    table = pa.table({"conformer_id": ids, "x": x, "y": y})
    origin = {"library": screening.inputs.library, "seed": screening.inputs.seed}
    tables.write(screening.inputs.triage / MAP_FILE, table, schemas.MAP, origin)


def stratified(p: Floats, n_points: int, seed: int) -> Rows:
    """Rows of at most ``n_points`` scored conformers, equally many from each decile of ``p``."""
    scored = np.flatnonzero(~np.isnan(p))
    if len(scored) <= n_points:
        return scored.astype(np.int64)
    random = np.random.default_rng(seed)
    deciles = np.array_split(scored[np.argsort(p[scored], kind="stable")], 10)
    shares = np.diff(np.linspace(0, n_points, 11).astype(int))
    drawn = [
        random.choice(decile, min(share, len(decile)), replace=False)
        for decile, share in zip(deciles, shares, strict=True)
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)


def _embeddings(screening: Screening, chosen: Rows) -> Matrix:
    """Embeddings of the rows ``chosen`` (sorted) [n, 256]."""
    found = np.zeros((len(chosen), schemas.EMBEDDING_WIDTH), dtype=np.float32)
    for rows, matrix in _scored(screening):
        wanted = np.isin(rows, chosen)
        found[np.searchsorted(chosen, rows[wanted])] = matrix[wanted]
    return found


def _scored(screening: Screening) -> Iterator[tuple[Rows, Matrix]]:
    """Row numbers and embeddings [n, 256] of the scored conformers, in pieces."""
    for rows, table in screening.shards(screening.inputs.scores, schemas.SCORES, ["embedding"]):
        valid = ~np.isnan(screening.p[rows])
        column = table["embedding"].combine_chunks().filter(pa.array(valid))
        if column.null_count:
            raise ProbeError(
                f"{screening.inputs.triage}: {column.null_count} scored conformers have no "
                "embedding in the score tables; run the scoring and the triage again"
            )
        flat = column.flatten().to_numpy(zero_copy_only=False)
        yield rows[valid], flat.reshape(-1, schemas.EMBEDDING_WIDTH)


def _place_rest(
    screening: Screening, pca: IncrementalPCA, known: KNeighborsRegressor, places: Floats
) -> None:
    for rows, matrix in _scored(screening):
        new = np.flatnonzero(np.isnan(places[rows, 0]))
        for chunk in np.array_split(new, 1 + len(new) // BATCH):
            if len(chunk):
                reduced = pca.transform(matrix[chunk]).astype(np.float32)
                places[rows[chunk]] = known.predict(reduced)


def _umap(n_neighbors: int, seed: int) -> "UMAP":
    # umap announces at import that its TensorFlow variant, unused here, is unavailable; the import
    # waits until a map is drawn because it compiles for seconds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP  # noqa: PLC0415
    # one thread: with a seed umap uses one anyway, and says so in a warning
    return UMAP(n_neighbors=n_neighbors, random_state=seed, n_jobs=1, init="pca")
