"""The commands that look after the cache: show, verify and prune."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe.cli.common import FILE, FOLDER, JSON, Commands
from probe.errors import ProbeError

if TYPE_CHECKING:
    from probe.cache.upkeep import Holding, Needs, Removal
    from probe.config import Library

CACHE = click.option(
    "--cache",
    "root",
    type=FOLDER,
    default=Path("cache"),
    show_default=True,
    help="The store of embeddings.",
)
CONFIGURATION = Path("config/config.yaml")
SIZES = ("B", "kB", "MB", "GB", "TB")


@click.group(cls=Commands)
def cache() -> None:
    """Show, verify and prune the store of embeddings."""


@cache.command()
@CACHE
@JSON
def show(root: Path, as_json: bool) -> None:
    """Say how much the cache holds of each backbone.

    \b
    Example:
      probe cache show --json
    """
    from probe.cache import upkeep

    found = upkeep.holdings(root)
    if as_json:
        records = [asdict(held) | {"bytes_per_atom": held.bytes_per_atom} for held in found]
        click.echo(json.dumps({"cache": str(root), "backbones": records}, indent=2))
        return
    for held in found:
        click.echo(_held(held))
    click.echo(f"{root}: {_size(sum(held.n_bytes for held in found))} in {len(found)} backbones")


@cache.command()
@CACHE
@click.option("--repair", is_flag=True, help="Set damaged parts aside, as a screening does.")
@JSON
def verify(root: Path, repair: bool, as_json: bool) -> None:
    """Read every part of the cache and hold it against its checksums, ids and sizes.

    What was set aside is computed again by the next `snakemake --forcerun embed`.

    \b
    Example:
      probe cache verify --repair
    """
    from probe.cache import upkeep

    n_parts = sum(held.n_parts for held in upkeep.holdings(root))
    found = []
    for damage in upkeep.damages(root, repair=repair):
        found.append({"part": str(damage.path), "why": damage.why})
        if not as_json:
            click.echo(f"{damage.path} {damage.why}")
    if as_json:
        record = {"cache": str(root), "n_parts": n_parts, "damaged": found, "repaired": repair}
        click.echo(json.dumps(record, indent=2))
    elif not found:
        click.echo(f"{root}: {n_parts} parts, none is damaged")
    if found and not repair:
        raise ProbeError(
            f"{root}: {len(found)} of {n_parts} parts are damaged; set them aside with --repair"
        )


@cache.command()
@CACHE
@click.option(
    "--results",
    type=FOLDER,
    multiple=True,
    default=[Path("results")],
    show_default=True,
    help="Of every project that uses this cache; may be given again.",
)
@click.option(
    "--config",
    "config_file",
    type=FILE,
    help="Whose libraries are yet to be screened, or again; those of `probe screen` are found in "
    f"the results [default: {CONFIGURATION}].",
)
@click.option(
    "--unused-days",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Only what no screening has asked for in so many days.",
)
@click.option("--backbone", help="Remove all of this one instead: its name or fingerprint.")
@click.option("--yes", is_flag=True, help="Remove; without it, only say what would be.")
@JSON
def prune(
    root: Path,
    results: tuple[Path, ...],
    config_file: Path | None,
    unused_days: float,
    backbone: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Remove the parts of the cache that no library refers to; without --yes, count them.

    Parts stay that a library in the results refers to, that a library of a configuration may
    need (it has not been screened in full with its backbone), or that some screening asked for
    lately. Nothing is removed while a screening is using the cache.

    \b
    Examples:
      probe cache prune
      probe cache prune --results results --results ../other/results --yes
      probe cache prune --backbone aimnet2-wb97m --yes
    """
    from probe.cache import upkeep

    if backbone is not None:
        removals = upkeep.of_backbone(root, backbone)
    else:
        removals = upkeep.unneeded(root, _needs(results, config_file), unused_days)
    freed = upkeep.remove(root, removals) if yes else sum(each.n_bytes for each in removals)
    if as_json:
        click.echo(json.dumps(_record(root, removals, freed, yes), indent=2))
        return
    for removal in removals:
        click.echo(_removed(removal))
    done = "removed" if yes else "would be removed; --yes removes it"
    click.echo(f"{root}: {_size(freed)} {done}")


def _needs(results: Sequence[Path], config_file: Path | None) -> "Needs":
    from probe import config, screening, tables
    from probe.cache import upkeep

    for folder in results:
        if not folder.is_dir():
            raise ProbeError(f"{folder}: no such folder; name every project's with --results")
    kept = [path for root in results for path in screening.configurations(root)]
    configured = [
        {path.parent.name: _screened(config.check(tables.read_json(path)))} for path in kept
    ]
    if config_file is not None or CONFIGURATION.is_file() or not kept:
        configured.append(_listed(config.check(config.load(config_file or CONFIGURATION))))
    return upkeep.needs(configured, results)


def _screened(settings: Mapping[str, Any]) -> "Library":
    """The library of a `probe screen`, which may be there no more."""
    from probe.config import Library

    _know_backbones(settings)
    return Library(Path(settings["library"]), settings["backbone"], settings["checkpoint"])


def _listed(settings: Mapping[str, Any]) -> "dict[str, Library]":
    """The libraries of a configuration, by name."""
    from probe import config, watch

    _know_backbones(settings)
    listed = config.libraries(settings, Path.cwd())
    watched = watch.libraries(settings, listed, Path.cwd(), lambda *_: None, settle=0)
    return {**listed, **watched.libraries}


def _know_backbones(settings: Mapping[str, Any]) -> None:
    if settings["backbones"] is not None:
        os.environ["PROBE_BACKBONES"] = settings["backbones"]


def _held(held: "Holding") -> str:
    name = held.backbone or "a backbone of no list"
    words = [
        f"{held.fingerprint}  {name}: {held.n_parts} parts",
        f"{held.n_conformers:,} conformers",
        f"{held.n_atoms:,} atoms",
        _size(held.n_bytes),
    ]
    if held.bytes_per_atom is not None:
        words.append(f"{held.bytes_per_atom:.0f} bytes an atom")
    for n, what in (
        (held.n_duplicates, "conformers held twice"),
        (held.n_unreadable, "parts unreadable (`probe cache verify`)"),
        (held.n_leftovers, "leftovers of damage or kills"),
    ):
        if n:
            words.append(f"{n:,} {what}")
    return ", ".join(words)


def _removed(removal: "Removal") -> str:
    kept = "; ".join(f"{n} stay: {why}" for why, n in removal.kept.items())
    line = f"{removal.fingerprint}: {len(removal.paths)} files, {_size(removal.n_bytes)}"
    return f"{line}; {kept}" if kept else line


def _record(root: Path, removals: Sequence["Removal"], freed: int, yes: bool) -> dict[str, Any]:
    backbones = [
        {
            "fingerprint": removal.fingerprint,
            "files": [path.name for path in removal.paths],
            "n_bytes": removal.n_bytes,
            "kept": dict(removal.kept),
        }
        for removal in removals
    ]
    return {"cache": str(root), "removed": yes, "n_bytes": freed, "backbones": backbones}


def _size(n_bytes: float) -> str:
    for unit in SIZES:
        if n_bytes < 1000 or unit == SIZES[-1]:
            break
        n_bytes /= 1000
    return f"{n_bytes:.3g} {unit}"
