"""A cutoff on p_unreliable with a promise about the energies that it accepts.

Learn then test (Angelopoulos, Bates, Candès, Jordan, Lei, arXiv 2110.01052): every cutoff of a grid
that was fixed in advance stands for the hypothesis that too many of what it accepts are
unreliable. Molecules that no fitting saw test it by the lower tail of a binomial, from strict to
lax until one is not rejected; what the last rejected cutoff accepts is promised.

Given how many molecules a cutoff accepts, the unreliable ones among them are binomial, since each
molecule counts once. The first test is of the strictest cutoff that accepts enough molecules to
stand a few failures. That choice sees numbers and no labels. It makes no false promise likelier as
long as the risk does not fall from a strict cutoff to a laxer one: that the cutoff before accepts
too few leaves more molecules between the two, where the risk is higher.
"""

import math
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, expit

from probe.classifier.exceedance import exceedance

GRID = np.append(expit(np.arange(-160, 161) / 20), 1.0)
"""The cutoffs that are tested, strict to lax: even in the log odds, and one that accepts all."""

SPARE = 2
"""Unreliable molecules that the first test can stand. Fewer make it fail by chance too often,
more make it start too far from the surest: of many scores, sizes and risks this accepted most."""

SEED = 0

PROMISES = (0.05, 0.1, 0.2)
"""Largest shares of unreliable energies that a checkpoint's card tells the price of."""


@dataclass(frozen=True)
class Promise:
    """At most ``max_unreliable`` of what ``cutoff`` accepts is unreliable, with ``confidence``.

    With no cutoff nothing is promised; ``n_accepted`` and ``n_unreliable`` are then those of the
    first test, which failed, and 0 where the set was too small for any.
    """

    max_unreliable: float
    confidence: float
    cutoff: float | None
    """Largest p_unreliable that is accepted."""
    n_calibration: int
    """Molecules that the cutoff was chosen on."""
    n_accepted: int
    """Of these, those at or below the cutoff."""
    n_unreliable: int
    """Of these, the unreliable ones."""
    bound: float | None
    """Their share is at most this, with ``confidence`` (Clopper and Pearson)."""
    n_needed: int
    """Accepted molecules that a promise takes even if not one of them is unreliable."""

    @property
    def why_not(self) -> str:
        """Why nothing can be promised, in words; empty if something is."""
        if self.cutoff is not None:
            return ""
        if self.n_calibration < self.n_needed:
            return (
                f"the calibration set is too small: it holds {self.n_calibration} molecules that "
                f"may be accepted, and even without one unreliable it takes {self.n_needed}"
            )
        return (
            f"the risk is too high: of the {self.n_accepted} calibration molecules with the "
            f"lowest p_unreliable, {self.n_unreliable} are unreliable; even without one it takes "
            f"{self.n_needed}"
        )


def promise(
    p: NDArray[np.float64],
    unreliable: NDArray[np.bool_],
    max_unreliable: float,
    confidence: float,
) -> Promise:
    """The laxest cutoff that keeps the promise, on molecules [M] with ``p`` and what they are.

    Over calibration sets drawn anew, the share of unreliable among what is accepted exceeds
    ``max_unreliable`` in at most 1 - ``confidence`` of them.
    """
    allowed = 1 - confidence
    needed = math.ceil(math.log(allowed) / math.log1p(-max_unreliable))
    n = np.searchsorted(np.sort(p), GRID, side="right")
    k = np.searchsorted(np.sort(p[unreliable]), GRID, side="right")
    kept, numbers = None, (0, 0)
    if len(p) >= needed:
        start = int(np.argmax(n >= min(_first_test(max_unreliable, allowed), len(p))))
        kept_promise = bdtr(k[start:], n[start:], max_unreliable) <= allowed
        n_kept = len(kept_promise) if kept_promise.all() else int(np.argmin(kept_promise))
        last = start + max(n_kept - 1, 0)
        # Beyond the least sure molecule of the set, nothing was tested.
        kept = min(float(GRID[last]), float(p.max())) if n_kept else None
        numbers = (int(n[last]), int(k[last]))
    return Promise(
        max_unreliable,
        confidence,
        kept,
        len(p),
        *numbers,
        bound=upper_bound(*numbers, confidence) if numbers[0] else None,
        n_needed=needed,
    )


@dataclass(frozen=True)
class Rehearsal:
    """How promises of one kind turn out where the truth is known.

    Shares of the rehearsals: ``made`` something was promised, ``broken`` it did not hold;
    ``accepted`` is the mean share of the population that was accepted (none without a promise).
    """

    max_unreliable: float
    confidence: float
    made: float
    broken: float
    accepted: float


def rehearse(
    p: NDArray[np.float64],
    unreliable: NDArray[np.bool_],
    max_unreliable: float,
    confidence: float,
    draws: int = 1000,
) -> Rehearsal:
    """Promises from ``draws`` calibration sets that are drawn from molecules [M], with replacement.

    The molecules are the population, so the share of unreliable among what a cutoff accepts is
    known exactly, and it may exceed ``max_unreliable`` in 1 - ``confidence`` of the rehearsals.
    """
    order = np.argsort(p, kind="stable")
    sorted_p, found = p[order], np.append(0, np.cumsum(unreliable[order]))
    random = np.random.default_rng(SEED)
    accepted = np.zeros(draws, dtype=np.int64)
    for number in range(draws):
        rows = random.integers(len(p), size=len(p))
        kept = promise(p[rows], unreliable[rows], max_unreliable, confidence).cutoff
        accepted[number] = 0 if kept is None else np.searchsorted(sorted_p, kept, side="right")
    return Rehearsal(
        max_unreliable,
        confidence,
        made=float((accepted > 0).mean()),
        broken=float((found[accepted] > max_unreliable * accepted).mean()),
        accepted=float(accepted.mean() / len(p)),
    )


def rehearsals(held_out: pl.DataFrame, confidence: float = 0.9) -> list[dict[str, float]]:
    """What can be promised of molecules like ``held_out`` (``schemas.HELD_OUT``) at 1 kcal/mol.

    A ``Rehearsal`` for each of ``PROMISES``; none where PROBE knows its boundary only.
    """
    drawn = one_a_molecule(held_out)
    if drawn["location_kcal"].null_count():
        return []
    location, scale = (np.array(drawn[f"{name}_kcal"].to_list()) for name in ("location", "scale"))
    p = exceedance(location, scale, 1.0)
    unreliable = (drawn["error_kcal"].abs() > 1.0).to_numpy()
    return [vars(rehearse(p, unreliable, share, confidence)) for share in PROMISES]


def upper_bound(n: int, k: int, confidence: float) -> float:
    """Upper end of Clopper and Pearson's one-sided interval for ``k`` of ``n``."""
    return 1.0 if k == n else float(betaincinv(k + 1, n - k, confidence))


def one_a_molecule(held_out: pl.DataFrame, seed: int = SEED) -> pl.DataFrame:
    """One conformer of each molecule (``smiles``), by the hash of its id and ``seed``."""
    draws = [sha256(f"{seed}:{name}".encode()).hexdigest() for name in held_out["conformer_id"]]
    drawn = held_out.with_columns(draw=pl.Series(draws, dtype=pl.String)).sort("draw")
    return drawn.unique("smiles", keep="first", maintain_order=True).drop("draw")


def _first_test(max_unreliable: float, allowed: float) -> int:
    """Fewest accepted molecules that pass with ``SPARE`` unreliable ones among them."""
    n = SPARE + 1
    while bdtr(SPARE, n, max_unreliable) > allowed:
        n += 1
    return n
