"""Scores of a shard, straight from the cache."""

import numpy as np
import pytest
import torch
from cached import flip

from probe import schemas, tables
from probe.cache.store import Cache, Cached
from probe.classifier.checkpoint import Checkpoint
from probe.classifier.exceedance import exceedance
from probe.classifier.network import Normalisation, Probe, Sample
from probe.classifier.score import Shard, score_shard
from probe.errors import ProbeError

WIDTH = 16
FINGERPRINT = "7e4575c45376bb61"
MADE = {"backbone": "aimnet2-b973c", "fingerprint": FINGERPRINT, "device": "cpu"}
REFUSAL = "aimnet2-b973c does not know the element Na"


def entry(name, n_atoms, seed):
    rng = np.random.default_rng(seed)
    return Cached(
        name,
        float(rng.normal(-1000 * n_atoms, 5)),
        {"network": 0.0},
        rng.normal(0, 0.3, n_atoms).astype(np.float32),
        rng.normal(size=(n_atoms, WIDTH)).astype(np.float16),
    )


ENTRIES = {f"id{seed}": entry(f"id{seed}", size, seed) for seed, size in enumerate((5, 1, 23, 2))}
NUMBERS = {
    name: np.random.default_rng(index).choice([1, 6, 8], len(e.embedding)).tolist()
    for index, (name, e) in enumerate(ENTRIES.items())
}
SAMPLES = [
    Sample(e.embedding, e.charges, np.array(NUMBERS[name]), e.energy_ev)
    for name, e in ENTRIES.items()
]


@pytest.fixture(scope="module", params=["classes", "distribution"])
def head(request):
    return request.param


@pytest.fixture(scope="module")
def checkpoint(head):
    torch.manual_seed(3)
    card = {
        **{"name": "untrained", "backbone": "aimnet2-b973c", "fingerprint": FINGERPRINT},
        **{"embedding_dim": WIDTH, "temperature": 1.0, "boundary_kcal": 0.5, "head": head},
    }
    networks = [Probe(WIDTH, charges=True, head=head).eval() for _ in range(2)]
    return Checkpoint(card, Normalisation(WIDTH).fit(SAMPLES), networks)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", FINGERPRINT, WIDTH)


@pytest.fixture
def shard(tmp_path, cache):
    """Four conformers in two parts that hold more than the shard asks for, and one refused."""
    parts = {}
    for names in (["id0", "id2"], ["id1", "id3"]):
        extra = entry(f"other-{names[0]}", 7, 99)
        parts |= dict.fromkeys(names, cache.add([ENTRIES[name] for name in names] + [extra]))
    order = ["id3", "salt", "id0", "id1", "id2"]
    return written(tmp_path, order, [parts.get(name) for name in order])


def written(folder, order, parts, made=MADE, conformers=None):
    shard = Shard(folder / "conformers.parquet", folder / "embedded.parquet")
    refusals = [None if part else REFUSAL for part in parts]
    listing = [
        {"conformer_id": name, "part": part, "refusal": why}
        for name, part, why in zip(order, parts, refusals, strict=True)
    ]
    tables.write(shard.embedded, listing, schemas.EMBEDDED, made)
    empty = dict.fromkeys(schemas.CONFORMERS.names)
    rows = [
        empty | {"conformer_id": name, "numbers": NUMBERS.get(name, [11])}
        for name in conformers or order
    ]
    tables.write(shard.conformers, rows, schemas.CONFORMERS, {})
    return shard


def scores(shard, checkpoint, tmp_path):
    out = tmp_path / "scores.parquet"
    score_shard(shard, checkpoint, tmp_path / "cache", out, device="cpu")
    return tables.read(out, schemas.SCORES).to_pylist()


