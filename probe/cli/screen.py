"""The command that screens a library from its file to its report."""

# what a command needs is imported when it runs: the command line starts at once
from pathlib import Path
from typing import Any

import click

from probe.cli.common import FILE, FOLDER, JSON, triaged


@click.command()
@click.argument("library", type=click.Path(path_type=Path))
@click.argument("snakemake", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--directory",
    "where",
    type=FOLDER,
    default=Path(),
    help="Gets results/ and cache/ [default: this folder].",
)
@click.option("--backbone", help="The potential [default: the configuration's].")
@click.option("--checkpoint", help="Name or folder [default: that of the backbone].")
@click.option(
    "--policy", type=click.Choice(["cutoff", "risk", "budget"]), help="What draws the line."
)
@click.option(
    "--cutoff",
    type=click.FloatRange(0.5, 1),
    help="Confidence from which to accept, and to recompute.",
)
@click.option("--tolerance-kcal", type=click.FloatRange(0.01), help="Error that is unreliable.")
@click.option("--max-unreliable", type=click.FloatRange(0.001, 0.5), help="For policy risk.")
@click.option("--budget-core-hours", type=click.FloatRange(0), help="For policy budget.")
@click.option("--cores", default="all", show_default=True, help="Of this machine: a number or all.")
@click.option("--profile", help="Of Snakemake, as slurm; jobs go where it says.")
@click.option("--config", "configuration", type=FILE, help="A configuration of your own.")
@JSON
def screen(
    library: Path,
    snakemake: tuple[str, ...],
    where: Path,
    backbone: str | None,
    checkpoint: str | None,
    cutoff: float | None,
    cores: str,
    profile: str | None,
    configuration: Path | None,
    as_json: bool,
    **triage: Any,
) -> None:
    """Screen LIBRARY (a file, a folder or a pattern): all steps, by Snakemake, to the report.

    After an interruption the same command goes on. Words after -- are Snakemake's.

    \b
    Examples:
      probe screen molecules.smi
      probe screen 'runs/*.sdf' --policy risk --tolerance-kcal 1 --cores 4
      probe screen library.sdf.gz --profile slurm -- --dry-run
    """
    from probe import screening, tables

    both = dict.fromkeys(("accept_confidence", "recompute_confidence"), cutoff)
    settings = {key: value for key, value in (triage | both).items() if value is not None}
    call = screening.Call(
        library,
        where,
        backbone,
        checkpoint,
        settings,
        configuration,
        profile,
        cores,
        snakemake,
    )
    if not screening.run(call):
        return  # a dry run, or one to another target
    if as_json:
        click.echo(call.summary.read_text(), nl=False)
        return
    for line in triaged(tables.read_json(call.summary)):
        click.echo(line)
    click.echo(f"{call.results / 'report.html'}")
