"""Fitting PROBE to reference energies, from cached embeddings only.

What is shipped is an ensemble fitted to every label. How good it is, its temperature and the
reach of its latent space come from cross-validation by molecule of the same procedure.
"""

import copy
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.covariance import LedoitWolf
from sklearn.model_selection import GroupKFold, GroupShuffleSplit
from torch import Tensor, nn

from probe import __version__, metrics
from probe.calibration import Labelled
from probe.card import FORMAT_VERSION
from probe.checkpoint import Checkpoint, latent_distance
from probe.errors import ProbeError
from probe.labels import Labels, reserved
from probe.network import Inputs, Normalisation, Outputs, Probe, Sample
from probe.reference import Shift


@dataclass(frozen=True)
class Recipe:
    """How PROBE is trained. Defaults are what measurement showed best on hundreds of labels."""

    seed: int = 1
    members: int = 5
    folds: int = 5
    boundary_percentile: float = 50.0
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    dropout: float = 0.1
    batch_size: int = 64
    max_epochs: int = 80
    patience: int = 12
    validation: float = 0.1
    min_element_molecules: int = 4


@dataclass(frozen=True)
class Ensemble:
    """Networks with the scales that their training part gave them.

    ``latent_mean`` [256] and ``latent_whitening`` [256, 256] place the training part in the space
    of the first network's molecular embedding.
    """

    networks: Sequence[Probe]
    shift: Shift
    boundary_kcal: float
    latent_mean: Tensor
    latent_whitening: Tensor


def train(
    labels: Labels, samples: Sequence[Sample | None], identity: dict[str, str], recipe: Recipe
) -> Checkpoint:
    """A checkpoint from ``labels`` and the backbone's answers for them, in the same order.

    ``identity`` goes to the card: name, backbone, fingerprint, labels. Reserved molecules and
    conformers that the backbone cannot take (None) are left out.

    Raises:
        ProbeError: too few molecules are left to hold any out.
    """
    kept = [i for i, s in enumerate(samples) if s and not reserved(labels.smiles[i])]
    data = Labelled.of(labels, samples, kept)
    n_molecules = len(set(data.smiles.tolist()))
    if n_molecules < 2 * recipe.folds:
        raise ProbeError(
            f"{n_molecules} molecules are too few for {recipe.folds} folds; label more"
        )
    normalisation = Normalisation(data.samples[0].embedding.shape[1]).fit(data.samples)
    inputs = normalisation(data.samples)
    final = fit_ensemble(data, inputs, np.arange(len(kept)), recipe, "all labels")
    held_out = cross_validate(data, inputs, recipe)
    training = {
        "n_conformers": len(kept),
        "n_molecules": n_molecules,
        "n_left_out": len(labels) - len(kept),
        "labels_sha256": labels.sha256,
        **asdict(recipe),
    }
    card = {
        "format_version": FORMAT_VERSION,
        **identity,
        "version": __version__,
        "n_members": recipe.members,
        **data.domain(),
        **calibrated(final, held_out),
        "training": training,
    }
    return Checkpoint(
        card, normalisation, final.networks, final.latent_mean, final.latent_whitening
    )


def calibrated(final: Ensemble, held_out: "HeldOut") -> dict[str, Any]:
    """What the card says of the ensemble's scales, and of how good it is on held-out molecules.

    A fold's figures are of probabilities whose temperature was fitted to the other folds.
    """
    known = held_out.take(np.isfinite(held_out.error_kcal))
    unreliable = np.abs(known.error_kcal) > final.boundary_kcal
    p = np.zeros(len(unreliable))
    for fold in np.unique(known.fold):
        here = known.fold == fold
        temperature = fit_temperature(known.logits[~here], unreliable[~here])
        p[here] = expit(known.logits[here] / temperature)
    return {
        "boundary_kcal": final.boundary_kcal,
        "temperature": fit_temperature(known.logits, unreliable),
        "latent_99": float(np.percentile(held_out.distance, 99)),
        "shift": asdict(final.shift),
        "held_out": {
            "protocol": "cross-validation by molecule",
            **metrics.evaluate(p, known.error_kcal, final.boundary_kcal),
        },
    }


@dataclass(frozen=True)
class HeldOut:
    """What ensembles that have not seen a conformer's molecule say of it, each [M].

    The error is not a number where the fold's training part has too few molecules of an element.
    """

    logits: NDArray[np.float64]
    error_kcal: NDArray[np.float64]
    distance: NDArray[np.float64]
    fold: NDArray[np.float64]

    def take(self, rows: NDArray[np.bool_]) -> "HeldOut":
        """Only ``rows``."""
        return HeldOut(*(values[rows] for values in vars(self).values()))


