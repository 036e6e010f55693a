"""MACE through the ``mace-torch`` package: any of its models that maps a geometry to an energy.

On a CPU the network runs in double precision; on a GPU in single, since most cards are many times
slower in double. Atomic reference energies, which are nearly all of a total energy, and the sum
over atoms are in double precision everywhere.

A .model file is a pickle. mace sets an environment variable that makes torch unpickle whatever it
is given, so it is imported nowhere else, and what it sets is taken back.
"""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from probe.backbones.contract import Evaluation, Geometry, Source, fingerprint
from probe.errors import ProbeError
from probe.listing import Entry, Located
from probe.tables import first_line

SUFFIX = ".model"
IS_CODE = True
PRECISION = {"cpu": torch.float64, "cuda": torch.float32}
KINDS = ("MACE", "ScaleShiftMACE")
"""Classes of mace.modules whose output is an energy of a geometry alone."""
DERIVED = ("U_matrix", "_w3j", "output_mask")
"""Parts of the names of tensors that follow from the definition, in the precision of the file."""


@dataclass(frozen=True)
class Network:
    """A mace module and which of its heads is asked."""

    module: Any
    head: str


class MaceBackbone:
    """One MACE network: the invariants of its last product block, two energy terms, no charges."""

    takes_charge = False
    takes_open_shell = False
    terms: tuple[str, ...] = ("interaction", "atomic")

    def __init__(
        self,
        name: str,
        fingerprint: str,
        network: Network,
        device: torch.device,
        dtype: torch.dtype | None = None,
    ) -> None:
        """``network`` becomes this object's: it goes to ``device`` and to the precision there."""
        module = network.module
        self.name = name
        self.fingerprint = fingerprint
        self.device = device
        self.elements = frozenset(int(number) for number in module.atomic_numbers)
        self._invariants = torch.from_numpy(_invariants(module)).to(device)
        self.embedding_dim = len(self._invariants)
        self._dtype = dtype or PRECISION[device.type]
        self._heads, self._head = _heads(module), network.head
        energies = module.atomic_energies_fn.atomic_energies.reshape(len(self._heads), -1)
        self._atomic = np.zeros(int(module.atomic_numbers.max()) + 1)
        self._atomic[module.atomic_numbers] = energies[self._heads.index(self._head)]
        module.atomic_energies_fn.atomic_energies.zero_()
        self._module = module.to(device=device, dtype=self._dtype).eval().requires_grad_(False)

    @torch.no_grad()
    def evaluate(self, batch: Sequence[Geometry]) -> Evaluation:
        """See the contract."""
        starts = np.cumsum([0, *(len(geometry.numbers) for geometry in batch[:-1])])
        numbers = np.concatenate([geometry.numbers for geometry in batch])
        with quiet():
            found = self._module(self._collated(batch), compute_force=False)
        per_atom = found["node_energy"].double().cpu().numpy()
        parts = {
            "interaction": np.add.reduceat(per_atom, starts),
            "atomic": np.add.reduceat(self._atomic[numbers], starts),
        }
        return Evaluation(
            energy=parts["interaction"] + parts["atomic"],
            atom_features=found["node_feats"][:, self._invariants].float().cpu().numpy(),
            charges=None,
            parts=parts,
        )

    def _collated(self, batch: Sequence[Geometry]) -> dict[str, torch.Tensor]:
        """The batch as mace's graphs, positions about their mean: far away, digits are lost."""
        data, tools = imported("data"), imported("tools")
        table = tools.AtomicNumberTable(self._module.atomic_numbers.tolist())
        cutoff = float(self._module.r_max)
        with _default(self._dtype):
            graphs = [
                data.AtomicData.from_config(
                    data.Configuration(
                        atomic_numbers=geometry.numbers,
                        positions=geometry.positions - geometry.positions.mean(axis=0),
                        properties={},
                        property_weights={},
                        head=self._head,
                    ),
                    z_table=table,
                    cutoff=cutoff,
                    heads=self._heads,
                )
                for geometry in batch
            ]
        collated = tools.torch_geometric.Batch.from_data_list(graphs).to_dict()
        return {name: values.to(self.device) for name, values in collated.items()}


def backbone(wanted: Entry, located: Located, device: torch.device) -> MaceBackbone:
    """See ``Adapter``."""
    return MaceBackbone(wanted.name, located.fingerprint, located.model, device)


def sources(wanted: Entry, folder: Path, *, offline: bool, local: Path | None) -> list[Source]:  # noqa: ARG001
    """See ``Adapter``: mace-torch's cache of downloads, and what its loader has for the name."""
    if local is not None:
        return [Source(str(local), local.read_bytes)]
    found = []
    if (kept := _kept(wanted)).is_file():
        found.append(Source(str(kept), kept.read_bytes))
    elif not offline:
        found.append(Source(f"mace-torch {wanted.source['model']}", partial(_download, wanted)))
    return found


def advice(wanted: Entry, target: Path) -> str:
    """See ``Adapter``."""
    digest = "" if wanted.sha256 else " --sha256 DIGEST"
    return (
        f"needed is {target}; with a network run `probe weights fetch {wanted.name}`, or download "
        f"{_url(wanted)} and run `probe weights fetch {wanted.name} --from FILE{digest}`"
    )


