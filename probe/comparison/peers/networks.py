"""PROBE as a peer: the published recipe, ours, and ours together with other signals."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from probe.classifier.exceedance import exceedance
from probe.classifier.network import WIDTH, Normalisation, Probe
from probe.classifier.training import PAPER, Recipe, Task, answer, fit, in_units
from probe.comparison.peers import tuning
from probe.comparison.peers.contract import Array, NotApplicable, Part, Peer, Scorer
from probe.comparison.peers.features import Scale
from probe.comparison.peers.process import Process
from probe.comparison.peers.spread import Spread


@dataclass(frozen=True)
class Network:
    """A recipe of `probe train`, each member with its own seed, stopped early on the tune part.

    A two-class network knows one tolerance, and is fitted anew for each.
    """

    name: str
    recipe: Recipe
    dear: bool = True

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:
        """See ``Peer``."""
        if self.recipe.head == "classes":
            scorers = [
                self._fitted(fit, tune, tolerance, [tolerance], seed) for tolerance in tolerances
            ]
            return lambda part: np.hstack([score(part) for score in scorers])
        boundary = float(np.percentile(np.abs(fit.error_kcal), self.recipe.boundary_percentile))
        return self._fitted(fit, tune, boundary, tolerances, seed)

    def _fitted(
        self, known: Part, tune: Part, boundary: float, tolerances: Sequence[float], seed: int
    ) -> Scorer:
        """The members, with errors in units of ``boundary`` (kcal/mol)."""
        normalisation = Normalisation(known.samples[0].embedding.shape[1])
        if self.recipe.standardise:
            normalisation.fit(known.samples)
        error = np.concatenate([known.error_kcal, tune.error_kcal])
        task = Task(
            normalisation([*known.samples, *tune.samples]),
            np.concatenate([known.smiles, tune.smiles]),
            in_units(error, boundary),
            self._siblings(known, tune, boundary),
        )
        rows = np.arange(len(error))
        fitting, checking = rows[: len(known)], rows[len(known) :]
        seeds = [1000 * seed + member for member in range(self.recipe.members)]
        networks = [fit(task, fitting, checking, recipe=self.recipe, seed=s)[0] for s in seeds]

        def score(part: Part) -> Array:
            answers = _answers(networks, normalisation, part)
            if self.recipe.head == "classes":
                logits: Array = np.diff(answers, axis=-1).mean(axis=1)
                return logits
            location, scale = answers[..., 0] * boundary, np.exp(answers[..., 1]) * boundary
            beyond = [exceedance(location, scale, tolerance) for tolerance in tolerances]
            return tuning.log_odds(np.column_stack(beyond))

        return score

    def _siblings(self, known: Part, tune: Part, boundary: float) -> Tensor | None:
        """Errors of the ensemble's others in units of ``boundary``, if the recipe asks for them."""
        if not self.recipe.siblings or known.siblings_kcal is None or tune.siblings_kcal is None:
            return None
        return in_units(np.concatenate([known.siblings_kcal, tune.siblings_kcal]), boundary)


@dataclass(frozen=True)
class Together:
    """PROBE+: the mean of what PROBE, the Gaussian process and the ensemble's spread say.

    Each is standardised on the tune part and counts the same: weights fitted to the few hundred
    conformers of a tune part were worse than none. No longer a single backbone where the spread
    is known, and named so.
    """

    name: str = "probe+"
    dear: bool = True
    base: Network = field(default_factory=lambda: Network("probe", Recipe()))
    others: tuple[Peer, ...] = (Process(), Spread("spread", 0.0))

    def fit(self, fit: Part, tune: Part, tolerances: Sequence[float], seed: int) -> Scorer:
        """See ``Peer``."""
        scorers = [self.base.fit(fit, tune, tolerances, seed)]
        for other in self.others:
            try:
                scorers.append(other.fit(fit, tune, tolerances, seed))
            except NotApplicable:
                continue  # the others do without it
        scales = [Scale.of(score(tune)) for score in scorers]

        def score(part: Part) -> Array:
            said = [scale(scorer(part)) for scale, scorer in zip(scales, scorers, strict=True)]
            return np.asarray(np.mean(said, axis=0))

        return score


NETWORKS: tuple[Peer, ...] = (
    Network("probe-paper", PAPER),
    Network("probe-one", replace(Recipe(), members=1)),
    Network("probe-wide", replace(Recipe(), width=WIDTH, learning_rate=2e-4)),
    Network("probe-alone", replace(Recipe(), siblings=False)),
    Network("probe", Recipe()),
    Together(),
)
"""The published recipe; of the default one a single network, networks of the published width at
their best rate, networks that learn from the backbone's errors alone, and all of it; and PROBE+."""


def _answers(networks: Sequence[Probe], normalisation: Normalisation, part: Part) -> Array:
    """[M, K, 2] of the K ``networks``, in batches that any memory holds."""
    found = []
    for begin in range(0, len(part), 256):
        inputs = normalisation(part.samples[begin : begin + 256])
        rows = np.arange(len(inputs.energy))
        found.append(torch.stack([answer(n, inputs, rows).answer for n in networks], dim=1))
    return torch.cat(found).double().numpy()