class TestAShard:
    def test_every_conformer_has_a_row_in_the_shards_order(self, shard, checkpoint, tmp_path):
        rows = scores(shard, checkpoint, tmp_path)
        assert [row["conformer_id"] for row in rows] == ["id3", "salt", "id0", "id1", "id2"]

    def test_the_answers_are_the_checkpoints(self, shard, checkpoint, tmp_path):
        rows = {row["conformer_id"]: row for row in scores(shard, checkpoint, tmp_path)}
        for name, answer in zip(ENTRIES, checkpoint.score(SAMPLES), strict=True):
            row = rows[name]
            assert row["energy_ev"] == ENTRIES[name].energy_ev
            assert row["p_unreliable"] == pytest.approx(answer.p_unreliable, abs=1e-5)
            assert row["latent_distance"] == pytest.approx(answer.latent_distance, rel=1e-4)
            np.testing.assert_allclose(row["importance"], answer.importance, atol=1e-5)
            np.testing.assert_allclose(row["embedding"], answer.embedding, atol=1e-4)
            assert row["verdict"] == ("unreliable" if answer.p_unreliable > 0.5 else "reliable")
            assert row["refusal"] is None

    def test_so_is_where_the_error_lies_with_a_place_and_a_width_a_network(
        self, shard, checkpoint, head, tmp_path
    ):
        """From which whoever reads the scores has the probability of any tolerance."""
        rows = {row["conformer_id"]: row for row in scores(shard, checkpoint, tmp_path)}
        for name, answer in zip(ENTRIES, checkpoint.score(SAMPLES), strict=True):
            row = rows[name]
            if head == "classes":
                assert (row["location_kcal"], row["scale_kcal"]) == (None, None)
                continue
            assert row["location_kcal"] == pytest.approx(answer.location_kcal, abs=1e-5)
            assert row["scale_kcal"] == pytest.approx(answer.scale_kcal, rel=1e-5)
            p = exceedance(row["location_kcal"], row["scale_kcal"], checkpoint.boundary_kcal)
            assert p == pytest.approx(row["p_unreliable"], abs=1e-6)

    def test_what_the_backbone_refused_keeps_its_reason_and_has_no_score(
        self, shard, checkpoint, tmp_path
    ):
        row = scores(shard, checkpoint, tmp_path)[1]
        assert {key for key, value in row.items() if value is not None} == {
            "conformer_id",
            "refusal",
        }
        assert row["refusal"] == REFUSAL

    def test_the_number_scored_and_the_origin_are_known(self, shard, checkpoint, tmp_path):
        out = tmp_path / "scores.parquet"
        assert score_shard(shard, checkpoint, tmp_path / "cache", out, device="cpu") == 4
        wanted = {"checkpoint": "untrained", **MADE}
        assert {key: tables.provenance(out)[key] for key in wanted} == wanted

    @pytest.mark.parametrize("order", [[], ["salt"]], ids=["none", "all refused"])
    def test_nothing_to_score(self, tmp_path, checkpoint, order):
        shard = written(tmp_path, order, [None] * len(order))
        assert [row["conformer_id"] for row in scores(shard, checkpoint, tmp_path)] == order


class TestALostPart:
    """The table that refers to it goes, too: a workflow that is run again makes both again."""

    def fails(self, shard, checkpoint, tmp_path, match):
        with pytest.raises(ProbeError, match=f"{match}; .*run the same `snakemake`") as raised:
            scores(shard, checkpoint, tmp_path)
        assert "\n" not in str(raised.value)
        assert {path.name for path in tmp_path.iterdir()} == {"cache", "conformers.parquet"}

    def test_that_is_gone(self, shard, checkpoint, tmp_path, cache):
        part = next(cache.folder.glob("part-*"))
        part.unlink()
        self.fails(shard, checkpoint, tmp_path, f"{part}: .* gone or damaged")

    @pytest.mark.parametrize("column", ["energy_ev", "charges", "embedding", "n_atoms"])
    def test_that_is_damaged(self, shard, checkpoint, tmp_path, cache, column, capsys):
        part = next(cache.folder.glob("part-*"))
        flip(part, column)
        self.fails(shard, checkpoint, tmp_path, f"{part}: .* gone or damaged")
        assert f"{part} is damaged" in capsys.readouterr().err
        assert not part.exists()

    def test_that_lacks_a_conformer_of_the_shard(self, tmp_path, checkpoint, cache):
        part = cache.add([ENTRIES["id0"]])
        shard = written(tmp_path, ["id0", "id1"], [part, part])
        self.fails(shard, checkpoint, tmp_path, f"{part} does not hold conformer id1")


class TestRefusedInOneLine:
    def fails(self, shard, checkpoint, tmp_path, match):
        with pytest.raises(ProbeError, match=match) as raised:
            scores(shard, checkpoint, tmp_path)
        assert "\n" not in str(raised.value)
        assert not (tmp_path / "scores.parquet").exists()

    def test_embeddings_of_another_backbone(self, tmp_path, checkpoint):
        made = MADE | {"backbone": "aimnet2-b973c-1", "fingerprint": "ff"}
        shard = written(tmp_path, ["salt"], [None], made)
        self.fails(shard, checkpoint, tmp_path, r"belongs to backbone .* not to aimnet2-b973c-1")

    @pytest.mark.parametrize("conformers", [["id0"], ["id0", "salt", "id1"]])
    def test_tables_of_different_conformers(self, tmp_path, checkpoint, cache, conformers):
        part = cache.add([ENTRIES["id0"]])
        shard = written(tmp_path, ["id0", "salt"], [part, None], conformers=conformers)
        self.fails(shard, checkpoint, tmp_path, "does not list the conformers of .*conformers.parq")

    def test_tables_in_the_wrong_order(self, shard, checkpoint, tmp_path):
        swapped = Shard(shard.embedded, shard.conformers)
        self.fails(swapped, checkpoint, tmp_path, "conformers.parquet: no column part, refusal")
