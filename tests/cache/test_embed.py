"""A shard of conformers goes into the cache once, whatever happens on the way."""

import dataclasses

import numpy as np
import pytest
import torch

from probe import progress, schemas, tables
from probe.backbones import Geometry
from probe.cache import embed
from probe.cache.embed import ensure
from probe.cache.store import Cache
from probe.errors import ProbeError


class Watched:
    """The real backbone, counting what it is asked, with a device of limited memory."""

    def __init__(self, backbone, memory=10**9, error=None):
        self._backbone = backbone
        self.memory = memory
        self.error = error or torch.OutOfMemoryError("CUDA out of memory.")
        self.batches = []

    def __getattr__(self, name):
        return getattr(self._backbone, name)

    def evaluate(self, batch):
        sizes = [len(geometry.numbers) for geometry in batch]
        if len(batch) * max(sizes) > self.memory:
            raise self.error
        self.batches.append(sizes)
        return self._backbone.evaluate(batch)

    @property
    def n_evaluated(self):
        return sum(map(len, self.batches))


@pytest.fixture(scope="module")
def geometries(calibration):
    """The twelve smallest labelled conformers, by id, in the order of the file."""
    pairs = zip(calibration.conformer_ids, calibration.geometries, strict=True)
    smallest = sorted(pairs, key=lambda pair: len(pair[1].numbers))[:12]
    chosen = {name for name, _ in smallest}
    return {
        name: geometry
        for name, geometry in zip(calibration.conformer_ids, calibration.geometries, strict=True)
        if name in chosen
    }


@pytest.fixture
def backbone(aimnet):
    return Watched(aimnet)


def part_of(mapping, start, stop):
    return dict(list(mapping.items())[start:stop])


def stored(listing, backbone, root):
    """The cached rows by id, read through the listing."""
    cache = Cache(root, backbone.fingerprint, backbone.embedding_dim)
    found = {}
    for part in listing["part"].drop_nulls().unique():
        found |= {row.conformer_id: row for row in cache.entries(part)}
    return {name: found[name] for name in listing["conformer_id"] if name in found}


def write_shard(path, geometries):
    rows = [
        {
            "conformer_id": name,
            "molecule_id": name,
            "source": "made:1",
            "smiles": "",
            "n_atoms": len(geometry.numbers),
            "charge": geometry.charge,
            "multiplicity": geometry.multiplicity,
            "numbers": geometry.numbers.tolist(),
            "positions": geometry.positions.ravel().tolist(),
            "note": "",
        }
        for name, geometry in geometries.items()
    ]
    tables.write(path, rows, schemas.CONFORMERS, {})
    return path


def test_a_cache_that_cannot_be_written_is_known_before_anything_is_computed(
    backbone, geometries, tmp_path
):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ProbeError, match=r"file.*cannot be written to .*another cache"):
        ensure(geometries, backbone, tmp_path / "file", 60)
    assert backbone.n_evaluated == 0


