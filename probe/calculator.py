"""PROBE for ASE: a calculator that knows how far its energy can be trusted."""

from collections.abc import Sequence
from typing import Any, Protocol

import ase
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from probe.backbones import Geometry
from probe.classifier.checkpoint import Scored
from probe.conformers.electrons import check_parity
from probe.errors import ProbeError
from probe.library.parser import Unusable


class Judge(Protocol):
    """What a calculator asks: ``probe.Probe`` is one."""

    def judge(self, geometry: Geometry) -> tuple[float, Scored]:
        """Energy in eV and PROBE's answer; a ProbeError where there is none."""
        ...


class ProbeCalculator(Calculator):
    """The backbone's energy in eV; its results also hold p_unreliable, importance [N] and
    latent_distance.

    Charge and multiplicity are those given here, else those in the ``info`` of the atoms, else 0
    and 1. There are no analytical forces; ``ase.calculators.fd.calculate_numerical_forces`` (with
    eps=1e-3) has numerical ones.
    """

    implemented_properties: list[str] = ["energy", "free_energy"]  # noqa: RUF012 (as in ASE)
    default_parameters: dict[str, Any] = {"charge": None, "multiplicity": None}  # noqa: RUF012
    ignored_changes: set[str] = {"initial_charges", "initial_magmoms"}  # noqa: RUF012

    def __init__(self, probe: Judge, **settings: Any) -> None:  # noqa: ANN401 (ASE's)
        super().__init__(**settings)  # type: ignore[no-untyped-call]
        self.probe = probe

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results``; see ASE.

        Raises:
            ProbeError: the atoms are periodic, their charge or multiplicity is impossible, or
                the backbone cannot take them.
        """
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        if self.atoms is None:
            raise ProbeError("no atoms to calculate; give some")
        energy, scored = self.probe.judge(self._geometry(self.atoms))
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "p_unreliable": scored.p_unreliable,
            "importance": scored.importance,
            "latent_distance": scored.latent_distance,
        }

    def _geometry(self, atoms: ase.Atoms) -> Geometry:
        if atoms.pbc.any():
            raise ProbeError("periodic atoms: only molecules have an answer; set pbc to False")
        charge, multiplicity = (
            self._stated(atoms, "charge", 0),
            self._stated(atoms, "multiplicity", 1),
        )
        try:
            check_parity(int(atoms.numbers.sum()) - charge, multiplicity)
        except Unusable as unusable:
            raise ProbeError(str(unusable)) from unusable
        numbers = atoms.numbers.astype(np.uint8)
        return Geometry(numbers, atoms.positions.copy(), charge, multiplicity)

    def _stated(self, atoms: ase.Atoms, name: str, default: int) -> int:
        given = self.parameters[name]
        return int(atoms.info.get(name, default) if given is None else given)
