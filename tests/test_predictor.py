"""The Python interface: the workflow's numbers, a row for every input, an ASE calculator."""

import subprocess
import sys
from pathlib import Path

import ase
import numpy as np
import polars as pl
import pytest
from ase.build import molecule
from ase.calculators.fd import calculate_numerical_forces
from ase.io import write
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from probe import Probe, schemas, tables
from probe.cache.embed import embed_shard
from probe.classifier.score import Shard, score_shard
from probe.conformers import ingest
from probe.conformers.conformer import Options
from probe.errors import ProbeError
from probe.library import plan

SMILES = ["CCO", "c1ccccc1", "CC(=O)O", "C[NH3+]", "OC=O", "CCO"]


@pytest.fixture(scope="module")
def probe(aimnet_file, tmp_path_factory):
    assert aimnet_file.exists()
    return Probe.load("aimnet2-b973c", device="cpu", cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def frame(probe):
    return probe.score(SMILES)


@pytest.fixture
def embedded():
    """Ethanol in space, three times."""
    mol = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDistGeom.EmbedMultipleConfs(mol, 3, randomSeed=1)
    mol.SetProp("_Name", "ethanol")
    return mol


def same(one, other, within=1e-6):
    for column in ("energy_ev", "p_unreliable", "latent_distance"):
        np.testing.assert_allclose(one[column], other[column], atol=within, rtol=0)


class TestNumbers:
    def test_they_are_those_of_a_screening(self, probe, frame, aimnet, tmp_path):
        library = tmp_path / "lib.smi"
        library.write_text("".join(f"{smiles}\n" for smiles in SMILES))
        made = plan.current("lib", library, 100, tmp_path / "plan.json")
        shard = Shard(tmp_path / "c.parquet", tmp_path / "e.parquet")
        ingest.ingest_shard(made, 0, shard.conformers, tmp_path / "r.parquet", Options())
        embed_shard(shard.conformers, aimnet, tmp_path / "cache", shard.embedded, None)
        out = tmp_path / "s.parquet"
        score_shard(shard, probe.checkpoint, tmp_path / "cache", out, device="cpu")
        screened = tables.frame(out, schemas.SCORES)
        joined = frame.select("conformer_id").join(
            screened, on="conformer_id", maintain_order="left"
        )
        assert joined.height == len(SMILES)
        same(frame, joined)

    def test_neither_order_nor_batches_change_them(self, probe, frame):
        fresh = Probe(probe.checkpoint, probe.backbone)
        same(fresh.score(SMILES[::-1]), frame.reverse(), within=1e-4)
        # features that a batch changes by a float32's rounding may round to another float16
        same(fresh.score(SMILES, batch_atoms=1), frame, within=1e-4)

    def test_a_row_an_input_in_order_repeated_ones_too(self, frame):
        assert frame.schema == pl.DataFrame(schemas.ANSWERED.empty_table()).schema
        assert frame["source"].to_list() == [f"input:{n}" for n in range(1, 7)]
        assert frame["conformer_id"][0] == frame["conformer_id"][5]
        assert frame["charge"].to_list() == [0, 0, 0, 1, 0, 0]
        assert frame["p_unreliable"].is_between(0, 1).all()
        assert [sum(x) for x in frame["importance"]] == pytest.approx([1] * 6, abs=1e-5)


class TestInputs:
    def test_rdkit_molecules_and_each_of_their_conformers(self, probe, embedded):
        found = probe.score([embedded, Chem.MolFromSmiles("CCO")])
        assert found["molecule_id"].to_list() == ["ethanol"] * 3 + ["input-4"]
        assert found["conformer_id"].n_unique() == 4
        assert probe.score(embedded).equals(found[:3])

    def test_ase_atoms_with_charge(self, probe):
        ammonium = molecule("NH3")
        ammonium += ase.Atom("H", (0.0, 0.0, 1.15))
        ammonium.info = {"charge": 1, "name": "ammonium"}
        found = probe.score([ammonium, molecule("H2O")])
        assert found["charge"].to_list() == [1, 0]
        assert found["molecule_id"][0] == "ammonium"
        assert found["reason"].to_list() == [None, None]

    @pytest.mark.parametrize("kind", [str, Path])
    def test_a_file_whose_geometries_are_those_of_ase(self, probe, tmp_path, kind):
        path = tmp_path / "two molecules.xyz"
        given = [molecule("CH3OH"), molecule("H2O")]
        write(path, given, format="extxyz")
        found = probe.score(kind(path))
        assert found["source"].to_list() == ["two molecules.xyz:1", "two molecules.xyz:2"]
        same(found, probe.score(given))

    def test_what_cannot_be_used_has_a_row_with_its_reason(self, probe):
        periodic = molecule("H2O", vacuum=3, pbc=True)
        given = ["CCO", "C(C", "", None, periodic, molecule("OH"), "[Na+]", ase.Atoms(), "[H]O[H]"]
        found = probe.score(given)
        assert found["source"].to_list() == [f"input:{n}" for n in range(1, 10)]
        assert found["energy_ev"].is_not_null().to_list() == [True, *[False] * 7, True]
        reasons = found["reason"].to_list()
        wanted = ("SMILES", "no SMILES", "NoneType", "periodic", "multiplicity", "Na", "no atoms")
        for reason, word in zip(reasons[1:8], wanted, strict=True):
            assert word in reason
        assert (reasons[0], reasons[8]) == (None, None)

    def test_nothing_is_an_empty_frame(self, probe, frame):
        assert probe.score([]).schema == frame.schema

    def test_a_path_that_is_not_there(self, probe):
        with pytest.raises(ProbeError, match=r"no such file; give SMILES as a list, \['CCO'\]"):
            probe.score("CCO")

    def test_what_holds_no_molecules(self, probe):
        with pytest.raises(ProbeError, match="int: give SMILES in a list"):
            probe.score(5)

    def test_an_unknown_checkpoint(self):
        with pytest.raises(ProbeError, match="did you mean aimnet2-b973c"):
            Probe.load("aimnet2-b973")


class TestDrawing:
    def test_a_row_is_drawn(self, probe, frame):
        drawing = probe.draw(frame.row(0, named=True))
        assert drawing.startswith("<svg")
        assert "var(" not in drawing

    def test_a_row_without_a_molecule_is_not(self, probe):
        with pytest.raises(ProbeError, match="input:1: no molecule to draw"):
            probe.draw(probe.score(["C(C"]).row(0, named=True))


class TestCalculator:
    @pytest.fixture
    def water(self, probe):
        atoms = molecule("H2O")
        atoms.calc = probe.calculator()
        return atoms

    def test_it_gives_the_energy_and_how_far_to_trust_it(self, probe, water):
        water.positions = water.positions.round(4)
        found = probe.score(water)
        assert water.get_potential_energy() == pytest.approx(found["energy_ev"][0], abs=1e-6)
        assert water.calc.results["p_unreliable"] == pytest.approx(
            found["p_unreliable"][0], abs=1e-4
        )
        assert len(water.calc.results["importance"]) == 3

    def test_a_stretched_bond_is_another_energy(self, water):
        relaxed = water.get_potential_energy()
        water.set_distance(0, 1, 1.6, fix=0)
        assert water.get_potential_energy() > relaxed + 0.5

    def test_numerical_forces_pull_a_stretched_bond_together(self, water):
        water.set_distance(0, 1, 1.2, fix=0)
        along = water.positions[1] - water.positions[0]
        assert calculate_numerical_forces(water, eps=1e-3, iatoms=[1])[0] @ along < -1

    def test_charge_and_multiplicity(self, probe):
        hydroxide = molecule("OH")
        hydroxide.calc = probe.calculator(charge=-1)
        energy = hydroxide.get_potential_energy()
        hydroxide.info["charge"] = -1
        hydroxide.calc = probe.calculator()
        assert hydroxide.get_potential_energy() == energy
        hydroxide.calc = probe.calculator(charge=0)
        with pytest.raises(ProbeError, match="9 electrons cannot have multiplicity 1"):
            hydroxide.get_potential_energy()

    def test_what_it_cannot_take(self, water, probe):
        water.pbc = True
        with pytest.raises(ProbeError, match="periodic"):
            water.get_potential_energy()
        sodium = ase.Atoms("NaH", [(0, 0, 0), (0, 0, 1.9)], calculator=probe.calculator())
        with pytest.raises(ProbeError, match="does not know the element Na"):
            sodium.get_potential_energy()


def test_importing_it_is_light_until_it_is_asked_for():
    code = (
        "import sys, probe, probe.cli; assert 'torch' not in sys.modules; "
        "from probe import Probe; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_name_is_an_error():
    with pytest.raises(ImportError, match="cannot import name 'Prob'"):
        exec("from probe import Prob")
