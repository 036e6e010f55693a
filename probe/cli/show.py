"""The command that tells one conformer's whole story."""

# what a command needs is imported when it runs: the command line starts at once
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe.cli.common import FILE, FOLDER, JSON
from probe.errors import ProbeError

if TYPE_CHECKING:
    from probe.report.story import Story

BAR = 30
"""Characters of the longest bar."""


@click.command()
@click.argument("name")
@click.option(
    "--results",
    "folders",
    type=FOLDER,
    multiple=True,
    help="Triaged libraries to look in [default: all in ./results].",
)
@click.option("--svg", type=FILE, help="Draw it there, atoms coloured by importance.")
@JSON
def show(name: str, folders: tuple[Path, ...], svg: Path | None, as_json: bool) -> None:
    """Tell all that is known of conformer NAME: an id, the beginning of one, or a name.

    \b
    Examples:
      probe show aspirin
      probe show 3fa94c --results results/demo --svg molecule.svg
    """
    from probe import tables
    from probe.report import story

    triaged = (path.parent for path in sorted(Path("results").glob("*/accept.parquet")))
    looked = list(folders or triaged)
    if not looked:
        raise ProbeError("results: no triaged library here; name its folder with --results")
    found = story.find(looked, name)
    if svg is not None:
        drawing = story.svg(found[0].geometry, found[0].scored).encode()
        tables.atomically(svg, lambda handle: handle.write(drawing))
    if as_json:
        click.echo(json.dumps([each.record() for each in found], indent=2))
        return
    for each in found:
        for line in _lines(each):
            click.echo(line)


def _lines(story: "Story") -> Iterator[str]:
    row, triaged, scored = story.geometry, story.triaged, story.scored
    facts = {
        "conformer": row["conformer_id"],
        "name": row["molecule_id"],
        "also named": triaged["synonyms"],
        "library": story.library,
        "source": row["source"],
        "SMILES": row["smiles"],
        "atoms": f"{row['n_atoms']}, charge {row['charge']:+d}, multiplicity {row['multiplicity']}",
        "energy": _number(triaged["energy_ev"], ".6f", " eV"),
        "p_unreliable": _number(triaged["p_unreliable"], ".3f"),
        "verdict": f"{triaged['verdict']}: {triaged['reason']}",
        "marks": triaged["flags"],
        "latent distance": _number(scored["latent_distance"], ".3f"),
        "DFT would take": _number(triaged["dft_core_hours"], ".3g", " core-hours"),
        "final energy": _final(story.final),
        "note": row["note"],
        "cache part": story.embedded["part"],
    }
    for what, value in facts.items():
        if value not in (None, ""):
            yield f"{what:15}  {value}"
    if story.atoms:
        yield ""
        yield "atom       importance"
    top = max((share for *_, share in story.atoms), default=0)
    for number, symbol, share in story.atoms:
        yield f"{symbol + str(number):9}  {share:.3f}  {'█' * round(BAR * share / top)}"


def _final(row: dict[str, Any] | None) -> str | None:
    """Where `probe energies` has been: the energy, whose it is, and why it is not of DFT."""
    if row is None:
        return None
    energy, shifted = (
        _number(row[name], ".6f", " eV") for name in ("energy_ev", "energy_shifted_ev")
    )
    words = [f"{energy}, {row['source']}: {row['method']}" if row["source"] else "none"]
    if row["source"] == "dft" and row["energy_shifted_ev"] is not None:
        words.append(f"{shifted} on the backbone's scale")
    if row["reason"] is not None:
        words.append(f"not recomputed: {row['reason']}")
    return "; ".join(words)


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"