def read(content: bytes, wanted: Entry, where: str) -> Network:
    """See ``Adapter``. Unpickles: the caller has verified the digest of ``content``."""
    imported("modules")  # what the pickle is made of
    try:
        with quiet():
            module = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
    except Exception as error:  # a damaged pickle can raise anything
        raise ProbeError(f"{where}: not a readable model file ({first_line(error)})") from error
    kind = type(module).__name__
    if kind not in KINDS:
        raise ProbeError(f"{where}: a {kind}, but this adapter takes {' and '.join(KINDS)} alone")
    if getattr(module, "embedding_specs", None):
        extra = ", ".join(module.embedding_specs)
        raise ProbeError(
            f"{where}: needs {extra} beside a geometry, which this adapter does not give"
        )
    return Network(module, _chosen_head(_heads(module), wanted, where))


def identify(model: Network) -> str:
    """See ``Adapter``."""
    module = model.module
    radial = module.radial_embedding
    gates = [
        getattr(act, "f", act)
        for readout in module.readouts
        for act in getattr(getattr(readout, "non_linearity", None), "acts", ())
    ]
    definition = {
        "kind": type(module).__name__,
        "edges": str(module.spherical_harmonics.irreps_out),
        "radial": [type(radial.bessel_fn).__name__, type(radial.cutoff_fn).__name__],
        "distances": type(getattr(radial, "distance_transform", None)).__name__,
        "cutoff on edges": bool(getattr(module, "apply_cutoff", True)),
        "interactions": [type(block).__name__ for block in module.interactions],
        "neighbours": [round(float(b.avg_num_neighbors), 6) for b in module.interactions],
        "products": [str(block.linear.irreps_out) for block in module.products],
        "readouts": [type(block).__name__ for block in module.readouts],
        "gates": [getattr(gate, "__name__", type(gate).__name__) for gate in gates],
        "repulsion": hasattr(module, "pair_repulsion"),
        "heads": [*_heads(module), model.head],
    }
    tensors = {
        name: values
        for name, values in module.state_dict().items()
        if values.numel() and not any(part in name for part in DERIVED)
    }
    return fingerprint(tensors, definition)


@cache
def imported(name: str) -> Any:  # noqa: ANN401
    """The module ``name`` of mace, imported without what that does to the process."""
    before = dict(os.environ)
    try:
        with quiet(), contextlib.redirect_stdout(io.StringIO()):
            return import_module(f"mace.{name}")
    finally:
        for variable in os.environ.keys() - before.keys():
            del os.environ[variable]
        os.environ.update(before)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what mace and e3nn cannot help: torch deprecates the TorchScript they are made of.

    To be used around whatever runs a mace module, also as a decorator.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", "The TorchScript type system", UserWarning)
        warnings.filterwarnings("ignore", "Environment variable TORCH_FORCE", UserWarning)
        yield


def _invariants(module: Any) -> NDArray[np.int64]:  # noqa: ANN401 (mace has no types)
    """Columns of mace's node features, all blocks one after the other, that are L = 0 of the last.

    Even scalars alone: an odd one changes sign in the mirror, and the energy does not.
    """
    blocks = [block.linear.irreps_out for block in module.products]
    start = sum(irreps.dim for irreps in blocks[:-1])
    last = blocks[-1]
    columns = [
        np.arange(start + part.start, start + part.stop)
        for (_, irrep), part in zip(last, last.slices(), strict=True)
        if irrep.l == 0 and irrep.p == 1
    ]
    return np.concatenate(columns)


def _heads(module: Any) -> list[str]:  # noqa: ANN401
    return list(getattr(module, "heads", None) or ["Default"])


def _chosen_head(heads: list[str], wanted: Entry, where: str) -> str:
    """The listed head, the only one, or the one called default, as mace's own calculator does."""
    asked = wanted.source.get("head")
    default = [head for head in heads if head.lower() == "default"]
    for head in (asked,) if asked else (heads if len(heads) == 1 else default):
        if head in heads:
            return str(head)
    lacking = f"has no head {asked}" if asked else "has several heads and none called default"
    raise ProbeError(
        f"{where}: {wanted.name} {lacking}; name one with the key head in your list of backbones: "
        f"{', '.join(heads)}"
    )


def _url(wanted: Entry) -> str:
    """Where mace-torch has the model from: a name in its own tables, or an address as it is."""
    known = getattr(imported("calculators.foundations_models"), f"{wanted.source['loader']}_urls")
    return str(known.get(wanted.source["model"], wanted.source["model"]))


def _kept(wanted: Entry) -> Path:
    """Where mace-torch's ``mace_off`` or ``mace_mp`` keeps what it has downloaded."""
    name = _url(wanted).rpartition("/")[2].partition("?")[0]
    if wanted.source["loader"] == "mace_mp":
        name = "".join(letter for letter in name if letter.isalnum() or letter == "_")
    return Path(imported("tools.utils").get_cache_dir()) / name


def _download(wanted: Entry) -> bytes:
    """The file that mace-torch downloads; its ``mace_off`` would unpickle it at once."""
    print(f"weights: the licence of {wanted.name} is {wanted.licence}", file=sys.stderr)
    loaders = imported("calculators.foundations_models")
    with contextlib.redirect_stdout(sys.stderr):  # it prints; ours is what --json asked for
        try:
            return Path(loaders.download_mace_mp_checkpoint(_url(wanted))).read_bytes()
        except (OSError, RuntimeError, HTTPException) as error:
            raise ProbeError(
                f"download failed ({first_line(error)}); where a browser gets {_url(wanted)}, "
                f"give that file with --from"
            ) from error


@contextlib.contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """Tensors are made in ``dtype``; mace's own such context keeps it after an error."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
