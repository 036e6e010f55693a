"""What DFT will cost: the basis functions of every element, and hours from them."""

import polars as pl
import pytest

from probe import dft
from probe.cost import FUNCTIONS, core_hours

ATOMS = pl.List(pl.UInt8)


def hours(*conformers):
    return core_hours(pl.Series(conformers, dtype=ATOMS)).to_list()


def test_water_by_hand():
    """24 functions on O and 3 on each H."""
    assert hours([8, 1, 1]) == [pytest.approx(7.0 * (30 / 150) ** 2.4 / 3600)]


def test_every_conformer_has_its_own_in_order():
    alone = [hours(atoms)[0] for atoms in ([6, 1, 1, 1, 1], [8, 1, 1], [53, 53])]
    assert hours([6, 1, 1, 1, 1], [8, 1, 1], [53, 53]) == alone
    assert alone[1] < alone[0] < alone[2]


def test_an_element_without_a_basis_leaves_the_cost_unknown():
    assert hours([8, 1, 1], [92, 9, 9], [0])[1:] == [None, None]


def test_of_none_there_is_none():
    assert hours() == []


def test_the_elements_are_those_of_the_calculation():
    assert FUNCTIONS.keys() == dft.ELEMENTS


@pytest.mark.parametrize("number", FUNCTIONS)
def test_their_functions_are_those_of_the_calculation(number):
    pytest.importorskip("pyscf")
    assert FUNCTIONS[number] == dft.basis_functions([number])
