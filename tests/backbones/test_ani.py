"""ANI-2xt: the energies of Auto3D without Auto3D, and an embedding with a block per element."""

import io

import numpy as np
import pytest
import torch

from probe import weights
from probe.backbones import Geometry, aev, refusal
from probe.backbones import ani as adapter
from probe.errors import ProbeError

AUTO3D = {
    "9b55f16c47283fe3be6f70a4ae4a91f6": -1101.9875923275163,
    "785879777bfe0e53df034dfa21420084": -3172.6634239572836,
    "4d7c2fd8ffefe4f75e0e007c0689581e": -4677.695678821142,
    "cc3c716d48e65a86b4ac4991b1232e97": -8829.08417968868,
    "0974b41be0d02fd968ad8769df8f0e3e": -5871.434517883588,
    "9842dba0b0f0270c2edba7444f60acc2": -15546.514069136942,
    "88e05ed1650f7d3099a1431d5f0105c4": -28214.947933281743,
    "5769e1526f44264bea7c1484c02995ba": -12164.549140263414,
}
"""Conformers of the calibration set, and energies in eV that Auto3D 3.2.3 with torchani 2.9.0 gives
for them, one at a time, coordinates about their mean in single precision."""


@pytest.fixture(scope="module")
def batch(calibration):
    known = dict(zip(calibration.conformer_ids, calibration.geometries, strict=True))
    return [known[one] for one in AUTO3D]


@pytest.fixture(scope="module")
def tensors(ani):  # noqa: ARG001 (its weights are there)
    return weights.locate(weights.entry("ani-2xt")).model


class TestEnergies:
    def test_they_are_those_of_auto3d(self, ani, batch):
        assert set().union(*(one.numbers.tolist() for one in batch)) == ani.elements
        found = ani.evaluate(batch).energy
        np.testing.assert_allclose(found, list(AUTO3D.values()), rtol=0, atol=2e-5)

    def test_an_atom_alone_has_no_neighbours_and_an_energy(self, ani):
        found = ani.evaluate([Geometry(np.array([8], np.uint8), np.zeros((1, 3)))])
        assert found.parts["atomic"] == pytest.approx([-75.1901 * 27.211386245988], abs=1e-9)
        assert abs(found.parts["network"][0]) < 27

    def test_atoms_beyond_the_cutoff_do_not_see_each_other(self, ani, batch):
        one = batch[0]
        far = one.positions + np.ptp(one.positions) + aev.CUTOFF
        numbers = np.concatenate([one.numbers] * 2)
        both = Geometry(numbers, np.concatenate([one.positions, far]))
        alone, found = ani.evaluate([one]), ani.evaluate([both])
        assert found.energy[0] == pytest.approx(2 * alone.energy[0], abs=2e-5)

    def test_an_ion_is_refused(self, ani):
        said = refusal(ani, np.array([17], np.uint8), -1, 1)
        assert said == "ani-2xt does not take the total charge; it is -1"


class TestEmbedding:
    def test_an_atom_has_the_columns_of_its_element_alone(self, ani, batch):
        numbers = np.concatenate([one.numbers for one in batch])
        features = ani.evaluate(batch).atom_features
        blocks = {z: set(np.nonzero(features[numbers == z].any(axis=0))[0]) for z in ani.elements}
        assert sum(map(len, blocks.values())) == len(set().union(*blocks.values()))
        assert max(map(len, blocks.values())) <= 160

    def test_it_is_what_the_energy_is_read_from(self, ani, tensors, batch):
        numbers = np.concatenate([one.numbers for one in batch])
        found = ani.evaluate(batch)
        last = torch.cat([tensors[f"{kind}.6.weight"][0] for kind in range(7)]).double().numpy()
        bias = np.array([float(tensors[f"{kind}.6.bias"]) for kind in range(7)])
        per_atom = found.atom_features @ last + bias[np.searchsorted(adapter.NUMBERS, numbers)]
        total = per_atom.sum() * adapter.HARTREE
        assert total == pytest.approx(found.parts["network"].sum(), abs=1e-4)


class TestWeights:
    def test_a_file_of_something_else_is_told_in_a_line(self):
        with pytest.raises(ProbeError, match=r"^it: not a readable file of weights"):
            adapter.read(b"PK nothing", weights.entry("ani-2xt"), "it")

    def test_one_weight_changed_is_another_network(self, tensors):
        other = {name: values.clone() for name, values in tensors.items()}
        other["3.6.bias"] += 1e-4
        assert adapter.identify(tensors) == weights.entry("ani-2xt").fingerprint
        assert adapter.identify(other) != adapter.identify(tensors)

    def test_another_file_is_not_kept(self, tmp_path):
        content = io.BytesIO()
        torch.save({"weight": torch.ones(2)}, content)
        local = tmp_path / "other.pt"
        local.write_bytes(content.getvalue())
        with pytest.raises(ProbeError, match=r"has sha256 .* pinned is 542e3530"):
            weights.fetch(weights.entry("ani-2xt"), tmp_path / "weights", local=local)
        assert not (tmp_path / "weights" / "ani-2xt.pt").exists()

    def test_without_a_network_it_is_told_which_wheel_is_needed(self, tmp_path):
        with pytest.raises(ProbeError, match=r"`pip download --no-deps Auto3D==3\.2\.3`"):
            weights.fetch(weights.entry("ani-2xt"), tmp_path, offline=True)
