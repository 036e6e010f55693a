"""What DFT will cost: the basis functions of every element, and hours from them."""

import runpy

import numpy as np
import polars as pl
import pytest
from repository import ROOT

from probe.dft import scf
from probe.dft.cost import BY_ATOMS, BY_FUNCTIONS, FUNCTIONS, SCALE, core_hours, seconds
from probe.dft.methods import WB97M_D3

RESOURCES = ROOT / "resources/calibration"
TIMES = RESOURCES / "times.parquet"

ATOMS = pl.List(pl.UInt8)


def hours(*conformers):
    return core_hours(pl.Series(conformers, dtype=ATOMS)).to_list()


def test_water_by_hand():
    """24 functions on O and 3 on each H."""
    assert hours([8, 1, 1]) == [pytest.approx(1.81e-5 * 30**2.322 * 3**0.26 / 3600)]


def test_every_conformer_has_its_own_in_order():
    alone = [hours(atoms)[0] for atoms in ([6, 1, 1, 1, 1], [8, 1, 1], [53, 53])]
    assert hours([6, 1, 1, 1, 1], [8, 1, 1], [53, 53]) == alone
    assert alone[1] < alone[0] < alone[2]


def test_an_element_without_a_basis_leaves_the_cost_unknown():
    assert hours([8, 1, 1], [92, 9, 9], [0])[1:] == [None, None]


def test_of_none_there_is_none():
    assert hours() == []


def test_the_elements_are_those_of_the_calculation():
    assert FUNCTIONS.keys() == scf.ELEMENTS


@pytest.mark.parametrize("number", FUNCTIONS)
def test_their_functions_are_those_of_the_calculation(number):
    assert FUNCTIONS[number] == scf.basis_functions([number])


def test_what_labelling_expects_is_the_same():
    assert seconds([8, 1, 1]) == pytest.approx(3600 * hours([8, 1, 1])[0])


class TestItsError:
    """Against what the last of the shipped labels took."""

    @pytest.fixture
    def taken(self):
        return pl.read_parquet(TIMES, columns=["numbers", "dft_seconds"])

    @pytest.fixture
    def expected(self, taken):
        return (3600 * core_hours(taken["numbers"])).to_numpy()

    def test_the_sum_is_right(self, taken, expected):
        assert expected.sum() == pytest.approx(taken["dft_seconds"].sum(), rel=0.03)

    @pytest.mark.parametrize(("share", "factor"), [(68, 1.2), (90, 1.3)])
    def test_a_conformers_is_within_a_factor(self, taken, expected, share, factor):
        off = np.abs(np.log(expected / taken["dft_seconds"].to_numpy()))
        assert np.exp(np.percentile(off, share)) < factor


def test_its_constants_are_what_the_script_fits(capsys):
    runpy.run_path(str(RESOURCES / "cost_model.py"))["main"](TIMES)
    fitted = f"{SCALE:.3g} * functions ** {BY_FUNCTIONS:.3f} * atoms ** {BY_ATOMS:.2f}"
    assert fitted in capsys.readouterr().out


def test_other_methods_and_open_shells_take_longer():
    water = pl.Series([[8, 1, 1]] * 2, dtype=ATOMS)
    plain = core_hours(water)
    closed, open_shell = core_hours(water, WB97M_D3, pl.Series([1, 2]))
    assert closed == pytest.approx(6.5 * plain[0])
    assert open_shell == pytest.approx(1.5 * closed)
