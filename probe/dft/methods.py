"""Levels of theory that conformers are recomputed at: those that backbones were trained on."""

import difflib
from dataclasses import dataclass

from probe.errors import ProbeError


@dataclass(frozen=True)
class Method:
    """A density functional with basis and corrections, in the terms of PySCF and dftd3."""

    name: str
    """As resources/backbones.yaml has it."""
    functional: str
    basis: str
    fitting: str
    """Basis that densities are fitted in."""
    dispersion: str
    """Name of the D3(BJ) parameters in dftd3."""
    three_body: bool
    """Whether the dispersion has its three-body term."""
    short_range_bond: bool
    grid_level: int


B97_3C = Method(
    name="B97-3c",
    functional="GGA_XC_B97_3C",
    basis="def2-mtzvp",
    fitting="def2-universal-jfit",
    dispersion="b973c",
    three_body=True,
    short_range_bond=True,
    grid_level=2,
)
WB97M_D3 = Method(
    name="wB97M-D3(BJ)/def2-TZVPP",
    functional="HYB_MGGA_XC_WB97M_V",  # D3 takes the place of its nonlocal correlation
    basis="def2-tzvpp",
    fitting="def2-universal-jkfit",
    dispersion="wb97m",
    three_body=False,
    short_range_bond=False,
    grid_level=3,
)

METHODS = {method.name: method for method in (B97_3C, WB97M_D3)}


def named(name: str) -> Method:
    """The method of that name.

    Raises:
        ProbeError: there is none; the message names the nearest.
    """
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.5)
    hint = f"the nearest is {near[0]}; " if near else ""
    raise ProbeError(
        f"method {name} is not one that can be recomputed with; {hint}there are "
        f"{', '.join(METHODS)}"
    )
