"""MACE: what it embeds, what it refuses, and that importing it changes nothing but its adapter."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_mace
import torch
from ase import Atoms
from click.testing import CliRunner
from repository import CALIBRATION
from tiny_mace import METHANE, WATER

from probe import cli, schemas, tables, weights
from probe.backbones import mace as adapter
from probe.classifier import checkpoint
from probe.classifier.network import parameters
from probe.errors import ProbeError


def backbone(content, entry, dtype=torch.float64):
    network = adapter.read(content, entry, "it")
    return adapter.MaceBackbone("it", "0" * 16, network, torch.device("cpu"), dtype)


def calculated(content, entry, geometry):
    """Energy by mace-torch's own calculator, eV."""
    module = adapter.read(content, entry, "it").module
    calculator = adapter.imported("calculators").MACECalculator(
        models=module, device="cpu", default_dtype="float64", head=entry.source.get("head")
    )
    atoms = Atoms(geometry.numbers, geometry.positions, calculator=calculator)
    with adapter.quiet():
        return atoms.get_potential_energy()


class TestEnergies:
    @pytest.mark.parametrize("how", [{}, {"kind": "MACE"}, {"num_interactions": 1}], ids=str)
    def test_they_are_those_of_maces_own_calculator(self, built, mace_entry, how):
        content = built(**how)
        found = backbone(content, mace_entry).evaluate([METHANE, WATER])
        expected = [calculated(content, mace_entry, one) for one in (METHANE, WATER)]
        np.testing.assert_allclose(found.energy, expected, rtol=0, atol=1e-9)

    def test_the_atomic_part_is_the_networks_reference_energies(self, mace):
        found = mace.evaluate([METHANE, WATER])
        energy = tiny_mace.ENERGIES
        assert found.parts["atomic"].tolist() == [
            energy[6] + 4 * energy[1],
            energy[8] + 2 * energy[1],
        ]

    def test_single_precision_loses_next_to_nothing(self, mace, mace_single, calibration):
        known = [g for g in calibration.geometries if set(g.numbers.tolist()) <= mace.elements]
        difference = mace.evaluate(known[:40]).energy - mace_single.evaluate(known[:40]).energy
        assert 0 < np.abs(difference).max() < 1e-4

    def test_of_several_heads_the_listed_one_is_asked(self, built, mace_entry):
        content = built(heads=["dft", "ccsd"])
        asked = [dataclasses.replace(mace_entry, source={"head": h}) for h in ("dft", "ccsd")]
        energies = [backbone(content, one).evaluate([WATER]).energy[0] for one in asked]
        expected = [calculated(content, one, WATER) for one in asked]
        assert energies == pytest.approx(expected, abs=1e-9)
        assert abs(energies[1] - energies[0]) > 1

    def test_of_several_heads_the_one_called_default_is_asked(self, built, mace_entry):
        content = built(heads=["dft", "Default"])
        assert adapter.read(content, mace_entry, "it").head == "Default"


class TestEmbedding:
    def last_block(self, content, entry, geometry):
        """What the last product block itself gives for ``geometry``."""
        network = adapter.read(content, entry, "it")
        seen = []
        network.module.products[-1].register_forward_hook(lambda _, __, out: seen.append(out))
        adapter.MaceBackbone("it", "0", network, torch.device("cpu")).evaluate([geometry])
        return seen[0].numpy()

    @pytest.mark.parametrize(
        "how",
        [
            {},
            {"num_interactions": 1},
            {"num_interactions": 3},
            {"keep_last_layer_irreps": True},
        ],
        ids=str,
    )
    def test_it_is_the_scalars_of_the_last_block(self, built, mace_entry, how):
        content = built(**how)
        last = self.last_block(content, mace_entry, METHANE)
        assert last.shape[1] == (32 if "keep_last_layer_irreps" in how else 8)
        one = backbone(content, mace_entry)
        found = one.evaluate([METHANE]).atom_features
        assert one.embedding_dim == found.shape[1] == 8
        assert found == pytest.approx(last[:, :8], abs=1e-6)

    def test_odd_scalars_which_the_mirror_changes_are_left_out(self, built, mace_entry):
        irreps = {"hidden": "8x0o+8x0e", "keep_last_layer_irreps": True}
        module = adapter.read(built(**irreps), mace_entry, "it").module
        assert adapter._invariants(module).tolist() == list(range(24, 32))


