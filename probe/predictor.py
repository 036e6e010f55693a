"""PROBE in a notebook or a script: molecules in, a polars frame with a row for each out."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import polars as pl
import pyarrow as pa

from probe import backbones, devices, schemas, tables, weights
from probe.backbones import Backbone, Geometry, refusal
from probe.cache.embed import embed_shard, evaluate
from probe.calculator import ProbeCalculator
from probe.classifier import card
from probe.classifier import checkpoint as checkpoints
from probe.classifier.checkpoint import Checkpoint, Scored
from probe.classifier.network import Sample
from probe.classifier.score import Shard, score_shard
from probe.conformers import inputs
from probe.conformers.conformer import Options, Row
from probe.errors import ProbeError
from probe.library.parser import Reject
from probe.report import story

DEFAULTS = Options()


@dataclass(frozen=True)
class Probe:
    """A checkpoint with the backbone that it belongs to.

    ``cache`` is the store of embeddings, shared with screenings; without one nothing is kept.
    """

    checkpoint: Checkpoint
    backbone: Backbone
    cache: Path | None = None

    @classmethod
    def load(
        cls,
        checkpoint: str | Path = "aimnet2-b973c",
        *,
        cache: str | Path | None = None,
        device: str = "auto",
    ) -> Self:
        """The shipped checkpoint of that name, or one in a folder; weights are fetched if needed.

        Raises:
            ProbeError: there is no such checkpoint or device, or its backbone's weights cannot
                be had.
        """
        probe = checkpoints.load(str(checkpoint))
        name = probe.card["backbone"]
        weights.fetch(weights.entry(name))
        backbone = backbones.load(name, device)
        card.require(probe.card, backbone.fingerprint, backbone.name)
        kept = None if cache is None else Path(cache)
        return cls(probe.to(devices.choose(device)), backbone, kept)

    def score(
        self,
        molecules: inputs.Molecules,
        options: Options = DEFAULTS,
        *,
        batch_atoms: int | None = None,
    ) -> pl.DataFrame:
        """``schemas.ANSWERED``: a row for every one of ``molecules``, in order, each in eV and Å.

        ``molecules`` are RDKit's or ASE's, one or many, SMILES in a list, or the path of a
        library. What is flat is embedded in space as ``options`` say; energies are of the
        geometries as they are. What cannot be used has a row with its reason.

        Raises:
            ProbeError: a path that cannot be read, or of no known format.
        """
        found = list(inputs.rows(molecules, options))
        different = {row["conformer_id"]: row for row in found if not isinstance(row, Reject)}
        answers = self._answers(list(different.values()), batch_atoms) if different else {}
        rows = [_rejected(row) if isinstance(row, Reject) else _row(row, answers) for row in found]
        return pl.DataFrame(pa.Table.from_pylist(rows, schema=schemas.ANSWERED))

    @staticmethod
    def draw(row: Mapping[str, Any]) -> str:
        """An SVG of a row that ``score`` gave, atoms coloured by their importance.

        Raises:
            ProbeError: the row has no molecule.
        """
        return story.svg(row, row)

    def judge(self, geometry: Geometry) -> tuple[float, Scored]:
        """The backbone's energy in eV of one conformer as it is, and PROBE's answer.

        Raises:
            ProbeError: the backbone cannot take it.
        """
        why = refusal(self.backbone, geometry.numbers, geometry.charge, geometry.multiplicity)
        found = why or evaluate(self.backbone, ["geometry"], [geometry])[0]
        if isinstance(found, str):
            raise ProbeError(found)
        sample = Sample(found.embedding, found.charges, geometry.numbers, found.energy_ev)
        return found.energy_ev, self.checkpoint.score([sample])[0]

    def calculator(self, **settings: Any) -> ProbeCalculator:  # noqa: ANN401 (ASE's)
        """An ASE calculator: the backbone's energy, with p_unreliable among its results."""
        return ProbeCalculator(self, **settings)

    def _answers(self, rows: Sequence[Row], batch_atoms: int | None) -> dict[str, dict[str, Any]]:
        """Rows of ``schemas.SCORES`` by conformer_id, made as a screening makes them."""
        with tempfile.TemporaryDirectory(prefix="probe-") as name:
            place = Path(name)
            cache = self.cache or place / "cache"
            shard = Shard(place / "conformers.parquet", place / "embedded.parquet")
            tables.write(shard.conformers, rows, schemas.CONFORMERS, {})
            embed_shard(shard.conformers, self.backbone, cache, shard.embedded, batch_atoms)
            scores = place / "scores.parquet"
            device = self.backbone.device.type
            score_shard(shard, self.checkpoint, cache, scores, device=device)
            found = tables.read(scores, schemas.SCORES).to_pylist()
        return {row["conformer_id"]: row for row in found}


EMPTY: Row = dict.fromkeys(schemas.ANSWERED.names)


def _row(row: Row, answers: dict[str, dict[str, Any]]) -> Row:
    answer = dict(answers[row["conformer_id"]])
    return {**row, **answer, "reason": answer.pop("refusal")}


def _rejected(reject: Reject) -> Row:
    return {
        **EMPTY,
        "source": reject.source,
        "molecule_id": reject.name,
        "reason": reject.reason,
    }
