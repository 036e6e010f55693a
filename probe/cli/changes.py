"""The commands that hold a screening against the last one of the same library."""

from pathlib import Path

import click

from probe.cli.common import FOLDER, Commands
from probe.errors import ProbeError


@click.group(cls=Commands)
def changes() -> None:
    """Say what changed in a library since its last screening, and why."""


@changes.command()
@click.argument("folder", type=FOLDER)
@click.option("--checkpoint", required=True, help="Name of a shipped checkpoint, or its folder.")
def find(folder: Path, checkpoint: str) -> None:
    """Compare the triaged library in FOLDER with its last finished screening.

    Writes changes.parquet, a row for every conformer that is new, gone or judged differently, with
    the cause, and changes.json.

    \b
    Example:
      probe changes find results/demo --checkpoint aimnet2-b973c
    """
    from probe.triage import changes as compared

    click.echo(compared.in_words(compared.find(folder, checkpoint)))


@changes.command()
@click.argument("folder", type=FOLDER)
def keep(folder: Path) -> None:
    """Make the screening in FOLDER, now finished, the one that the next is compared with.

    \b
    Example:
      probe changes keep results/demo
    """
    from probe.triage import changes as compared

    kept = compared.keep(folder)
    click.echo(f"{kept['library']}: the screening of {kept['at']} is the last one")


@changes.command()
@click.argument("folders", type=FOLDER, nargs=-1)
def show(folders: tuple[Path, ...]) -> None:
    """Print a line on what changed in each of the libraries in FOLDERS.

    \b
    Example:
      probe changes show results/*
    """
    from probe import tables
    from probe.triage import changes as compared

    for folder in folders:
        finished = compared.finished(folder)
        if not finished:
            raise ProbeError(f"{folder}: no finished screening; one is when its report is written")
        record = tables.read_json(folder / compared.RECORD)
        click.echo(f"{finished[-1]['at']}  {compared.in_words(record)}")
    if not folders:
        click.echo("no library to screen")
