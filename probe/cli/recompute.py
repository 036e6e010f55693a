"""From a recompute list to final energies: shards, recompute, energies, decks, collect, audit."""

# what a command needs is imported when it runs: the command line starts at once
import json
from pathlib import Path
from typing import Any

import click

from probe.cli.common import FILE, FOLDER, JSON
from probe.errors import ProbeError

CHECKPOINT = click.option(
    "--checkpoint", required=True, help="What the library was screened with: a name or a folder."
)
ENGINE = click.option(
    "--engine",
    type=click.Choice(["pyscf", "gpu4pyscf"]),
    default="pyscf",
    show_default=True,
    help="What computes.",
)
STORE = click.option(
    "--store",
    type=FOLDER,
    default=Path("models/dft"),
    show_default=True,
    help="Keeps what is computed, for all libraries.",
)
JOBS = click.option("--jobs", type=click.IntRange(1), default=1, show_default=True)


@click.command()
@click.argument("folder", type=FOLDER)
@CHECKPOINT
@click.option(
    "--budget-core-hours", type=click.FloatRange(0), help="Of DFT for the library [default: none]."
)
@click.option(
    "--shard-core-hours",
    type=click.FloatRange(0.01),
    default=8.0,
    show_default=True,
    help="Estimated work in a shard.",
)
def shards(folder: Path, checkpoint: str, **settings: Any) -> None:
    """Cut the recompute list of the library in FOLDER into shards, worst first.

    \b
    Example:
      probe shards results/demo --checkpoint aimnet2-b973c --budget-core-hours 10
    """
    from probe.classifier import card
    from probe.dft import recompute as recomputing

    chosen_card = card.read(checkpoint)
    card.require_screened(chosen_card, folder)
    method = recomputing.method_of(chosen_card)
    plan = recomputing.shards(folder, method, recomputing.Settings(**settings))
    chosen = plan.filter(plan["shard"].is_not_null())
    click.echo(
        f"{folder / recomputing.PLAN}: {method.name}, {chosen.height} of {plan.height} conformers "
        f"in {recomputing.n_shards(folder)} shards, about {chosen['core_hours'].sum():.3g} "
        "core-hours"
    )


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--shard", type=click.IntRange(0), help="That one alone [default: all].")
@ENGINE
@STORE
@JOBS
def recompute(folder: Path, shard: int | None, engine: str, store: Path, jobs: int) -> None:
    """Compute the shards of the library in FOLDER with DFT, one core a process.

    By the method that the backbone was trained on. A run that was stopped goes on where it was
    when it is called again; what the store holds is not computed again, whatever library it was
    computed for.

    \b
    Examples:
      probe recompute results/demo --jobs 2
      probe recompute results/demo --shard 0 --engine gpu4pyscf
    """
    from probe.dft import recompute as recomputing

    chosen = range(recomputing.n_shards(folder)) if shard is None else [shard]
    if not chosen:
        click.echo(f"{folder}: nothing to recompute: its plan has no shards")
    n_died = 0
    for number in chosen:
        done = recomputing.compute(folder, number, engine, store, jobs)
        n_died += done.n_died
        click.echo(
            f"{recomputing.shard_path(folder, number)}: {done.n_computed} computed, "
            f"{done.n_failed} failed, {done.n_left} left"
        )
    if n_died:
        click.echo(
            f"{folder}: {n_died} of those that failed ended their worker process; the same "
            "command tries them again"
        )


@click.command()
@click.argument("folder", type=FOLDER)
@CHECKPOINT
@click.option("--labels", type=FILE, help="Also write what may be learnt from: labels.")
@JSON
def energies(folder: Path, checkpoint: str, labels: Path | None, as_json: bool) -> None:
    """Write the final energies of the library in FOLDER, from DFT and from the backbone.

    \b
    Example:
      probe energies results/demo --checkpoint aimnet2-b973c --labels gained.parquet
    """
    from probe.classifier import card
    from probe.dft import energies as final
    from probe.recalibration import gains

    counts = final.finish(folder, card.read(checkpoint))
    if labels is not None:
        counts["labels"] = gains.labels(folder, labels)
    line = (
        f"{folder / 'energies.parquet'}: {counts['n_dft']} from DFT, {counts['n_mlip']} from the "
        f"backbone, {counts['n_without_energy']} without; of {counts['n_recompute']} to recompute "
        f"{counts['n_failed']} failed and {counts['n_left']} are left"
    )
    if labels is not None:
        line += f"; {labels}: {counts['labels']['labels']} labels"
    click.echo(json.dumps(counts, indent=2) if as_json else line)


@click.command()
@click.argument("folder", type=FOLDER)
@CHECKPOINT
@click.option("--n", type=click.IntRange(1), default=50, show_default=True, help="Conformers.")
@click.option("--seed", type=click.IntRange(0), default=42, show_default=True)
@ENGINE
@STORE
@JOBS
@JSON
def audit(folder: Path, checkpoint: str, as_json: bool, **settings: Any) -> None:
    """Recompute accepted conformers of FOLDER at random; is the promise of the triage kept?

    Gives the unreliable share with its exact 95 % interval (Clopper and Pearson).

    \b
    Example:
      probe audit results/demo --checkpoint aimnet2-b973c --n 50 --jobs 2
    """
    from probe.classifier import card
    from probe.dft import audit as auditing

    record = auditing.audit(folder, card.read(checkpoint), **settings)
    click.echo(json.dumps(record, indent=2) if as_json else auditing.in_words(record))


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--program",
    type=click.Choice(["orca", "psi4", "gaussian"]),
    default="orca",
    show_default=True,
)
@click.option("--gaussian-route", help="Its route section: it has neither method of the backbones.")
@click.option("--out", type=FILE, required=True, help="A .tar.gz or .zip; one for each shard.")
def decks(folder: Path, program: str, gaussian_route: str | None, out: Path) -> None:
    """Write input decks of the shards of the library in FOLDER for another program.

    A manifest beside the archives says what each deck is of.

    \b
    Example:
      probe decks results/demo --program orca --out results/demo/decks/orca.tar.gz
    """
    from probe.dft import decks as exporting

    n, archives = exporting.export(folder, program, out, gaussian_route)
    click.echo(f"{out}: {n} decks in {len(archives)} archives")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("outputs", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--manifest", type=FILE, required=True, help="What the decks were written with.")
def collect(folder: Path, outputs: tuple[Path, ...], manifest: Path) -> None:
    """Read finished ORCA outputs (files or folders) back into the library in FOLDER.

    Each is held against the manifest; what cannot be used is a line and a row with its reason.
    `probe energies` takes them from there.

    \b
    Example:
      probe collect results/demo runs/ --manifest results/demo/decks/orca.manifest.parquet
    """
    from probe.dft import collect as collecting

    done = collecting.collect(folder, outputs, manifest)
    click.echo(f"{done.n_read} outputs read: {done.n_usable} usable, {done.n_unusable} not")
    if done.n_read == 0:
        raise ProbeError(
            f"{', '.join(map(str, outputs))}: no ORCA output (*.out, *.log) there that is named "
            f"after a deck of {manifest}"
        )