class TestWhatIsRefused:
    def refused(self, content, entry):
        with pytest.raises(ProbeError) as raised:
            adapter.read(content, entry, "a.model")
        assert "\n" not in str(raised.value)
        return str(raised.value)

    def test_several_heads_of_which_none_is_named(self, built, mace_entry):
        said = self.refused(built(heads=["dft", "ccsd"]), mace_entry)
        assert said == (
            "a.model: tiny-mace has several heads and none called default; name one with the key "
            "head in your list of backbones: dft, ccsd"
        )

    def test_a_head_that_it_has_not(self, mace_content, mace_entry):
        entry = dataclasses.replace(mace_entry, source={"head": "omol"})
        assert "has no head omol; name one" in self.refused(mace_content, entry)

    def test_a_network_that_wants_more_than_a_geometry(self, built, mace_entry):
        charge = {"type": "categorical", "per": "graph", "num_classes": 3, "emb_dim": 4}
        said = self.refused(built(embedding_specs={"total_charge": charge}), mace_entry)
        assert said == (
            "a.model: needs total_charge beside a geometry, which this adapter does not give"
        )

    def test_a_module_that_is_no_mace(self, mace_entry):
        said = self.refused(tiny_mace.saved(torch.nn.Linear(2, 2)), mace_entry)
        assert said == "a.model: a Linear, but this adapter takes MACE and ScaleShiftMACE alone"

    def test_a_damaged_file(self, mace_content, mace_entry):
        assert "not a readable model file" in self.refused(mace_content[:-5000], mace_entry)


class TestIdentity:
    def of(self, content, entry):
        return adapter.identify(adapter.read(content, entry, "it"))

    def test_the_same_network_from_two_files_is_the_same(self, mace_content, mace_entry):
        module = adapter.read(mace_content, mace_entry, "it").module
        with adapter.quiet():
            again = tiny_mace.saved(module.train().requires_grad_(False))
        assert again != mace_content
        assert self.of(again, mace_entry) == self.of(mace_content, mace_entry)

    def test_the_precision_of_the_file_does_not_matter(self, built, mace_entry):
        content = built(dtype=torch.float32)
        doubled = tiny_mace.saved(adapter.read(content, mace_entry, "it").module.double())
        assert self.of(doubled, mace_entry) == self.of(content, mace_entry)

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m.readouts[0].linear.weight.data.add_(1e-6),
            lambda m: m.atomic_energies_fn.atomic_energies[0, 2].add_(1e-3),
            lambda m: m.scale_shift.scale.mul_(1.01),
            lambda m: m.scale_shift.shift.add_(0.01),
            lambda m: m.r_max.add_(0.5),
            lambda m: m.atomic_numbers.add_(1),
            lambda m: m.radial_embedding.bessel_fn.bessel_weights.mul_(1.1),
            lambda m: setattr(m.interactions[1], "avg_num_neighbors", 7.0),
            lambda m: setattr(m.readouts[-1].non_linearity.acts[0], "f", torch.tanh),
            lambda m: setattr(m, "apply_cutoff", False),
            lambda m: setattr(m, "heads", ["other"]),
        ],
        ids=[
            *("weight", "atomic energy", "scale", "shift", "cutoff", "elements", "radial"),
            *("neighbours", "gate", "smooth cutoff", "head"),
        ],
    )
    def test_whatever_decides_the_energies_matters(self, mace_content, mace_entry, change):
        network = adapter.read(mace_content, mace_entry, "it")
        before = adapter.identify(network)
        change(network.module)
        head = getattr(network.module, "heads", ["Default"])[0]
        assert adapter.identify(adapter.Network(network.module, head)) != before


ALONE = """
import os, warnings
from pathlib import Path
before = dict(os.environ)
import torch
from probe import listing, weights
from probe.backbones import mace
from tiny_mace import METHANE
settings = torch.get_default_dtype(), list(warnings.filters)
entry = listing.Entry("a", "a", 0, "mace", "", "", "", None)
network = mace.read(Path({path!r}).read_bytes(), entry, "it")
mace.MaceBackbone("a", "0", network, torch.device("cpu")).evaluate([METHANE])
mace._kept(weights.entry("mace-off23-small"))
assert (torch.get_default_dtype(), list(warnings.filters)) == settings
print({{name: value for name, value in os.environ.items() if before.get(name) != value}})
try:
    torch.load({other!r})
except Exception as error:
    print(type(error).__name__)
"""


