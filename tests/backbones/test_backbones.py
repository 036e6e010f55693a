"""One contract, and every backbone passes it. A new backbone is a new name in BACKBONES."""

import copy

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from probe import backbones
from probe.backbones import Geometry, refusal
from probe.backbones.aimnet import DENSE_ATOMS
from probe.errors import ProbeError

BACKBONES = ["aimnet", "ani", "mace", "mace_single"]
"""Names of fixtures that give a loaded backbone."""

ENERGY = 1e-4
"""eV; equal energies."""
FEATURE = 2e-3
"""Equal features, where they are of order 1 to 10."""


@pytest.fixture(params=BACKBONES)
def backbone(request):
    return request.getfixturevalue(request.param)


def geometry(numbers, positions, charge=0):
    return Geometry(np.array(numbers, np.uint8), np.array(positions, np.float64), charge)


def alkane(n_carbons):
    """A straight chain, bond lengths and angles near their usual values."""
    zigzag = np.array([[1.27 * i, 0.43 * (-1) ** i, 0.0] for i in range(n_carbons)])
    up = np.array([[0, 0.63 * (-1) ** i, 0.89] for i in range(n_carbons)])
    hydrogens = np.concatenate([zigzag + up, zigzag + up * [1, 1, -1]])
    ends = np.array([zigzag[0] - [0.9, 0.6, 0], zigzag[-1] + [0.9, -0.6 * (-1) ** n_carbons, 0]])
    numbers = [6] * n_carbons + [1] * (2 * n_carbons + 2)
    return geometry(numbers, np.concatenate([zigzag, hydrogens, ends]))


def moved(one, rotation=None, by=0.0):
    turn = np.eye(3) if rotation is None else rotation.as_matrix()
    return Geometry(one.numbers, one.positions @ turn.T + by, one.charge, one.multiplicity)


HYDROGEN = geometry([1, 1], [[0, 0, 0], [0, 0, 0.74]])
METHANE = geometry(
    [6, 1, 1, 1, 1],
    [
        [0, 0, 0],
        [0.63, 0.63, 0.63],
        [-0.63, -0.63, 0.63],
        [-0.63, 0.63, -0.63],
        [0.63, -0.63, -0.63],
    ],
)
CHLORIDE = geometry([17], [[1.0, -2.0, 3.0]], -1)
LONG = alkane(41)


