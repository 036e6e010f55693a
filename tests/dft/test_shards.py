"""Shards of what is to be recomputed: the worst first, each its part of the cost, in a budget."""

import polars as pl
import pytest
from recomputable import HYDROGEN, NITROGEN, OXYGEN, URANIUM, WATER

from probe import schemas, tables
from probe.dft import recompute
from probe.dft.methods import B97_3C, WB97M_D3
from probe.errors import ProbeError


class TestShards:
    @pytest.fixture
    def folder(self, library, tmp_path):
        self.ids = [
            library.add("N#N", NITROGEN, p=0.7, energy_ev=-1.0),
            library.add("O", WATER, p=0.9, energy_ev=-1.0),
            library.add("[HH]", HYDROGEN, p=0.6, energy_ev=-1.0),
            library.add("[U]", URANIUM, multiplicity=5),
            library.add("O=O", OXYGEN, multiplicity=3),
        ]
        return library.write(tmp_path / "lib")

    def test_the_worst_come_first_and_before_them_what_nothing_is_known_of(self, folder):
        plan = recompute.shards(folder, B97_3C, recompute.Settings())
        assert plan["smiles"].to_list() == ["[U]", "O=O", "O", "N#N", "[HH]"]
        assert plan["shard"].to_list() == [0] * 5
        assert plan["core_hours"].is_null().to_list() == [True] + [False] * 4

    def test_each_shard_has_its_part_of_the_cost(self, library, tmp_path):
        for number in range(40):
            stretched = [7, 7], [[0, 0, 0], [0, 0, 1.1 + number / 100]]
            library.add("N#N", stretched, p=number / 40)
        folder = library.write(tmp_path / "lib")
        whole = recompute.shards(folder, B97_3C, recompute.Settings())["core_hours"].sum()
        settings = recompute.Settings(shard_core_hours=whole / 4 * 1.001)
        plan = recompute.shards(folder, B97_3C, settings)
        parts = plan.group_by("shard").agg(pl.col("core_hours").sum(), pl.len())
        assert recompute.n_shards(folder) == 4
        assert parts["len"].to_list() == [10] * 4
        assert plan["shard"].head(4).sort().to_list() == [0, 1, 2, 3]

    def test_a_budget_leaves_out_the_least_bad(self, folder):
        plan = recompute.shards(folder, B97_3C, recompute.Settings())
        known = plan["core_hours"].fill_null(0.0)
        budget = float(known[:3].sum()) * 1.0001
        short = recompute.shards(folder, B97_3C, recompute.Settings(budget_core_hours=budget))
        assert short["shard"].to_list() == [0, 0, 0, None, None]

    def test_of_no_conformer_there_is_no_shard(self, library, tmp_path):
        library.add("O", WATER, p=0.1, accept=True)
        folder = library.write(tmp_path / "lib")
        assert recompute.shards(folder, B97_3C, recompute.Settings()).is_empty()
        assert recompute.n_shards(folder) == 0

    def test_a_list_of_other_conformers_is_refused(self, folder):
        path = folder / "conformers/00000.parquet"
        table = tables.read(path, schemas.CONFORMERS)
        tables.write(path, table.slice(1), schemas.CONFORMERS, {})
        with pytest.raises(ProbeError, match=r"1 listed conformers are not in its shards"):
            recompute.shards(folder, B97_3C, recompute.Settings())

    def test_the_method_is_the_backbones(self):
        assert recompute.method_of({"backbone": "aimnet2-b973c"}) is B97_3C
        assert recompute.method_of({"backbone": "aimnet2-wb97m-d3-2"}) is WB97M_D3
        with pytest.raises(ProbeError, match=r"TZVPPD is not one that .* the nearest is wB97M-D3"):
            recompute.method_of({"backbone": "mace-off23-small"})
