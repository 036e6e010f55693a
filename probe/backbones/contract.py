"""What every backbone provides, and what it may be asked to evaluate."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray

from probe.listing import Entry, Located


@dataclass(frozen=True)
class Geometry:
    """One conformer: ``numbers`` [N], ``positions`` [N, 3] in Å, total ``charge`` in e."""

    numbers: NDArray[np.uint8]
    positions: NDArray[np.float64]
    charge: int = 0
    multiplicity: int = 1


@dataclass(frozen=True)
class Evaluation:
    """A backbone's answer for a batch of B conformers with ΣN atoms, in the batch's order.

    ``energy`` [B] float64 in eV; ``atom_features`` [ΣN, D] float32; ``charges`` [ΣN] float32
    in e, or None; ``parts`` names the terms that ``energy`` is the sum of, each [B] in eV.
    """

    energy: NDArray[np.float64]
    atom_features: NDArray[np.float32]
    charges: NDArray[np.float32] | None
    parts: Mapping[str, NDArray[np.float64]]


class Backbone(Protocol):
    """A frozen potential. Adapters hold no state that a call to ``evaluate`` changes."""

    name: str
    fingerprint: str
    device: torch.device
    embedding_dim: int
    elements: frozenset[int]
    takes_charge: bool
    takes_open_shell: bool
    terms: tuple[str, ...]

    def evaluate(self, batch: Sequence[Geometry]) -> Evaluation:
        """Energies and per-atom embeddings; batched equals single, order is kept."""
        ...


class Source(NamedTuple):
    """A place that may have a network's weights; ``get`` gives the content of the file to keep.

    ``get`` raises ProbeError, with what hindered it, where the place has none.
    """

    name: str
    get: Callable[[], bytes]


class Adapter(Protocol):
    """What a module of probe/backbones provides for the networks of its kind."""

    SUFFIX: str
    """Of a file of weights as it is kept."""
    IS_CODE: bool
    """Whether reading such a file can run code: then it is read only with a known digest."""

    def sources(
        self, wanted: Entry, folder: Path, *, offline: bool, local: Path | None
    ) -> list[Source]:
        """Where ``wanted`` may come from, best first; ``local`` alone where the user names it."""
        ...

    def advice(self, wanted: Entry, target: Path) -> str:
        """What to do where there is no network, for ``target`` to be made."""
        ...

    def read(self, content: bytes, wanted: Entry, where: str) -> Any:  # noqa: ANN401 (its own)
        """The model in ``content``, a kept file, which has been verified.

        Raises:
            ProbeError: it is no such model; ``where`` names the file.
        """
        ...

    def identify(self, model: Any) -> str:  # noqa: ANN401
        """The fingerprint of a model: its parameters and what else decides its energies."""
        ...

    def backbone(self, wanted: Entry, located: Located, device: torch.device) -> Backbone:
        """The model of ``located``, ready to evaluate on ``device``."""
        ...


def refusal(
    backbone: Backbone, numbers: NDArray[np.uint8], charge: int, multiplicity: int
) -> str | None:
    """Why ``backbone`` cannot take this conformer, or None if it can."""
    unknown = sorted(set(numbers.tolist()) - backbone.elements)
    if unknown:
        symbols = ", ".join(
            chemical_symbols[z] if z < len(chemical_symbols) else f"number {z}" for z in unknown
        )
        return f"{backbone.name} does not know the element {symbols}"
    if multiplicity != 1 and not backbone.takes_open_shell:
        return f"{backbone.name} is for closed shells; the multiplicity is {multiplicity}"
    if charge != 0 and not backbone.takes_charge:
        return f"{backbone.name} does not take the total charge; it is {charge:+d}"
    return None


def fingerprint(parameters: Mapping[str, torch.Tensor], definition: Mapping[str, Any]) -> str:
    """Identity of a network: 16 hex digits over its parameters and its definition.

    The storage format, the order of the parameters and their float width do not matter, so the
    same network from two sources has one fingerprint.
    """
    digest = hashlib.sha256(json.dumps(definition, sort_keys=True).encode())
    for name in sorted(parameters):
        values = parameters[name].detach().to(torch.float64).nan_to_num().contiguous()
        digest.update(f"{name}{tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:16]
