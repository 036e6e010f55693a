"""Fitting PROBE to reference energies, from cached embeddings only.

A part of the molecules is held out: no network, no early stopping, no temperature and no shift
sees it. On it the shipped ensemble is judged, and triage takes its promises from it. Another part
calibrates: the temperature is fitted to it and nothing else is. The networks learn from the rest.
"""

import copy
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import cast

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from probe import __version__
from probe.classifier import importance, losses, metrics, risk
from probe.classifier.calibration import Labelled, Rows
from probe.classifier.card import FORMAT_VERSION
from probe.classifier.checkpoint import Checkpoint
from probe.classifier.exceedance import fit_scale_factor, fit_temperature
from probe.classifier.labels import Labels, in_share, reserved
from probe.classifier.network import (
    WIDTH,
    Head,
    Inputs,
    Normalisation,
    Outputs,
    Probe,
    Sample,
)
from probe.errors import ProbeError

MIN_MOLECULES = 4
"""With fewer to learn from nothing is trained."""
LARGEST_ERROR = 12.0
"""In units of the boundary; a larger error teaches as if it were this."""


@dataclass(frozen=True)
class Recipe:
    """How PROBE is trained. The defaults are what measurement showed best (docs/evidence.md)."""

    head: Head = "distribution"
    width: int = 64
    standardise: bool = True
    seed: int = 1
    members: int = 3
    held_out: float = 0.15
    calibration: float = 0.1
    boundary_percentile: float = 50.0
    learning_rate: float = 5e-4
    weight_decay: float = 1e-2
    dropout: float = 0.2
    batch_size: int = 32
    max_epochs: int = 60
    patience: int = 10
    validation: float = 0.1
    min_element_molecules: int = 4
    siblings: bool = True
    """Whether the errors of the backbone's ensemble, where it is of one, are learnt, too. They are
    mostly those of its own, and what is noise of a single network shows as such."""
    averaging: float = 0.99
    """Of the weights at a step, how much the moving average keeps that is judged and stored."""


PAPER = Recipe(
    head="classes",
    width=WIDTH,
    standardise=False,
    members=1,
    learning_rate=5e-5,
    weight_decay=1e-4,
    dropout=0.1,
    batch_size=64,
    max_epochs=200,
    patience=25,
    siblings=False,
    averaging=0.0,
)
"""The published recipe (Methods); its batch size and most epochs are ours."""

RECIPES = {"default": Recipe(), "paper": PAPER}


@dataclass(frozen=True)
class Task:
    """What the networks learn from: conformers, the molecules they are of, and their errors.

    ``error`` [M] is signed and in units of the boundary; ``smiles`` [M] groups the splits.
    ``siblings`` [M, S] are the errors of as many other networks, likewise.
    """

    inputs: Inputs
    smiles: NDArray[np.str_]
    error: Tensor
    siblings: Tensor | None = None


@dataclass(frozen=True)
class Sides:
    """Rows of a labelled set by what they are for; no molecule is on two sides."""

    fitting: Rows
    calibration: Rows
    held_out: Rows

    def where(self, kept: NDArray[np.bool_]) -> "Sides":
        """Only the rows that are ``kept`` [M]."""
        return Sides(*(rows[kept[rows]] for rows in vars(self).values()))


def train(
    labels: Labels,
    samples: Sequence[Sample | None],
    identity: dict[str, str],
    recipe: Recipe,
    siblings_ev: NDArray[np.float64] | None = None,
) -> Checkpoint:
    """A checkpoint from ``labels`` and the backbone's answers for them, in the same order.

    ``identity`` goes to the card: name, backbone, fingerprint, labels. Reserved molecules and
    conformers that the backbone cannot take (None) are left out. ``siblings_ev`` [M, S] are the
    energies by the other networks of its ensemble, for a recipe that learns from them.

    Raises:
        ProbeError: too few molecules are left on one of the sides, or there are siblings and a head
            that cannot learn from them.
    """
    if recipe.siblings and siblings_ev is not None and recipe.head == "classes":
        raise ProbeError("two classes are learnt from the backbone's own errors; use --no-siblings")
    kept = [i for i, s in enumerate(samples) if s and not reserved(labels.smiles[i])]
    data = Labelled.of(labels, samples, kept)
    sides = split(data, recipe)
    require_enough(data, sides)
    shift = data.shift(sides.fitting, recipe.min_element_molecules)
    sides = sides.where(data.covered(np.arange(len(data)), shift))
    require_enough(data, sides)
    error_kcal = data.error_kcal(np.arange(len(data)), shift)
    fitted = np.abs(error_kcal[sides.fitting])
    boundary = float(np.percentile(fitted, recipe.boundary_percentile))
    normalisation = Normalisation(data.samples[0].embedding.shape[1])
    if recipe.standardise:
        normalisation.fit([data.samples[i] for i in sides.fitting])
    task = Task(normalisation(data.samples), data.smiles, in_units(error_kcal, boundary))
    if recipe.siblings and siblings_ev is not None:
        errors = sibling_errors(data, siblings_ev[kept], sides.fitting, recipe)
        task = replace(task, siblings=in_units(errors, boundary))
    networks = fit_members(task, sides.fitting, recipe)
    mean, whitening = latent_reference(task, networks[0], sides.fitting)
    card = {
        "format_version": FORMAT_VERSION,
        **identity,
        "version": __version__,
        "head": recipe.head,
        "width": recipe.width,
        "n_members": recipe.members,
        **data.domain(sides.fitting),
        "boundary_kcal": boundary,
        "temperature": temperature(task, networks, sides.calibration, recipe.head),
        "latent_99": np.inf,
        "shift": asdict(shift),
        "training": {
            "n_conformers": len(kept),
            "n_molecules": len(set(data.smiles.tolist())),
            "n_left_out": len(labels) - len(kept),
            "labels_sha256": labels.sha256,
            **asdict(recipe),
        },
    }
    checkpoint = Checkpoint(card, normalisation, networks, mean, whitening)
    ids = [labels.conformer_ids[i] for i in kept]
    return _judged(checkpoint, data, ids, sides.held_out, error_kcal)