@pytest.fixture
def molecules(calibration, backbone):
    """Ten real ones of 2 to 30 atoms that the backbone takes, in no order of size."""
    known = backbone.elements & {1, 6, 7, 8, 9, 16, 17}
    neutral = [
        g for g in calibration.geometries if g.charge == 0 and set(g.numbers.tolist()) <= known
    ]
    return neutral[:: len(neutral) // 9][:10]


def slices(batch):
    stops = np.cumsum([len(one.numbers) for one in batch])
    return [slice(stop - len(one.numbers), stop) for stop, one in zip(stops, batch, strict=True)]


def assert_same(backbone, batch, others):
    """Batches that must be the same molecules for the backbone."""
    one, other = backbone.evaluate(batch), backbone.evaluate(others)
    np.testing.assert_allclose(one.energy, other.energy, rtol=0, atol=ENERGY)
    np.testing.assert_allclose(one.atom_features, other.atom_features, rtol=0, atol=FEATURE)


class TestContract:
    def test_it_says_what_it_is(self, backbone):
        assert backbone.name
        assert len(backbone.fingerprint) == 16
        assert backbone.device == torch.device("cpu")
        assert {1, 6, 7, 8} <= backbone.elements
        assert backbone.terms

    def test_shapes_and_dtypes(self, backbone, molecules):
        found = backbone.evaluate(molecules)
        n_atoms = sum(len(one.numbers) for one in molecules)
        assert (found.energy.shape, found.energy.dtype) == ((len(molecules),), np.float64)
        assert found.atom_features.shape == (n_atoms, backbone.embedding_dim)
        assert found.atom_features.dtype == np.float32
        if found.charges is not None:
            assert (found.charges.shape, found.charges.dtype) == ((n_atoms,), np.float32)
        assert tuple(found.parts) == backbone.terms
        for part in found.parts.values():
            assert (part.shape, part.dtype) == ((len(molecules),), np.float64)

    def test_batched_equals_single(self, backbone, molecules):
        together = backbone.evaluate(molecules)
        for row, atoms in enumerate(slices(molecules)):
            alone = backbone.evaluate([molecules[row]])
            assert together.energy[row] == pytest.approx(alone.energy[0], abs=ENERGY)
            np.testing.assert_allclose(
                together.atom_features[atoms], alone.atom_features, rtol=0, atol=FEATURE
            )
            if alone.charges is not None:
                np.testing.assert_allclose(together.charges[atoms], alone.charges, atol=1e-4)
            for term in backbone.terms:
                assert together.parts[term][row] == pytest.approx(alone.parts[term][0], abs=ENERGY)

    def test_order_is_kept(self, backbone, molecules):
        order = np.random.default_rng(1).permutation(len(molecules))
        forward = backbone.evaluate(molecules)
        shuffled = backbone.evaluate([molecules[index] for index in order])
        np.testing.assert_allclose(shuffled.energy, forward.energy[order], rtol=0, atol=ENERGY)
        where = slices(molecules)
        expected = np.concatenate([forward.atom_features[where[index]] for index in order])
        np.testing.assert_allclose(shuffled.atom_features, expected, rtol=0, atol=FEATURE)

    def test_the_atoms_of_a_molecule_are_in_its_order(self, backbone, molecules):
        one = max(molecules, key=lambda g: len(g.numbers))
        order = np.random.default_rng(2).permutation(len(one.numbers))
        turned = Geometry(one.numbers[order], one.positions[order], one.charge)
        first, second = backbone.evaluate([one]), backbone.evaluate([turned])
        np.testing.assert_allclose(
            second.atom_features, first.atom_features[order], rtol=0, atol=FEATURE
        )

    def test_a_call_leaves_no_trace_in_the_next(self, backbone, molecules):
        before = backbone.evaluate(molecules[:2])
        backbone.evaluate([LONG])
        backbone.evaluate([HYDROGEN])
        after = backbone.evaluate(molecules[:2])
        assert np.array_equal(before.energy, after.energy)
        assert np.array_equal(before.atom_features, after.atom_features)

    def test_the_input_is_not_changed(self, backbone, molecules):
        batch = [*molecules[:3], LONG]
        before = copy.deepcopy(batch)
        backbone.evaluate(batch)
        for one, other in zip(batch, before, strict=True):
            assert one.numbers.tobytes() == other.numbers.tobytes()
            assert one.positions.tobytes() == other.positions.tobytes()
            assert (one.charge, one.multiplicity) == (other.charge, other.multiplicity)

    def test_the_answer_is_the_callers_own(self, backbone, molecules):
        first = backbone.evaluate(molecules[:2])
        kept = copy.deepcopy(first)
        backbone.evaluate(molecules[2:5])
        assert np.array_equal(first.energy, kept.energy)
        assert np.array_equal(first.atom_features, kept.atom_features)

    def test_parts_sum_to_the_energy(self, backbone, molecules):
        found = backbone.evaluate([*molecules, LONG])
        np.testing.assert_allclose(sum(found.parts.values()), found.energy, rtol=0, atol=1e-9)

    def test_translation_does_not_matter(self, backbone, molecules):
        assert_same(backbone, molecules, [moved(one, by=[3.7, -11.2, 25.0]) for one in molecules])

    @pytest.mark.parametrize("distance", [1e2, 1e3, 1e4])
    def test_not_even_a_far_one(self, backbone, molecules, distance):
        """Crystals and docked poses lie far from the origin."""
        one = max(molecules, key=lambda g: len(g.numbers))
        assert_same(backbone, [one], [moved(one, by=distance)])
        assert_same(backbone, [LONG], [moved(LONG, by=-distance)])

    def test_rotation_does_not_matter(self, backbone, molecules):
        rotations = Rotation.random(len(molecules), rng=3)
        assert_same(
            backbone, molecules, [moved(*pair) for pair in zip(molecules, rotations, strict=True)]
        )

    def test_geometry_matters(self, backbone):
        stretched = geometry([1, 1], [[0, 0, 0], [0, 0, 0.9]])
        found = backbone.evaluate([HYDROGEN, stretched])
        assert abs(found.energy[1] - found.energy[0]) > 100 * ENERGY
        assert np.abs(found.atom_features[0] - found.atom_features[2]).max() > FEATURE

    def test_two_atoms(self, backbone):
        found = backbone.evaluate([HYDROGEN])
        assert np.isfinite(found.energy).all()
        assert np.isfinite(found.atom_features).all()
        np.testing.assert_allclose(
            found.atom_features[0], found.atom_features[1], rtol=0, atol=FEATURE
        )

    def test_one_atom_alone_and_in_a_batch(self, backbone, molecules):
        charged = [CHLORIDE] if backbone.takes_charge else []
        lone = [geometry([8], [[0, 0, 0]]), *charged]
        together = backbone.evaluate([molecules[0], *lone, LONG])
        for row, one in enumerate(lone, start=1):
            alone = backbone.evaluate([one])
            assert np.isfinite(alone.atom_features).all()
            assert alone.atom_features.shape == (1, backbone.embedding_dim)
            assert together.energy[row] == pytest.approx(alone.energy[0], abs=ENERGY)

    def test_one_without_a_finite_energy_does_not_spoil_its_neighbours(self, backbone):
        clash = geometry([1, 1], [[0, 0, 0], [0, 0, 0]])
        for larger in (METHANE, LONG):
            alone = backbone.evaluate([larger])
            together = backbone.evaluate([clash, larger])
            assert together.energy[1] == pytest.approx(alone.energy[0], abs=ENERGY)

    def test_charge_matters_where_it_is_taken(self, backbone):
        if not backbone.takes_charge:
            assert "does not take the total charge" in refusal(backbone, CHLORIDE.numbers, -1, 1)
            return
        ions = [Geometry(METHANE.numbers, METHANE.positions, charge) for charge in (-2, 0, 2)]
        found = backbone.evaluate(ions)
        assert len(np.unique(found.energy.round(2))) == 3
        sums = found.charges.reshape(3, 5).sum(axis=1)
        np.testing.assert_allclose(sums, [-2, 0, 2], atol=1e-3)

    def test_a_molecule_beyond_the_dense_size_in_any_company(self, backbone, molecules):
        assert len(LONG.numbers) > DENSE_ATOMS
        alone = backbone.evaluate([LONG])
        batch = [molecules[0], LONG, HYDROGEN, LONG, molecules[1]]
        together = backbone.evaluate(batch)
        singles = [backbone.evaluate([one]).energy[0] for one in batch]
        np.testing.assert_allclose(together.energy, singles, rtol=0, atol=ENERGY)
        np.testing.assert_allclose(
            together.atom_features[slices(batch)[3]], alone.atom_features, rtol=0, atol=FEATURE
        )


class TestRefusal:
    def test_what_the_backbone_knows_is_not_refused(self, backbone, molecules):
        assert all(
            refusal(backbone, g.numbers, g.charge, g.multiplicity) is None for g in molecules
        )

    def test_unknown_elements_are_named(self, backbone):
        found = refusal(backbone, np.array([6, 92, 1, 96, 92], np.uint8), 0, 1)
        assert found == f"{backbone.name} does not know the element U, Cm"

    def test_a_number_of_no_element_is_refused(self, backbone):
        found = refusal(backbone, np.array([6, 200], np.uint8), 0, 1)
        assert found == f"{backbone.name} does not know the element number 200"

    def test_open_shells(self, backbone):
        found = refusal(backbone, np.array([8, 8], np.uint8), 0, 3)
        if backbone.takes_open_shell:
            assert found is None
        else:
            assert found == f"{backbone.name} is for closed shells; the multiplicity is 3"


@pytest.fixture(scope="module")
def calculated(aimnet_file):
    """Energies by aimnet's own calculator, one molecule at a time, eV."""
    from aimnet.calculators import AIMNet2Calculator  # noqa: PLC0415 (slow import)

    calculator = AIMNet2Calculator(str(aimnet_file), device="cpu")

    def energy(one):
        found = calculator(
            {
                "coord": torch.tensor(one.positions, dtype=torch.float32),
                "numbers": torch.tensor(one.numbers, dtype=torch.int64),
                "charge": torch.tensor([one.charge], dtype=torch.float32),
            }
        )
        return float(found["energy"].double())

    return energy


class TestAgainstTheCalculator:
    """aimnet's own calculator, one molecule at a time, is what a chemist would compare with."""

    def test_real_molecules_charged_ones_among_them(
        self, aimnet, calibration, calculated, record_property
    ):
        ions = [g for g in calibration.geometries if g.charge]
        neutral = [g for g in calibration.geometries if not g.charge]
        by_element = [next(g for g in neutral if z in g.numbers) for z in aimnet.elements]
        batch = [*ions[::3], *neutral[::25], *by_element]
        assert {g.charge for g in batch} == {-1, 0, 1}
        assert set().union(*(g.numbers.tolist() for g in batch)) == aimnet.elements
        difference = aimnet.evaluate(batch).energy - [calculated(one) for one in batch]
        largest = float(np.abs(difference).max())
        record_property("largest_difference_ev", largest)
        print(f"largest difference of {len(batch)} molecules: {largest:.1e} eV")
        assert largest < ENERGY

    def test_a_molecule_beyond_the_dense_size_alone_and_in_a_mixed_batch(
        self, aimnet, calibration, calculated, record_property
    ):
        ion = Geometry(LONG.numbers[:-1], LONG.positions[:-1], 1)
        batch = [calibration.geometries[0], LONG, ion, CHLORIDE]
        expected = np.array([calculated(one) for one in batch])
        mixed = np.abs(aimnet.evaluate(batch).energy - expected).max()
        alone = np.abs(aimnet.evaluate([LONG]).energy - expected[1]).max()
        record_property("largest_difference_ev", float(max(mixed, alone)))
        print(f"largest difference beyond {DENSE_ATOMS} atoms: {max(mixed, alone):.1e} eV")
        assert max(mixed, alone) < ENERGY

    def test_just_below_the_dense_size(self, aimnet, calculated):
        long = alkane(39)
        assert len(long.numbers) == 119 <= DENSE_ATOMS
        assert aimnet.evaluate([long]).energy[0] == pytest.approx(calculated(long), abs=ENERGY)


class TestLoad:
    def test_an_unknown_name_is_told_the_nearest(self):
        with pytest.raises(ProbeError, match="did you mean aimnet2-b973c"):
            backbones.load("aimnet2-b97c")

    def test_weights_that_are_missing_are_said_so(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PROBE_WEIGHTS", str(tmp_path))
        with pytest.raises(ProbeError, match=r"probe weights fetch aimnet2-b973c"):
            backbones.load("aimnet2-b973c", "cpu")
