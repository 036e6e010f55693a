"""Programs that recompute a conformer: one task for each, in a worker process or not."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import numpy as np

from probe.dft import scf
from probe.dft.journal import Row
from probe.dft.methods import Method
from probe.dft.workers import Died
from probe.errors import ProbeError

ENGINES = ("pyscf", "gpu4pyscf")

PROGRAMS = {"pyscf": "PySCF", "gpu4pyscf": "GPU4PySCF", "orca": "ORCA"}
"""What tables call them."""


def require(engine: str) -> None:
    """Refuse an engine that this machine has not.

    Raises:
        ProbeError: GPU4PySCF or CUDA is missing; the message says what to do.
    """
    if engine == "gpu4pyscf" and (find_spec("gpu4pyscf") is None or not _has_cuda()):
        raise ProbeError(
            "engine gpu4pyscf needs CUDA and the package gpu4pyscf-cuda12x, and one of them is "
            "missing here; install it, or take engine pyscf"
        )


def origin(engine: str, method: Method) -> dict[str, Any]:
    """What a stored result is of: program, method and settings."""
    return {"engine": engine, "method": method.name, **asdict(_settings(method))}


def compute(row: Mapping[str, Any], method: Method, engine: str) -> Row:
    """A row of ``schemas.COMPUTED`` for a conformer (``schemas.TO_COMPUTE``).

    What cannot be computed has no energy, and the reason.
    """
    numbers, charge = np.array(row["numbers"], dtype=np.uint8), int(row["charge"])
    multiplicity = int(row["multiplicity"])
    found: dict[str, Any] = {
        "conformer_id": row["conformer_id"],
        "method": method.name,
        "engine": PROGRAMS[engine],
    }
    problem = scf.unsupported(numbers, method) or scf.wrong_spin(numbers, charge, multiplicity)
    if problem:
        return found | failed(problem)
    answer = asdict(
        scf.reference_energy(
            numbers,
            np.array(row["positions"]).reshape(-1, 3),
            charge,
            _settings(method),
            multiplicity=multiplicity,
            method=method,
            gpu=engine == "gpu4pyscf",
        )
    )
    answer["dft_energy_ev"] = answer.pop("energy_ev")
    return found | answer | {"reason": None if answer["converged"] else _unconverged(answer)}


def died(what: Died, method: Method, engine: str) -> Row:
    """A row of ``schemas.COMPUTED`` for a conformer that ended its worker process."""
    return {
        "conformer_id": what.row["conformer_id"],
        "method": method.name,
        "engine": PROGRAMS[engine],
        **failed(what.reason),
        "dft_seconds": what.seconds,
    }


def failed(reason: str) -> Row:
    """The columns of a conformer without an energy."""
    empty = ("dft_energy_ev", "e_scf_hartree", "e_d3_hartree", "e_srb_hartree", "gap_ev", "nao")
    return dict.fromkeys(empty) | {
        "dft_seconds": 0.0,
        "converged": False,
        "remedy": "",
        "reason": reason,
    }


def _unconverged(answer: Mapping[str, Any]) -> str:
    tried = ", ".join(filter(None, scf.REMEDIES))
    return (
        f"the SCF found no converged state with the lowest orbitals filled, plain or with {tried} "
        f"(last: {answer['remedy']})"
    )


def _settings(method: Method) -> scf.Settings:
    return scf.Settings(grid_level=method.grid_level)


def _has_cuda() -> bool:
    import torch  # noqa: PLC0415 (slow import)

    return bool(torch.cuda.is_available())