class TestOnce:
    def test_every_conformer_is_computed_and_listed_in_order(self, backbone, geometries, tmp_path):
        listing, result = ensure(geometries, backbone, tmp_path, 60)
        assert listing["conformer_id"].to_list() == list(geometries)
        assert listing["part"].null_count() == 0
        assert listing["refusal"].null_count() == 12
        assert result == embed.Embedding(n_conformers=12, n_cached=0, n_computed=12, n_refused=0)
        assert backbone.n_evaluated == 12

    def test_the_cache_holds_what_the_backbone_says_of_each_alone(
        self, backbone, geometries, tmp_path
    ):
        listing, _ = ensure(geometries, backbone, tmp_path, 60)
        rows = stored(listing, backbone, tmp_path)
        assert list(rows) == list(geometries)
        for name, geometry in geometries.items():
            alone = backbone.evaluate([geometry])
            row = rows[name]
            assert row.energy_ev == pytest.approx(alone.energy[0], abs=1e-4)
            assert sum(row.terms_ev.values()) == pytest.approx(row.energy_ev, abs=1e-9)
            assert row.embedding.shape == (len(geometry.numbers), 256)
            np.testing.assert_allclose(row.embedding, alone.atom_features, rtol=2e-3, atol=1e-4)
            np.testing.assert_allclose(row.charges, alone.charges, atol=1e-5)

    def test_a_second_run_computes_nothing(self, backbone, geometries, tmp_path):
        listing, _ = ensure(geometries, backbone, tmp_path, 60)
        backbone.batches.clear()
        again, result = ensure(geometries, backbone, tmp_path, 25)
        assert backbone.batches == []
        assert (result.n_cached, result.n_computed) == (12, 0)
        assert again.equals(listing)

    def test_another_library_computes_only_what_is_new(self, backbone, geometries, tmp_path):
        ensure(part_of(geometries, 0, 8), backbone, tmp_path, 60)
        backbone.batches.clear()
        _, result = ensure(part_of(geometries, 4, 12), backbone, tmp_path, 60)
        assert (result.n_conformers, result.n_cached, result.n_computed) == (8, 4, 4)
        assert backbone.n_evaluated == 4

    def test_nothing_is_nothing(self, backbone, tmp_path):
        listing, result = ensure({}, backbone, tmp_path, 60)
        assert listing.is_empty()
        assert result == embed.Embedding(0, 0, 0, 0)

    def test_batches_are_bounded_by_their_padded_atoms_in_whatever_order_they_come(
        self, backbone, calibration, tmp_path
    ):
        pairs = zip(calibration.conformer_ids, calibration.geometries, strict=True)
        largest_first = sorted(pairs, key=lambda pair: -len(pair[1].numbers))[::40]
        ensure(dict(largest_first), backbone, tmp_path, 60)
        assert len(backbone.batches) > 2
        assert backbone.n_evaluated == len(largest_first)
        assert all(len(sizes) * max(sizes) <= 60 for sizes in backbone.batches)

    def test_a_killed_run_keeps_the_parts_that_it_wrote(
        self, backbone, geometries, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(embed, "PART_BYTES", 1)  # a part a batch
        evaluate = backbone.evaluate

        def killed(batch):
            if backbone.n_evaluated >= 6:
                raise KeyboardInterrupt
            return evaluate(batch)

        backbone.evaluate = killed
        with pytest.raises(KeyboardInterrupt):
            ensure(geometries, backbone, tmp_path, 12)
        kept = backbone.n_evaluated
        assert 6 <= kept < 12
        del backbone.evaluate
        _, result = ensure(geometries, backbone, tmp_path, 12)
        assert (result.n_cached, result.n_computed) == (kept, 12 - kept)


class TestOutOfMemory:
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 GB"),
            MemoryError("Unable to allocate 8 GiB for an array"),
        ],
        ids=["CUDA", "CPU", "NumPy"],
    )
    def test_batches_are_halved_until_they_fit(self, aimnet, geometries, tmp_path, error):
        small = Watched(aimnet, memory=20, error=error)
        listing, result = ensure(geometries, small, tmp_path / "small", 1000)
        assert result.n_computed == 12
        assert all(len(sizes) * max(sizes) <= 20 for sizes in small.batches)
        large, _ = ensure(geometries, aimnet, tmp_path / "large", 1000)
        rows, expected = (
            stored(listing, aimnet, tmp_path / "small"),
            stored(large, aimnet, tmp_path / "large"),
        )
        assert list(rows) == list(expected)
        for name, row in rows.items():
            assert row.energy_ev == pytest.approx(expected[name].energy_ev, abs=1e-4)
            assert len(row.embedding) == len(geometries[name].numbers)

    def test_a_conformer_that_is_too_large_alone_is_refused_and_loses_nothing_else(
        self, aimnet, geometries, tmp_path
    ):
        largest = max(geometries, key=lambda name: len(geometries[name].numbers))
        size = len(geometries[largest].numbers)
        fits = {n: g for n, g in geometries.items() if len(g.numbers) < size}
        small = Watched(aimnet, memory=size - 1)
        listing, result = ensure(geometries, small, tmp_path, 1000)
        assert result.n_computed == len(fits)
        assert result.n_refused == 12 - len(fits)
        refusals = dict(zip(listing["conformer_id"], listing["refusal"], strict=True))
        assert refusals[largest] == (
            f"{size} atoms do not fit into the memory of cpu for aimnet2-b973c"
        )
        assert list(stored(listing, aimnet, tmp_path)) == list(fits)

    def test_what_was_refused_is_tried_again_where_there_is_more_memory(
        self, aimnet, geometries, tmp_path
    ):
        one = part_of(geometries, 0, 1)
        _, first = ensure(one, Watched(aimnet, memory=1), tmp_path, 1000)
        _, second = ensure(one, aimnet, tmp_path, 1000)
        assert (first.n_refused, second.n_refused, second.n_computed) == (1, 0, 1)

    def test_another_error_is_not_taken_for_it(self, aimnet, geometries, tmp_path):
        broken = Watched(aimnet, memory=0, error=RuntimeError("device-side assert triggered"))
        with pytest.raises(RuntimeError, match="device-side assert"):
            ensure(geometries, broken, tmp_path, 1000)