class TestTheProcess:
    """In a process of its own: another test may have imported mace before."""

    def test_nothing_but_the_adapter_knows_of_the_import(self, mace_content, tmp_path):
        (tmp_path / "a.model").write_bytes(mace_content)
        with (tmp_path / "code.pt").open("wb") as handle:
            torch.save(os.getcwd, handle)
        script = ALONE.format(path=str(tmp_path / "a.model"), other=str(tmp_path / "code.pt"))
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(tiny_mace.__file__).parent)},
        )
        assert run.stderr == ""
        changed, loading = run.stdout.splitlines()
        assert "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in changed
        assert set(eval(changed)) <= {"_RJEM_MALLOC_CONF"}  # polars' own allocator
        assert loading == "UnpicklingError"

    def test_an_error_does_not_keep_the_precision(self):
        with pytest.raises(MemoryError), adapter._default(torch.float64):
            raise MemoryError
        assert torch.get_default_dtype() == torch.float32


SMILES = "CCO ethanol\nC[NH3+] methylammonium\nCC(=O)[O-] acetate\nCBr bromomethane\nCC#N other\n"


@pytest.fixture(scope="module")
def screened(tmp_path_factory):
    """The folder of the screening; every command must end well."""
    root = tmp_path_factory.mktemp("screening")
    content = tiny_mace.saved(tiny_mace.build(hidden="256x0e"))
    (root / "wide.model").write_bytes(content)
    (root / "own.yaml").write_text(
        f"wide: {{adapter: mace, path: wide.model, sha256: '{weights._digest(content)}', "
        "method: none, licence: CC0, citation: random weights}\n"
    )
    (root / "lib.smi").write_text(SMILES)
    labels = pq.read_table(CALIBRATION).slice(0, 200)
    pq.write_table(labels, root / "labels.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("PROBE_BACKBONES", "own.yaml")
        for command in COMMANDS:
            run = CliRunner().invoke(cli.main, command.split())
            assert run.exit_code == 0, run.output
    return root


COMMANDS = (
    "weights fetch wide",
    "plan lib.smi --out lib/plan.json",
    "ingest --plan lib/plan.json --shard 0 --conformers lib/conformers/00000.parquet"
    " --rejected lib/rejects/00000.parquet",
    "embed lib/conformers/00000.parquet --backbone wide --cache cache --device cpu"
    " --out lib/embedded/00000.parquet",
    "train --labels labels.parquet --backbone wide --cache cache --device cpu --recipe paper"
    " --max-epochs 1 --out wide",
    "score lib/conformers/00000.parquet lib/embedded/00000.parquet --checkpoint ./wide"
    " --cache cache --device cpu --out lib/scores/00000.parquet",
    "evaluate --checkpoint ./wide --labels labels.parquet --cache cache --out evaluated",
    "triage lib --checkpoint ./wide",
)


class TestScreening:
    """From a library to its lists, with a checkpoint trained on the way: nothing but a name
    tells the commands that this backbone is no AIMNet2."""

    def test_the_checkpoint_is_the_papers_without_charges(self, screened):
        probe = checkpoint.load(str(screened / "wide"))
        assert not probe.card["charges"]
        assert probe.card["embedding_dim"] == 256
        assert [parameters(member) for member in probe.members] == [566_434]

    def test_what_the_backbone_cannot_take_goes_to_recompute_with_that_reason(self, screened):
        sent = tables.frame(screened / "lib/recompute.parquet", schemas.TRIAGED)
        reasons = {
            row["molecule_id"]: row["reason"]
            for row in sent.iter_rows(named=True)
            if row["p_unreliable"] is None
        }
        assert reasons == {
            "methylammonium": "wide does not take the total charge; it is +1",
            "acetate": "wide does not take the total charge; it is -1",
            "bromomethane": "wide does not know the element Br",
        }

    def test_what_it_takes_is_judged(self, screened):
        scores = tables.frame(screened / "lib/scores/00000.parquet", schemas.SCORES)
        judged = scores.filter(scores["refusal"].is_null())
        assert judged.height == 2
        assert judged["p_unreliable"].is_between(0, 1).all()
        assert [len(row) for row in judged["importance"]] == [9, 6]

    def test_the_summary_says_which_backbone_and_its_licence(self, screened):
        summary = tables.read_json(screened / "lib/summary.json")
        assert (summary["backbone"], summary["licence"]) == ("wide", "CC0")
        assert "mace-torch" in summary["versions"]
