"""From molecules to a checkpoint and its worth: acquire, label, train, evaluate and compare."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from probe.cli.common import BATCH_ATOMS, CACHE, DEVICE, FILE, FOLDER, JSON, ingest_options


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--out",
    "outs",
    type=FILE,
    multiple=True,
    required=True,
    help="The batch: .extxyz or .xyz, .h5 or .hdf5 (AIMNet's), .sdf; give one or more.",
)
@click.option("--n", type=click.IntRange(1), default=100, show_default=True, help="Conformers.")
@click.option(
    "--per-molecule", type=click.IntRange(1), default=1, show_default=True, help="At most so many."
)
@click.option(
    "--diversity",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Spread the batch over so many times as many of the most unreliable.",
)
@click.option(
    "--labelled",
    type=FILE,
    multiple=True,
    help="Labels whose conformers are not chosen again; give one or more.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def acquire(
    folder: Path, outs: tuple[Path, ...], labelled: tuple[Path, ...], as_json: bool, **settings: Any
) -> None:
    """Choose what to label next in the triaged library in FOLDER.

    The conformers with the highest p_unreliable, spread over the space that PROBE sees. Molecules
    reserved for testing are left out, and what the backbone could not take.

    \b
    Examples:
      probe acquire results/demo --n 50 --out batch.sdf --out batch.extxyz --out batch.h5
      probe acquire results/demo --labelled labels.parquet --out batch.sdf
      probe label --in batch.sdf --out labels.parquet
    """
    from probe.triage import acquire as acquisition

    done = acquisition.acquire(folder, acquisition.Settings(**settings), labelled, outs)
    click.echo(json.dumps(done, indent=2) if as_json else acquisition.in_words(done))


@click.command()
@click.option("--in", "path", type=FILE, required=True, help="Conformers or molecules.")
@click.option("--out", type=FILE, required=True, help="The labels, a Parquet file.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True)
@click.option("--budget-hours", type=click.FloatRange(0), help="Start nothing new after that.")
@click.option("--with-reserved", is_flag=True, help="Label molecules reserved for testing, too.")
@click.option("--tight", is_flag=True, help="Finer grid and tighter SCF, 3 to 5 times dearer.")
@ingest_options("charge", "multiplicity")
def label(
    path: Path,
    out: Path,
    jobs: int,
    budget_hours: float | None,
    with_reserved: bool,
    tight: bool,
    **options: Any,
) -> None:
    """Compute reference energies with DFT: labels to train on.

    B97-3c, closed shells, one core a process. A run that was stopped goes on where it was when
    it is called again; what --out holds already is neither computed again nor dropped.

    \b
    Examples:
      probe label --in molecules.smi --out labels.parquet --jobs 2
      probe label --in results/demo/recompute.sdf --out labels.parquet --budget-hours 8
    """
    from probe.conformers.conformer import Options
    from probe.dft import label as labelling
    from probe.dft import scf

    done = labelling.label(
        path,
        out,
        Options(**options),
        jobs=jobs,
        budget_hours=budget_hours,
        with_reserved=with_reserved,
        settings=scf.TIGHT if tight else scf.DEFAULT,
    )
    click.echo(
        f"{out}: {done.n_labelled} labelled, {done.n_unconverged} not converged, {done.n_left} left"
    )


def _recipe_options(command: Any) -> Any:
    """The recipe's name, and those of its settings that people change."""
    for option in (
        click.option("--seed", type=click.IntRange(0), help="Of splits, weights and dropout."),
        click.option("--members", type=click.IntRange(1), help="Networks of the ensemble."),
        click.option(
            "--boundary-percentile",
            type=click.FloatRange(1, 99),
            help="Of the |errors|; what lies beyond is unreliable.",
        ),
        click.option(
            "--siblings/--no-siblings",
            default=None,
            help="Learn the errors of the backbone's ensemble, too, where it is of one.",
        ),
        click.option("--max-epochs", type=click.IntRange(1), help="Of each network."),
        click.option(
            "--recipe",
            type=click.Choice(["default", "paper"]),
            default="default",
            show_default=True,
            help="The published one, or what measurement showed best; options below change it.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.option("--labels", type=FILE, required=True, help="Parquet with reference energies.")
@click.option("--backbone", required=True, help="A name from `probe weights list`.")
@click.option("--name", default=None, help="Name of the checkpoint; the backbone's by default.")
@CACHE
@click.option("--out", type=FOLDER, required=True, help="Folder of the new checkpoint.")
@DEVICE
@BATCH_ATOMS
@_recipe_options
def train(
    labels: Path,
    backbone: str,
    name: str | None,
    cache: Path,
    out: Path,
    device: str,
    batch_atoms: int | None,
    recipe: str,
    **settings: Any,
) -> None:
    """Fit PROBE to reference energies, from cached embeddings.

    \b
    Examples:
      probe train --labels labels.parquet --backbone aimnet2-b973c --out my-checkpoint
      probe train --labels labels.parquet --backbone aimnet2-b973c --out p --recipe paper
    """
    from probe import backbones
    from probe import weights as store
    from probe.classifier import calibration, training
    from probe.classifier import labels as labelled
    from probe.classifier.checkpoint import save_checkpoint

    known = labelled.read(labels)
    store.fetch(store.entry(backbone))
    potential = backbones.load(backbone, device)
    samples = calibration.select(known, potential, cache, batch_atoms)
    changed = {key: value for key, value in settings.items() if value is not None}
    chosen = dataclasses.replace(training.RECIPES[recipe], **changed)
    others = (
        calibration.siblings_ev(known, potential, cache, batch_atoms) if chosen.siblings else None
    )
    identity = {
        "name": name or backbone,
        "backbone": backbone,
        "fingerprint": potential.fingerprint,
        "labels": labels.name,
    }
    checkpoint = training.train(known, samples, identity, chosen, others)
    save_checkpoint(checkpoint, out)
    click.echo(f"{out}: {_headline(checkpoint.card['held_out'])}")


@click.command()
@click.option("--checkpoint", required=True, help="Name of a shipped checkpoint, or its folder.")
@click.option("--labels", type=FILE, required=True, help="Parquet with reference energies.")
@click.option("--out", type=FOLDER, required=True, help="predictions.parquet, metrics.json.")
@CACHE
@DEVICE
@BATCH_ATOMS
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json, too.")
def evaluate(
    checkpoint: str,
    labels: Path,
    out: Path,
    cache: Path,
    device: str,
    batch_atoms: int | None,
    as_json: bool,
) -> None:
    """Compare a checkpoint's answers with reference energies.

    \b
    Example:
      probe evaluate --checkpoint aimnet2-b973c --labels my-labels.parquet --out results/mine
    """
    from probe import backbones
    from probe import weights as store
    from probe.classifier import calibration, card
    from probe.classifier import checkpoint as checkpoints
    from probe.classifier import labels as labelled

    probe = checkpoints.load(checkpoint)
    known = labelled.read(labels)
    store.fetch(store.entry(probe.card["backbone"]))
    potential = backbones.load(probe.card["backbone"], device)
    card.require(probe.card, potential.fingerprint, potential.name)
    samples = calibration.select(known, potential, cache, batch_atoms)
    figures = calibration.evaluate(probe, known, samples, out)
    click.echo(json.dumps(figures, indent=2) if as_json else f"{out}: {_headline(figures)}")


@click.command()
@click.option("--checkpoint", required=True, help="The one in use: a shipped name, or a folder.")
@click.option(
    "--labels", type=FILE, help="Those that it was fitted to [default: labels.parquet beside it]."
)
@click.option(
    "--gained", type=FILE, multiple=True, required=True, help="Further labels; give one or more."
)
@click.option("--out", type=FOLDER, required=True, help="Gets a folder for each turn.")
@click.option(
    "--min-new-labels",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="With fewer nothing is fitted.",
)
@CACHE
@DEVICE
@BATCH_ATOMS
@JSON
def recalibrate(
    checkpoint: str,
    labels: Path | None,
    gained: tuple[Path, ...],
    out: Path,
    min_new_labels: int,
    cache: Path,
    device: str,
    batch_atoms: int | None,
    as_json: bool,
) -> None:
    """Fit PROBE again with new labels; promote it unless it is worse.

    Both checkpoints answer for the same held-out molecules, which neither was fitted to, and the
    95 % intervals of the gains in AUROC and Brier score decide (a bootstrap by molecule, paired).
    The one in use is never changed. A promoted one is in use wherever --out is named as the
    checkpoint.

    \b
    Example:
      probe recalibrate --checkpoint aimnet2-b973c --labels resources/calibration/b973c.parquet \\
        --gained results/demo/dft_labels.parquet --out models/recalibrated/aimnet2-b973c
    """
    from probe import backbones
    from probe import weights as store
    from probe.classifier import card as cards
    from probe.recalibration import turn as loop

    name = cards.read(checkpoint)["backbone"]
    store.fetch(store.entry(name))
    potential = backbones.load(name, device)
    asked = loop.Turn(checkpoint, labels, gained, out, min_new_labels)
    record = loop.turn(asked, potential, cache, batch_atoms)
    click.echo(json.dumps(record, indent=2) if as_json else f"{out}: {loop.in_words(record)}")


@click.command()
@click.option("--labels", type=FILE, multiple=True, required=True, help="Reference energies.")
@click.option("--backbone", required=True, help="A name from `probe weights list`.")
@CACHE
@click.option("--out", type=FOLDER, required=True, help="predictions, compare.json, compare.md.")
@click.option("--peers", multiple=True, help="Peers to fit [default: all].")
@click.option(
    "--splits",
    "kinds",
    type=click.Choice(["random", "scaffold", "element", "size"]),
    multiple=True,
    default=["random"],
    show_default=True,
    help="What is held out: molecules, scaffolds, elements, the large.",
)
@click.option("--seeds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seeds-dear", type=click.IntRange(0), help="Of peers that take minutes a fit.")
@click.option(
    "--sizes", type=click.IntRange(20), multiple=True, help="Labels, for learning curves."
)
@click.option(
    "--tolerance",
    "tolerances_kcal",
    type=click.FloatRange(0.01),
    multiple=True,
    default=[1.0],
    show_default=True,
    help="Errors in kcal/mol to tell apart, beside the median one.",
)
@click.option(
    "--against",
    default="gradient-boosting",
    show_default=True,
    help="Peer that the others' differences refer to.",
)
@DEVICE
@BATCH_ATOMS
def compare(
    labels: tuple[Path, ...],
    backbone: str,
    cache: Path,
    out: Path,
    peers: tuple[str, ...],
    seeds: int,
    seeds_dear: int | None,
    against: str,
    device: str,
    batch_atoms: int | None,
    **design: Any,
) -> None:
    """Set peers side by side: same splits, same tuning, same calibration.

    Options that name several things are given once for each. What --out already holds for the
    same labels and tolerances is not computed again.

    \b
    Example:
      probe compare --labels resources/calibration/b973c.parquet --backbone aimnet2-b973c \\
        --cache cache --out results/compare --peers spread --peers gradient-boosting
    """
    import polars as pl

    from probe import weights as store
    from probe.comparison import compare as comparison
    from probe.comparison import parts, plots

    chosen = comparison.choose(peers)
    store.fetch(store.entry(backbone))
    known = parts.gather(labels, backbone, cache, device, batch_atoms)
    dear = seeds if seeds_dear is None else min(seeds, seeds_dear)
    settings = comparison.Settings(chosen, seeds=seeds, seeds_dear=dear, **design)
    record = comparison.compare(known, settings, against, out)
    plots.draw(record["standings"], pl.read_parquet(out / "predictions.parquet"), out / "figures")
    click.echo(f"{out / 'compare.md'}: {len(record['fits'])} fits")


@click.command()
@click.argument("checkpoint")
@click.option("--out", type=FOLDER, help="Folder of the page [default: the checkpoint's].")
def card(checkpoint: str, out: Path | None) -> None:
    """Write the model card of a checkpoint: README.md with figures.

    \b
    Example:
      probe card models/probe/aimnet2-b973c
    """
    from probe.report import model_card

    click.echo(model_card.write(checkpoint, out))


def _headline(figures: dict[str, Any]) -> str:
    shown = {key: figures[key] for key in ("auroc", "accuracy", "mcc", "ece", "brier")}
    values = ", ".join(f"{k} {'-' if v is None else format(v, '.3f')}" for k, v in shown.items())
    return f"n {figures['n']}, boundary {figures['boundary_kcal']:.3f} kcal/mol, {values}"