class TestRefusals:
    CLASH = Geometry(np.array([1, 1], np.uint8), np.zeros((2, 3)))

    def test_a_geometry_without_a_finite_energy_is_refused_and_loses_nothing_else(
        self, backbone, geometries, tmp_path
    ):
        with_clash = part_of(geometries, 0, 3) | {"clash": self.CLASH}
        listing, result = ensure(with_clash, backbone, tmp_path, 1000)
        assert listing["refusal"].to_list() == [
            *[None] * 3,
            "aimnet2-b973c has no finite energy for this geometry",
        ]
        assert listing["part"][3] is None
        assert (result.n_computed, result.n_refused) == (3, 1)
        rows = stored(listing, backbone, tmp_path)
        assert all(np.isfinite(row.energy_ev) for row in rows.values())
        assert all(np.isfinite(row.embedding).all() for row in rows.values())

    def test_nothing_but_refusals_leaves_no_part(self, backbone, tmp_path):
        listing, result = ensure({"clash": self.CLASH}, backbone, tmp_path, 1000)
        assert result == embed.Embedding(1, 0, 0, 1)
        assert listing["part"].to_list() == [None]
        assert list(tmp_path.iterdir()) == []

    def test_features_beyond_half_precision_are_refused(self, aimnet, geometries, tmp_path):
        class Loud(Watched):
            def evaluate(self, batch):
                found = super().evaluate(batch)
                return dataclasses.replace(found, atom_features=found.atom_features * 1e7)

        listing, result = ensure(part_of(geometries, 0, 1), Loud(aimnet), tmp_path, 1000)
        assert result.n_refused == 1
        assert "no finite energy" in listing["refusal"][0]

    def test_what_the_backbone_cannot_take_never_reaches_it(self, backbone, geometries, tmp_path):
        far = np.array([[0, 0, 0], [0, 0, 1.8]])
        refused = {
            "zinc": Geometry(np.array([30, 1], np.uint8), far),
            "radical": Geometry(np.array([8, 1], np.uint8), far, multiplicity=2),
            "triplet": Geometry(np.array([8, 8], np.uint8), far, multiplicity=3),
        }
        listing, result = ensure(refused | part_of(geometries, 0, 1), backbone, tmp_path, 1000)
        assert listing["refusal"].to_list() == [
            "aimnet2-b973c does not know the element Zn",
            "aimnet2-b973c is for closed shells; the multiplicity is 2",
            "aimnet2-b973c is for closed shells; the multiplicity is 3",
            None,
        ]
        assert listing["part"].null_count() == 3
        assert result == embed.Embedding(4, 0, 1, 3)
        assert backbone.n_evaluated == 1


class TestShard:
    def test_the_listing_of_a_shard_says_where_and_by_what(self, backbone, geometries, tmp_path):
        shard = write_shard(tmp_path / "0.parquet", geometries)
        out = tmp_path / "embedded/0.parquet"
        result = embed.embed_shard(shard, backbone, tmp_path / "cache", out, 60)
        listing = tables.read(out, schemas.EMBEDDED)
        assert listing["conformer_id"].to_pylist() == list(geometries)
        assert all(
            (tmp_path / "cache" / backbone.fingerprint / part).is_file()
            for part in listing["part"].to_pylist()
        )
        record = tables.provenance(out)
        assert record["backbone"] == "aimnet2-b973c"
        assert record["fingerprint"] == backbone.fingerprint
        assert record["device"] == "cpu"
        assert {record[f"n_{name}"] for name in ("conformers", "computed")} == {12}
        assert (record["n_cached"], record["n_refused"]) == (0, 0)
        assert result.n_computed == 12

    def test_a_shard_goes_through_the_table_unchanged(self, backbone, geometries, tmp_path):
        shard = write_shard(tmp_path / "0.parquet", geometries)
        embed.embed_shard(shard, backbone, tmp_path, tmp_path / "out.parquet", 60)
        backbone.batches.clear()
        listing, _ = ensure(geometries, backbone, tmp_path, 60)
        rows = stored(listing, backbone, tmp_path)
        assert backbone.batches == []
        for name, geometry in geometries.items():
            alone = backbone.evaluate([geometry]).energy[0]
            assert rows[name].energy_ev == pytest.approx(alone, abs=1e-4)

    def test_an_empty_shard_is_listed_as_such(self, backbone, tmp_path):
        shard = write_shard(tmp_path / "0.parquet", {})
        result = embed.embed_shard(shard, backbone, tmp_path, tmp_path / "out.parquet", 60)
        assert result == embed.Embedding(0, 0, 0, 0)
        assert len(tables.read(tmp_path / "out.parquet", schemas.EMBEDDED)) == 0

    def test_a_file_that_is_no_shard_is_said_so_and_nothing_is_written(self, backbone, tmp_path):
        (tmp_path / "0.parquet").write_text("smiles\nC\n")
        with pytest.raises(ProbeError, match=r"0\.parquet: not a readable Parquet file"):
            embed.embed_shard(
                tmp_path / "0.parquet", backbone, tmp_path, tmp_path / "out.parquet", 60
            )
        assert [path.name for path in tmp_path.iterdir()] == ["0.parquet"]

    def test_progress_ends_with_the_whole_number(
        self, backbone, geometries, tmp_path, capsys, monkeypatch
    ):
        monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
        ensure(geometries, backbone, tmp_path, 60)
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.splitlines()[-1].startswith("embed: 12 of 12 conformers, ")
