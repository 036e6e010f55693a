"""The command that writes a library's lists for other programs."""

# what a command needs is imported when it runs: the command line starts at once
from pathlib import Path

import click

from probe.cli.common import FILE, FOLDER


@click.command("export")
@click.argument("results", type=FOLDER)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["csv", "sdf", "parquet", "extxyz", "h5"]),
    default="csv",
    show_default=True,
    help="sdf, extxyz and h5 hold the geometries.",
)
@click.option(
    "--verdict", type=click.Choice(["accept", "recompute"]), help="That list [default: both]."
)
@click.option("--out", type=FILE, help="[default: export/LIST.FORMAT in RESULTS]")
def export(results: Path, kind: str, verdict: str | None, out: Path | None) -> None:
    """Write the lists of RESULTS, a triaged library, for another program.

    `probe select` writes what meets further conditions. Text in a CSV that a
    spreadsheet would take for a formula begins with an apostrophe.

    \b
    Examples:
      probe export results/demo
      probe export results/demo --format sdf --verdict accept --out accepted.sdf
    """
    from probe.triage import select

    rows = select.select(results, select.Query(verdict))
    path = out or results / "export" / f"{verdict or 'all'}.{kind}"
    select.write(rows, results, path, f".{kind}")
    click.echo(f"{path}: {rows.height} conformers")
