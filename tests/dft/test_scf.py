"""Reference energies: known values of the method, the ways to converge, and what is refused."""

import numpy as np
import pyscf.dft
import pytest
from pyscf import gto
from pyscf.gto import basis
from repository import CALIBRATION

from probe import tables
from probe.dft import scf
from probe.dft.methods import B97_3C, METHODS, WB97M_D3
from probe.dft.scf import Settings, reference_energy
from probe.errors import ProbeError

WATER = np.array([8, 1, 1]), np.array([[0, 0, 0.1173], [0, 0.7572, -0.4692], [0, -0.7572, -0.4692]])
OXYGEN = np.array([8, 8]), np.array([[0, 0, 0], [0, 0, 1.21]])
HYDROXYL = np.array([8, 1]), np.array([[0, 0, 0], [0, 0, 0.97]])
NITROGEN = np.array([7, 7]), np.array([[0, 0, 0], [0, 0, 1.1]])
IMIDOGEN = np.array([7, 1]), np.array([[0, 0, 0], [0, 0, 1.04]])
"""Its singlet has two electrons for two orbitals of one energy: no closed shell is its lowest."""
CARBON_MONOXIDE_APART = np.array([6, 8]), np.array([[0, 0, 0], [0, 0, 3.0]])

PARTS = ("e_scf_hartree", "e_d3_hartree", "e_srb_hartree")


@pytest.fixture(scope="module")
def known():
    """The shipped labels by SMILES: of the same method, computed before this module was."""
    rows = tables.open_parquet(CALIBRATION).read().to_pylist()
    return {row["smiles"]: row for row in rows}


class TestEnergy:
    @pytest.mark.parametrize("smiles", ["N#N", "C=O", "CCl", "CI"])
    def test_it_is_the_known_one_by_parts(self, known, smiles):
        row = known[smiles]
        positions = np.array(row["positions"]).reshape(-1, 3)
        found = reference_energy(np.array(row["numbers"]), positions, row["charge"])
        assert found.converged
        for part in PARTS:
            assert getattr(found, part) == pytest.approx(row[part], rel=0, abs=2e-6), part
        assert found.energy_ev == pytest.approx(row["energy_ev"], rel=0, abs=5e-5)
        assert found.gap_ev == pytest.approx(row["gap_ev"], abs=2e-3)
        assert found.nao == row["nao"]
        assert found.dft_seconds > 0

    def test_its_parts_add_up(self):
        found = reference_energy(*WATER, 0)
        total = sum(getattr(found, part) for part in PARTS)
        assert found.energy_ev == pytest.approx(total * scf.EV_PER_HARTREE, rel=0, abs=1e-9)

    def test_the_default_settings_leave_less_than_they_say(self):
        exact = Settings(scf.DEFAULT.grid_level, scf.TIGHT.conv_tol, scf.TIGHT.conv_tol_grad)
        for molecule in (WATER, NITROGEN):
            left = (
                reference_energy(*molecule, 0).e_scf_hartree
                - reference_energy(*molecule, 0, exact).e_scf_hartree
            )
            assert abs(left) < 1e-6

    def test_the_charge_counts(self):
        neutral = reference_energy(*WATER, 0)
        proton = np.array([[0.0, 0.0, 1.1]])
        ion = reference_energy(np.array([8, 1, 1, 1]), np.vstack([WATER[1], proton]), 1)
        assert ion.energy_ev < neutral.energy_ev - 5

    def test_the_core_of_a_heavy_atom_is_a_potential(self):
        """All 54 electrons of xenon have an energy of -7232 hartree, its outer 26 one of -329."""
        xenon = reference_energy(np.array([54]), np.zeros((1, 3)), 0)
        assert xenon.e_scf_hartree == pytest.approx(-329, abs=1)


class TestConvergence:
    def test_nothing_is_needed_as_a_rule(self):
        assert reference_energy(*WATER, 0).remedy == ""

    @pytest.mark.parametrize("remedy", ["level shift", "second order"])
    def test_each_remedy_leads_to_the_same_energy_and_gap(self, monkeypatch, remedy):
        plain = reference_energy(*WATER, 0)
        monkeypatch.setattr(scf, "REMEDIES", {remedy: scf.REMEDIES[remedy]})
        found = reference_energy(*WATER, 0)
        assert found.remedy == remedy
        assert found.e_scf_hartree == pytest.approx(plain.e_scf_hartree, rel=0, abs=1e-6)
        assert found.gap_ev == pytest.approx(plain.gap_ev, abs=0.01)

    def test_what_one_remedy_cannot_the_next_is_asked_to(self, monkeypatch):
        def hopeless(mean_field):
            mean_field.max_cycle = 1
            return mean_field

        plain = reference_energy(*WATER, 0)
        monkeypatch.setitem(scf.REMEDIES, "", hopeless)
        found = reference_energy(*WATER, 0)
        assert (found.converged, found.remedy) == (True, "level shift")
        assert found.energy_ev == pytest.approx(plain.energy_ev, abs=3e-5)

    def test_a_bond_that_is_pulled_apart_converges(self):
        found = reference_energy(*CARBON_MONOXIDE_APART, 0)
        assert found.converged
        assert found.gap_ev > 0
        assert -112.85 < found.e_scf_hartree < -112.7

    def test_a_state_above_the_lowest_is_no_energy(self):
        found = reference_energy(*IMIDOGEN, 0)
        assert not found.converged
        assert found.remedy == "second order"
        energies = (found.energy_ev, *(getattr(found, part) for part in PARTS), found.gap_ev)
        assert energies == (None,) * 5
        assert (found.nao, found.dft_seconds > 0) == (22, True)

    def test_what_the_program_gives_up_on_did_not_converge(self, monkeypatch):
        def broken(*_):
            raise np.linalg.LinAlgError("Eigenvalues did not converge")

        monkeypatch.setattr(scf, "_mean_field", broken)
        found = reference_energy(*WATER, 0)
        assert (found.converged, found.energy_ev) == (False, None)
        assert found.remedy == "second order: Eigenvalues did not converge"