def split(data: Labelled, recipe: Recipe) -> Sides:
    """What each molecule is for: by a hash, so the same while a set grows."""
    held_out, calibration = (
        np.array([in_share(s, purpose, share) for s in data.smiles], dtype=bool)
        for purpose, share in (("held out", recipe.held_out), ("calibration", recipe.calibration))
    )
    return Sides(
        np.flatnonzero(~held_out & ~calibration),
        np.flatnonzero(~held_out & calibration),
        np.flatnonzero(held_out),
    )


def require_enough(data: Labelled, sides: Sides) -> None:
    """Raise ProbeError unless there are molecules on every side, and a few to learn from."""
    counts = {name: len(set(data.smiles[rows].tolist())) for name, rows in vars(sides).items()}
    if min(counts.values()) < 1 or counts["fitting"] < MIN_MOLECULES:
        raise ProbeError(
            f"{counts['fitting']} molecules to learn from, {counts['calibration']} to calibrate on "
            f"and {counts['held_out']} held out are too few (the least: {MIN_MOLECULES}, 1 and 1); "
            "label more"
        )


def sibling_errors(
    data: Labelled, siblings_ev: NDArray[np.float64], fitting: Rows, recipe: Recipe
) -> NDArray[np.float64]:
    """Errors of the siblings [M, S], kcal/mol, each after a shift of its own."""
    rows = np.arange(len(data))
    errors = []
    for energies in siblings_ev.T:
        other = data.by_another(energies)
        errors.append(other.error_kcal(rows, other.shift(fitting, recipe.min_element_molecules)))
    return np.stack(errors, axis=1)


def in_units(error_kcal: NDArray[np.float64], boundary_kcal: float) -> Tensor:
    """Signed errors [M] or [M, S] as the networks learn them: in boundaries, wild ones cut."""
    units = np.clip(error_kcal / boundary_kcal, -LARGEST_ERROR, LARGEST_ERROR)
    return torch.from_numpy(units.astype(np.float32))


def fit_members(task: Task, rows: Rows, recipe: Recipe) -> list[Probe]:
    """``recipe.members`` networks from ``rows``; each stops early on molecules of its own."""
    networks = []
    for member in range(recipe.members):
        seed = recipe.seed + member
        splitter = GroupShuffleSplit(1, test_size=recipe.validation, random_state=seed)
        fitting, checking = next(splitter.split(rows, groups=task.smiles[rows]))
        network, epochs = fit(task, rows[fitting], rows[checking], recipe=recipe, seed=seed)
        networks.append(network.half().float())  # what is judged is what is stored
        done = f"network {member + 1} of {recipe.members}, {epochs} epochs"
        print(f"train: {done}", file=sys.stderr, flush=True)
    return networks


