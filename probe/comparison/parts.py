"""The labels that peers are compared on, and the parts of a split as peers see them."""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from probe import backbones, schemas
from probe.backbones import Backbone
from probe.classifier.calibration import Labelled, Rows, select, siblings_ev
from probe.classifier.labels import Labels, read, reserved
from probe.classifier.shift import Shift
from probe.comparison.peers import Part
from probe.comparison.splits import Split
from probe.errors import ProbeError

Array = NDArray[np.float64]

MIN_ELEMENT_MOLECULES = 4
"""Of the fit part, for the reference's shift of an element."""
MIN_MOLECULES = 50
"""With fewer a test part of a fifth is too small to tell anything."""


@dataclass(frozen=True)
class LabelledSet:
    """The labels to compare on: M conformers, with ids [M].

    ``members_ev`` [M, 1 + S] are the energies by the backbone and the others of its ensemble,
    None where they are not known.

    ``identity`` says which labels and which backbone they are.
    """

    data: Labelled
    conformer_ids: NDArray[np.str_]
    members_ev: Array | None
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A split as peers see it, and the tested conformers' ids.

    ``tolerances`` are the boundary, which is the median |error| of the fit part, and the fixed
    ones; ``n_left_out`` counts the conformers with an element that has no shift.
    """

    split: Split
    fit: Part
    tune: Part
    calibrate: Part
    test: Part
    test_ids: NDArray[np.str_]
    tolerances: tuple[float, ...]
    n_left_out: int


def gather(
    paths: Sequence[Path], backbone: str, cache: Path, device: str, batch_atoms: int | None
) -> LabelledSet:
    """The labels of all ``paths`` with the backbone's answers, each conformer once.

    Reserved molecules and conformers that the backbone cannot take are left out.

    Raises:
        ProbeError: a file is not a labelled set, the backbone cannot be had, or fewer molecules
            than ``MIN_MOLECULES`` are left.
    """
    known = _together([read(path) for path in paths])
    potential = backbones.load(backbone, device)
    samples = select(known, potential, cache, batch_atoms)
    kept = [i for i, s in enumerate(samples) if s is not None and not reserved(known.smiles[i])]
    data = Labelled.of(known, samples, kept)
    n_molecules = len(np.unique(data.smiles))
    if n_molecules < MIN_MOLECULES:
        raise ProbeError(
            f"{', '.join(map(str, paths))}: {n_molecules} molecules are too few to compare on; "
            f"at least {MIN_MOLECULES} are needed, so label more"
        )
    siblings = _siblings_ev(known, potential, cache, batch_atoms)
    own = np.array([sample.energy_ev for sample in data.samples])
    return LabelledSet(
        data,
        np.array([known.conformer_ids[i] for i in kept]),
        None if siblings is None else np.column_stack([own, siblings[kept]]),
        {
            "backbone": backbone,
            "fingerprint": potential.fingerprint,
            "labels_sha256": known.sha256,
        },
    )


def prepare(
    labels: LabelledSet, split: Split, target: Split, tolerances_kcal: Sequence[float]
) -> Prepared | None:
    """The parts of ``split`` with errors on the scale of the fit part of ``target``.

    A learning curve asks the same question at every size: ``target`` is then the split that it
    is a subset of. None where a part has no conformer whose elements all have a shift.
    """
    data = labels.data
    shift = scale(data, target)
    fitted = target.fit[data.covered(target.fit, shift)]
    boundary = float(np.median(np.abs(data.error_kcal(fitted, shift))))
    rows = {name: getattr(split, name) for name in ("fit", "tune", "calibrate", "test")}
    kept = {name: part[data.covered(part, shift)] for name, part in rows.items()}
    if not all(len(part) for part in kept.values()):
        return None
    siblings = _siblings_kcal(labels, target)
    return Prepared(
        split=split,
        **{name: _part(labels, part, shift, siblings) for name, part in kept.items()},
        test_ids=labels.conformer_ids[kept["test"]],
        tolerances=(boundary, *tolerances_kcal),
        n_left_out=sum(map(len, rows.values())) - sum(map(len, kept.values())),
    )


def scale(data: Labelled, split: Split) -> Shift:
    """The reference's shift, fitted to the fit part.

    An element that was left out of it has no shift there, and without one no error. Its own is
    the median difference per atom over the test part, which peers do not see: what is asked is
    how errors vary around an element's level, not what that level is.
    """
    shift = data.shift(split.fit, MIN_ELEMENT_MOLECULES)
    if split.element is None:
        return shift
    extended = Shift({**shift.per_element, split.element: 0.0}, shift.per_charge)
    rows = split.test[data.covered(split.test, extended)]
    number = chemical_symbols.index(split.element)
    counts = np.array([int((data.samples[row].numbers == number).sum()) for row in rows])
    rows, counts = rows[counts > 0], counts[counts > 0]
    if not len(rows):
        return shift
    per_atom = data.error_kcal(rows, extended) / schemas.KCAL_PER_EV / counts
    order = np.argsort(per_atom)
    middle = int(np.searchsorted(np.cumsum(counts[order]), counts.sum() / 2))
    return Shift(
        {**shift.per_element, split.element: float(per_atom[order][middle])}, shift.per_charge
    )


def _together(sets: Sequence[Labels]) -> Labels:
    """Several labelled sets as one; of a conformer in two of them the first counts."""
    where = {
        name: (number, row)
        for number, known in reversed(list(enumerate(sets)))
        for row, name in reversed(list(enumerate(known.conformer_ids)))
    }
    rows = sorted(where.values())
    digests = "".join(sorted(known.sha256 for known in sets))
    return Labels(
        tuple(sets[number].conformer_ids[row] for number, row in rows),
        tuple(sets[number].smiles[row] for number, row in rows),
        tuple(sets[number].geometries[row] for number, row in rows),
        np.array([sets[number].energy_ev[row] for number, row in rows]),
        sets[0].sha256 if len(sets) == 1 else hashlib.sha256(digests.encode()).hexdigest(),
    )


def _siblings_ev(
    known: Labels, backbone: Backbone, cache: Path, batch_atoms: int | None
) -> Array | None:
    """``siblings_ev``; None, and a line that says so, where the weights of one are missing."""
    try:
        return siblings_ev(known, backbone, cache, batch_atoms)
    except ProbeError as error:
        print(f"compare: nothing is known of the backbone's ensemble: {error}", file=sys.stderr)
        return None


def _siblings_kcal(labels: LabelledSet, split: Split) -> Array | None:
    """Errors [M, S] of the others of the ensemble, each on the scale of ``split``, kcal/mol."""
    if labels.members_ev is None:
        return None
    rows = np.arange(len(labels.data))
    others = [labels.data.by_another(energies) for energies in labels.members_ev.T[1:]]
    return np.array([other.error_kcal(rows, scale(other, split)) for other in others]).T


def _part(labels: LabelledSet, rows: Rows, shift: Shift, siblings: Array | None) -> Part:
    data = labels.data
    return Part(
        [data.samples[row] for row in rows],
        data.smiles[rows],
        data.error_kcal(rows, shift),
        None if labels.members_ev is None else labels.members_ev[rows],
        None if siblings is None else siblings[rows],
    )