def cross_validate(data: Labelled, inputs: Inputs, recipe: Recipe) -> HeldOut:
    """Held-out answers for every conformer, in order; folds are of molecules.

    Shift and boundary are each training part's own. Only the standardisation, which sees no
    reference energy, is shared.
    """
    rows = np.arange(len(data.samples))
    result = HeldOut(*(np.zeros(len(rows)) for _ in range(4)))
    folds = GroupKFold(recipe.folds, shuffle=True, random_state=recipe.seed)
    for number, (rest, fold) in enumerate(folds.split(rows, groups=data.smiles), start=1):
        ensemble = fit_ensemble(data, inputs, rest, recipe, f"fold {number} of {recipe.folds}")
        answers = [_answer(network, inputs, fold) for network in ensemble.networks]
        logits = torch.stack([torch.diff(answer.logits, dim=-1)[:, 0] for answer in answers])
        result.logits[fold] = logits.double().mean(dim=0).numpy()
        errors = data.error_kcal(fold, ensemble.shift)
        result.error_kcal[fold] = np.where(data.covered(fold, ensemble.shift), errors, np.nan)
        result.distance[fold] = latent_distance(
            answers[0].molecule, ensemble.latent_mean, ensemble.latent_whitening
        ).numpy()
        result.fold[fold] = number
    return result


def fit_ensemble(
    data: Labelled, inputs: Inputs, rows: NDArray[np.int64], recipe: Recipe, what: str
) -> Ensemble:
    """``recipe.members`` networks on ``rows``, each with its own molecules for early stopping.

    Rows with an element that has too few molecules for a shift have no error and are left out.
    """
    shift = data.shift(rows, recipe.min_element_molecules)
    rows = rows[data.covered(rows, shift)]
    errors = np.abs(data.error_kcal(rows, shift))
    boundary = float(np.percentile(errors, recipe.boundary_percentile))
    target = torch.zeros(len(data.samples), dtype=torch.long)
    target[rows] = torch.from_numpy(errors > boundary).long()
    networks = []
    for member in range(recipe.members):
        seed = recipe.seed + member
        splitter = GroupShuffleSplit(1, test_size=recipe.validation, random_state=seed)
        fitting, checking = next(splitter.split(rows, groups=data.smiles[rows]))
        network, epochs = fit(
            inputs, target, rows[fitting], rows[checking], recipe=recipe, seed=seed
        )
        networks.append(network)
        done = f"network {member + 1} of {recipe.members}, {epochs} epochs"
        print(f"train: {what}, {done}", file=sys.stderr, flush=True)
    molecules = _answer(networks[0], inputs, rows).molecule.double().numpy()
    covariance = LedoitWolf().fit(molecules)
    return Ensemble(
        networks,
        shift,
        boundary,
        torch.from_numpy(covariance.location_).float(),
        torch.from_numpy(np.linalg.cholesky(covariance.precision_)).float().contiguous(),
    )


def fit(
    inputs: Inputs,
    target: Tensor,
    fitting: NDArray[np.int64],
    checking: NDArray[np.int64],
    *,
    recipe: Recipe,
    seed: int,
) -> tuple[Probe, int]:
    """One network with the least loss on ``checking``, and the epochs it took.

    AdamW, plateau scheduler, clipping and early stopping as in the paper (Methods).
    """
    torch.manual_seed(seed)
    shuffle = np.random.default_rng(seed)
    charges = inputs.charges is not None
    network = Probe(inputs.embedding.shape[-1], charges=charges, dropout=recipe.dropout)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=0.9, patience=5, min_lr=5e-6
    )
    best, best_state, since, epoch = np.inf, network.state_dict(), 0, 0
    while epoch < recipe.max_epochs and since < recipe.patience:
        epoch += 1
        network.train()
        order = shuffle.permutation(fitting)
        for start in range(0, len(order), recipe.batch_size):
            rows = order[start : start + recipe.batch_size]
            batch = take(inputs, rows)
            optimiser.zero_grad()
            loss(network(batch), target[rows], batch).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        checked = float(
            loss(_answer(network, inputs, checking), target[checking], take(inputs, checking))
        )
        scheduler.step(checked)
        since += 1
        if checked < best - 1e-4:
            best, best_state, since = checked, copy.deepcopy(network.state_dict()), 0
    network.load_state_dict(best_state)
    return network.eval(), epoch


def loss(outputs: Outputs, target: Tensor, inputs: Inputs) -> Tensor:
    """Cross-entropy, each conformer's divided by the root of its atom count (paper, Methods)."""
    entropy = nn.functional.cross_entropy(outputs.logits, target, reduction="none")
    weight = (~inputs.padding).sum(dim=1).float().rsqrt()
    return (entropy * weight).sum() / weight.sum()


def take(inputs: Inputs, rows: NDArray[np.int64]) -> Inputs:
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


def fit_temperature(logits: NDArray[np.float64], unreliable: NDArray[np.bool_]) -> float:
    """The temperature with the least negative log-likelihood on held-out ``logits`` [M]."""
    sign = np.where(unreliable, -1.0, 1.0)

    def negative_log_likelihood(log_temperature: float) -> float:
        return float(np.logaddexp(0, sign * logits / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(negative_log_likelihood, bounds=(-3, 3)).x))


@torch.inference_mode()
def _answer(network: Probe, inputs: Inputs, rows: NDArray[np.int64]) -> Outputs:
    outputs: Outputs = network.eval()(take(inputs, rows))
    return outputs