class TestRefusal:
    def test_an_odd_number_of_electrons(self):
        with pytest.raises(ProbeError, match="9 electrons cannot have multiplicity 1"):
            reference_energy(*WATER, 1)

    def test_elements_without_a_basis(self):
        assert scf.unsupported([6, 92, 58, 92]) == "B97-3c has no basis for Ce, U"
        with pytest.raises(ProbeError, match="no basis for U"):
            reference_energy(np.array([92]), np.zeros((1, 3)), 0)

    def test_those_of_the_backbone_have_one(self):
        assert not scf.unsupported([1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53])

    @pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
    def test_every_other_element_has_all_that_it_needs(self, method):
        """Basis and fitting basis; for heavy ones also the core potential."""
        for number in scf.ELEMENTS:
            symbol = scf.chemical_symbols[number]
            assert basis.load(method.basis, symbol)
            assert basis.load(method.fitting, symbol)
            if number >= scf.ECP_FROM:
                assert basis.load_ecp(scf.ECP, symbol)

    @pytest.mark.parametrize(
        ("molecule", "charge", "multiplicity"),
        [(WATER, 0, 2), (WATER, 1, 1), (WATER, 10, 1), (WATER, 0, 15), (WATER, 0, 0)],
    )
    def test_a_multiplicity_that_the_electrons_cannot_have(self, molecule, charge, multiplicity):
        electrons = 10 - charge
        with pytest.raises(ProbeError, match=rf"{electrons} electrons cannot have multiplicity"):
            reference_energy(*molecule, charge, multiplicity=multiplicity)


class TestOpenShells:
    """Against PySCF called directly, without a coarse grid first or a remedy."""

    @staticmethod
    def plain(numbers, positions, charge, multiplicity, method):
        symbols = [scf.chemical_symbols[number] for number in numbers]
        atoms = list(zip(symbols, positions.tolist(), strict=True))
        molecule = gto.M(
            atom=atoms, charge=charge, spin=multiplicity - 1, basis=method.basis, verbose=0
        )
        mean_field = pyscf.dft.KS(molecule, xc=method.functional)
        mean_field = mean_field.density_fit(auxbasis=method.fitting)
        mean_field.nlc, mean_field.grids.level, mean_field.conv_tol = 0, 2, 1e-9
        return mean_field.kernel()

    @pytest.mark.parametrize(
        ("molecule", "charge", "multiplicity", "method"),
        [
            (OXYGEN, 0, 3, B97_3C),
            (WATER, 1, 2, B97_3C),
            (WATER, 0, 1, WB97M_D3),
            (HYDROXYL, 0, 2, WB97M_D3),
        ],
    )
    def test_the_energy_is_that_of_the_method(self, molecule, charge, multiplicity, method):
        found = reference_energy(*molecule, charge, multiplicity=multiplicity, method=method)
        known = self.plain(*molecule, charge, multiplicity, method)
        assert found.e_scf_hartree == pytest.approx(known, rel=0, abs=1e-6)
        assert (found.e_srb_hartree == 0) == (method is WB97M_D3)
        assert found.e_d3_hartree < 0

    def test_one_electron(self):
        """Hydrogen's atom; the functional is no exact one."""
        found = reference_energy(np.array([1]), np.zeros((1, 3)), 0, multiplicity=2)
        assert found.e_scf_hartree == pytest.approx(-0.5, abs=0.01)
        assert found.gap_ev > 0

    def test_the_triplet_of_oxygen_lies_below_its_singlet(self):
        triplet = reference_energy(*OXYGEN, 0, multiplicity=3)
        assert triplet.converged
        assert not reference_energy(*OXYGEN, 0).converged


class TestCost:
    def test_the_functions_of_a_molecule_are_those_of_its_calculation(self, known):
        for row in known.values():
            assert scf.basis_functions(row["numbers"]) == row["nao"], row["smiles"]
