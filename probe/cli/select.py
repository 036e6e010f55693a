"""The command that lists the conformers a question is about."""

# what a command needs is imported when it runs: the command line starts at once
from pathlib import Path

import click

from probe.cli.common import FILE, FOLDER


class Box(click.ParamType[tuple[float, ...]]):
    """x0,x1,y0,y1 of a region of the report's map."""

    name = "x0,x1,y0,y1"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Read four numbers."""
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 4:
            self.fail(f"{value!r} is not four numbers, as in 1.5,3,-2,0.5", param, ctx)
        return numbers


PROBABILITY = click.FloatRange(0, 1)


@click.command("select")
@click.argument("results", type=FOLDER)
@click.option("--verdict", type=click.Choice(["accept", "recompute"]), help="Of this list.")
@click.option("--element", "elements", multiple=True, help="That hold it; may be given again.")
@click.option("--text", help="With it in name, SMILES, source, reason or id.")
@click.option("--p-min", type=PROBABILITY, help="With at least this p_unreliable.")
@click.option("--p-max", type=PROBABILITY, help="With at most this p_unreliable.")
@click.option("--box", type=Box(), help="In this region of the report's map.")
@click.option("--out", type=FILE, help="A .csv, .parquet, .sdf, .extxyz or .h5 file to write.")
def select(
    results: Path,
    verdict: str | None,
    elements: tuple[str, ...],
    text: str | None,
    p_min: float | None,
    p_max: float | None,
    box: tuple[float, float, float, float] | None,
    out: Path | None,
) -> None:
    """List the conformers in RESULTS, a triaged library, that meet every condition.

    Without --out their ids are printed, one a line.

    \b
    Examples:
      probe select results/demo --verdict recompute --element I --out iodine.sdf
      probe select results/demo --box 1.5,3,-2,0.5 --out region.csv
      probe select results/demo --p-min 0.9 --text nitro
    """
    from probe.triage import select as selecting

    query = selecting.Query(verdict, elements, text, p_min, p_max, box)
    rows = selecting.select(results, query)
    if out is None:
        for conformer_id in rows["conformer_id"]:
            click.echo(conformer_id)
        return
    selecting.write(rows, results, out)
    click.echo(f"{out}: {rows.height} conformers")