def fit(
    task: Task, fitting: Rows, checking: Rows, *, recipe: Recipe, seed: int
) -> tuple[Probe, int]:
    """One network with the least loss on ``checking``, and the epochs it took.

    AdamW, plateau scheduler, clipping and early stopping as in the paper (Methods).
    """
    torch.manual_seed(seed)
    shuffle = np.random.default_rng(seed)
    inputs = task.inputs
    network = Probe(
        inputs.embedding.shape[-1],
        charges=inputs.charges is not None,
        head=recipe.head,
        width=recipe.width,
        dropout=recipe.dropout,
        siblings=0 if task.siblings is None else task.siblings.shape[1],
    )
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=0.9, patience=5, min_lr=5e-6
    )
    average = moving_average(network, recipe.averaging)
    averaged = cast("Probe", average.module)
    best, best_state, since, epoch = np.inf, network.state_dict(), 0, 0
    while epoch < recipe.max_epochs and since < recipe.patience:
        epoch += 1
        network.train()
        order = shuffle.permutation(fitting)
        for start in range(0, len(order), recipe.batch_size):
            rows = order[start : start + recipe.batch_size]
            batch = take(inputs, rows)
            optimiser.zero_grad()
            siblings = None if task.siblings is None else task.siblings[rows]
            loss = losses.learnt(network(batch), task.error[rows], siblings, batch, recipe.head)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            average.update_parameters(network)
        seen = answer(averaged, inputs, checking)
        known = task.error[checking]
        checked = float(losses.learnt(seen, known, None, take(inputs, checking), recipe.head))
        scheduler.step(checked)
        since += 1
        if checked < best - 1e-4:
            best, best_state, since = checked, copy.deepcopy(averaged.state_dict()), 0
    network.load_state_dict(best_state)
    return network.without_siblings().eval(), epoch


def moving_average(network: Probe, kept: float) -> AveragedModel:
    """Exponential, with a short memory while there is little to remember; 0: no average."""

    def mean(average: Tensor, current: Tensor, n_steps: Tensor | int) -> Tensor:
        return torch.lerp(average, current, 1 - min(kept, (1 + int(n_steps)) / (10 + int(n_steps))))

    return AveragedModel(network, avg_fn=mean)


def take(inputs: Inputs, rows: Rows) -> Inputs:
    """``rows`` of a padded batch, cut to the largest conformer among them."""
    index = torch.from_numpy(rows)
    width = int((~inputs.padding[index]).sum(dim=1).max())
    return Inputs(
        embedding=inputs.embedding[index, :width],
        charges=None if inputs.charges is None else inputs.charges[index, :width],
        energy=inputs.energy[index],
        n_atoms=inputs.n_atoms[index],
        padding=inputs.padding[index, :width],
    )


def temperature(task: Task, networks: Sequence[Probe], rows: Rows, head: Head) -> float:
    """What softens the answer of all ``networks`` together, fitted to ``rows``."""
    each = [answer(network, task.inputs, rows).answer for network in networks]
    answers = torch.stack(each, dim=1).double().numpy()
    error = task.error[rows].double().numpy()
    if head == "classes":
        return fit_temperature(np.diff(answers, axis=-1)[..., 0].mean(axis=1), np.abs(error) > 1)
    return fit_scale_factor(answers[..., 0], np.exp(answers[..., 1]), error)


def latent_reference(task: Task, network: Probe, rows: Rows) -> tuple[Tensor, Tensor]:
    """Mean [256] and whitening [256, 256] of the molecular embedding of ``rows``."""
    molecules = answer(network, task.inputs, rows).molecule.double().numpy()
    covariance = LedoitWolf().fit(molecules)
    whitening = np.linalg.cholesky(covariance.precision_)
    return (
        torch.from_numpy(covariance.location_).float(),
        torch.from_numpy(whitening).float().contiguous(),
    )


@torch.inference_mode()
def answer(network: Probe, inputs: Inputs, rows: Rows) -> Outputs:
    """What ``network`` says of ``rows``, in evaluation mode."""
    outputs: Outputs = network.eval()(take(inputs, rows))
    return outputs


def _judged(
    checkpoint: Checkpoint,
    data: Labelled,
    ids: Sequence[str],
    held_out: Rows,
    error_kcal: NDArray[np.float64],
) -> Checkpoint:
    """``checkpoint`` with its figures on ``held_out``, and what it says of each conformer there."""
    samples = [data.samples[i] for i in held_out]
    scored = checkpoint.score(samples)
    rows = [
        {
            "conformer_id": ids[i],
            "smiles": str(data.smiles[i]),
            "n_atoms": len(data.samples[i].numbers),
            "numbers": data.samples[i].numbers.tolist(),
            "latent_distance": one.latent_distance,
            "error_kcal": float(error_kcal[i]),
            "p_unreliable": one.p_unreliable,
            "location_kcal": one.location_kcal,
            "scale_kcal": one.scale_kcal,
        }
        for i, one in zip(held_out, scored, strict=True)
    ]
    figures = metrics.evaluate(
        np.array([one.p_unreliable for one in scored]),
        error_kcal[held_out],
        checkpoint.boundary_kcal,
    )
    card = {
        **checkpoint.card,
        "latent_99": float(np.percentile([one.latent_distance for one in scored], 99)),
        "held_out": {"protocol": "molecules held out of all fitting", **figures},
        "importance": importance.validate(checkpoint, samples, checkpoint.card["training"]["seed"]),
        "promises": risk.rehearsals(pl.DataFrame(rows)),
    }
    return replace(checkpoint, card=card, held_out=rows)
