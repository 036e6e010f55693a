"""Molecules of a triaged library: the conformers of each, judged together.

A molecule is what the library calls by one name, of one composition, charge and multiplicity: only
then can the energies of its conformers be compared. A name that stands for several compositions is
several molecules; a conformer that the library has under several names is one of each.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from ase.data import chemical_symbols
from ase.formula import Formula
from numpy.typing import NDArray

from probe import schemas
from probe.errors import ProbeError

KT_EV = 8.617333262e-5 * 298.15
"""Boltzmann's constant times the temperature of the populations, eV."""

MAX_POPULATION = 0.05
"""Boltzmann population that an accepted molecule may have in conformers to recompute."""

KEY = ["molecule_id", "formula", "charge", "multiplicity"]


def molecules(decided: pl.DataFrame) -> pl.DataFrame:
    """A row of ``schemas.MOLECULES`` for each molecule of ``decided``, in order of appearance."""
    return ranked(decided.with_row_index("rank")).drop("rank")


def ranked(decided: pl.DataFrame) -> pl.DataFrame:
    """``molecules``, each with the least ``rank`` among its conformers in ``decided``.

    ``decided`` is from ``triage.decide``. Populations are those of the given geometries by the
    backbone's energies at 298.15 K. A molecule is accepted if its conformer of lowest energy is, if
    conformers to recompute hold no more than 5 % of the population, and if every conformer has an
    energy; nothing is known of the population of one that has none.
    """
    energy, p = pl.col("energy_ev"), pl.col("p_unreliable")
    sent = pl.col("verdict") == "recompute"
    weight = (-(energy - energy.min()) / KT_EV).exp()
    answered = energy.is_not_null() & p.is_not_null()
    by_energy = ["energy_ev", "conformer_id"]
    lowest = {
        name: pl.col(name).sort_by(by_energy, nulls_last=True).first()
        for name in ("conformer_id", "smiles", "energy_ev", "p_unreliable", "verdict", "reason")
    }
    found = (
        decided.lazy()
        .with_columns(p_unreliable=p.fill_nan(None), formula=_formulas(decided["numbers"]))
        .group_by(KEY, maintain_order=True)
        .agg(
            rank=pl.col("rank").min(),
            n_conformers=pl.len(),
            n_accept=(~sent).sum(),
            n_recompute=sent.sum(),
            n_without_energy=energy.is_null().sum(),
            n_smiles=pl.col("smiles").n_unique(),
            **lowest,
            p_best=p.min(),
            p_worst=p.max(),
            p_boltzmann=(weight * p).filter(answered).sum() / weight.filter(answered).sum(),
            population_recompute=weight.filter(sent).sum() / weight.sum(),
        )
        .collect()
    )
    unknown = pl.col("energy_ev").is_null()
    blank = [pl.when(~unknown).then(name).alias(name) for name in ("conformer_id", "smiles")]
    absent = [pl.col(name).fill_nan(None) for name in ("p_boltzmann", "population_recompute")]
    judged = found.with_columns(**_judged()).with_columns(blank + absent)
    return judged.select(*schemas.MOLECULES.names, "rank")


def bucket(decided: pl.DataFrame, n: int) -> NDArray[np.uint64]:
    """One of ``n`` numbers for each conformer, the same for all of a molecule."""
    alike = decided.select("molecule_id", "n_atoms", "charge", "multiplicity")
    return alike.hash_rows().to_numpy() % np.uint64(n)


def counts(found: pl.DataFrame, n_named: int) -> dict[str, Any]:
    """How many ``molecules`` there are, have several conformers, are accepted and are not.

    ``found`` needs no other columns than n_conformers and verdict.

    Raises:
        ProbeError: they do not hold ``n_named`` conformers, one with several names several times.
    """
    held = int(found["n_conformers"].sum())
    if held != n_named:
        raise ProbeError(
            f"{n_named} conformers, but the molecules hold {held}; run the triage again"
        )
    n_accept = found.filter(verdict="accept").height
    return {
        "n_molecules": found.height,
        "n_molecules_several": found.filter(pl.col("n_conformers") > 1).height,
        "n_molecules_accept": n_accept,
        "n_molecules_recompute": found.height - n_accept,
    }


def _judged() -> dict[str, pl.Expr]:
    """Verdict and reason of a molecule; before that, those of its conformer of lowest energy."""
    share = pl.format("{} % of the Boltzmann population", _percent("population_recompute"))
    rest = pl.format("{} % of the Boltzmann population", _percent("population_recompute", of=1))
    without = pl.col("n_without_energy") > 0
    unsure = pl.col("verdict") == "recompute"
    spread = pl.col("population_recompute") > MAX_POPULATION
    several = pl.col("n_conformers") > 1
    unknown = pl.format("{} of {} conformers have no energy", "n_without_energy", "n_conformers")
    lowest = pl.format("conformer of lowest energy: {}", "reason")
    reasons: Mapping[str, tuple[pl.Expr, pl.Expr]] = {
        "single": (~several, pl.col("reason")),
        "unknown": (without, unknown),
        "lowest": (unsure, lowest),
        "spread": (spread, pl.format("conformers to recompute hold {}", share)),
        "accepted": (pl.lit(True), pl.format("accepted conformers hold {}", rest)),
    }
    rejected = without | unsure | spread
    return {
        "verdict": pl.when(rejected).then(pl.lit("recompute")).otherwise(pl.lit("accept")),
        "reason": pl.coalesce(pl.when(when).then(why) for when, why in reasons.values()),
    }


def _percent(name: str, of: float = 0.0) -> pl.Expr:
    return (100 * (of - pl.col(name)).abs()).round(1)


def _formulas(numbers: pl.Series) -> pl.Series:
    """Hill formula of each list of atomic numbers."""
    hashes = numbers.list.sort().hash()
    different = pl.DataFrame({"hash": hashes, "numbers": numbers}).unique("hash", keep="first")
    hill = [_hill(atoms) for atoms in different["numbers"].to_list()]
    return hashes.replace_strict(different["hash"], hill, return_dtype=pl.String)


def _hill(numbers: list[int]) -> str:
    symbols = "".join(chemical_symbols[number] for number in numbers)
    return str(Formula(symbols).format("hill"))
