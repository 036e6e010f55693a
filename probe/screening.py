"""A screening from anywhere: the workflow on one library, without editing a configuration."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probe import config, tables, weights
from probe.classifier import card
from probe.errors import ProbeError
from probe.library import formats, sources

ROOT = Path(__file__).resolve().parents[1]
"""Of the checkout: the workflow lies there, beside the package."""
STDERR = 2
"""Standard output is for what the command itself has to say."""
CONFIGURATION = "config.json"
"""Below the results of a library: what it was screened with."""


@dataclass(frozen=True)
class Call:
    """What is asked of Snakemake.

    ``where`` is the folder that gets results/ and cache/; a ``backbone`` without a ``checkpoint``
    takes that of its name, without either the configuration says; ``triage`` holds keys of that
    section of the configuration, ``more`` further arguments of Snakemake.
    """

    library: Path
    where: Path
    backbone: str | None = None
    checkpoint: str | None = None
    triage: Mapping[str, Any] = field(default_factory=dict)
    configured: Path | None = None
    profile: str | None = None
    cores: str = "all"
    more: Sequence[str] = ()

    @property
    def results(self) -> Path:
        """The folder of what comes out."""
        return self.where / "results" / config.name_of(str(self.library), "library")


def run(call: Call) -> None:
    """Screen the library, and wait for the end. Its configuration is kept beside what comes out.

    Raises:
        ProbeError: the library, a name or the workflow is not there, or Snakemake failed.
    """
    chosen = configuration(call)
    tables.write_json(call.results / CONFIGURATION, chosen)
    with subprocess.Popen(command(call), cwd=call.where, stdout=STDERR) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # Snakemake has heard it, too, and stops its jobs
            process.wait()
            raise
    if code:
        raise ProbeError(
            f"{call.library}: the screening did not finish; Snakemake says why above, and the same "
            "command goes on with what is left"
        )


def configuration(call: Call) -> dict[str, Any]:
    """Every key of the configuration, as ``call`` wants it.

    Raises:
        ProbeError: the library is not there or of no known format, or a name or a key is unknown.
    """
    if not call.library.exists() and not sources.is_pattern(call.library):
        raise ProbeError(f"{call.library}: no such file")
    for path, _ in sources.find(call.library)[0]:
        formats.format_of(path)
    given = config.load(call.configured or _in_checkout("config") / "config.yaml")
    asked = {"backbone": call.backbone, "checkpoint": call.checkpoint or call.backbone}
    chosen = config.check(
        {
            **given,
            "library": str(call.library.absolute()),
            "triage": {**given.get("triage", {}), **call.triage},
            **{key: name for key, name in asked.items() if name is not None},
        }
    )
    if chosen["backbones"] is None:  # a list of one's own the workflow reads
        weights.entry(chosen["backbone"])
    return chosen | {"checkpoint": str(card.resolve(chosen["checkpoint"]).absolute())}


def command(call: Call) -> list[str]:
    """The words that call Snakemake in ``call.where``.

    Raises:
        ProbeError: the workflow is not there.
    """
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(_in_checkout("Snakefile"))),
        *("--configfile", str(call.results.relative_to(call.where) / CONFIGURATION)),
        *("--workflow-profile", str(_in_checkout("profiles") / "default")),
        *_jobs(call),
        *call.more,
    ]


def _jobs(call: Call) -> tuple[str, ...]:
    """The arguments that say where jobs run: on this machine, or as a profile has it."""
    if call.profile is None:
        return ("--cores", call.cores)
    shipped, own = ROOT / call.profile, Path(call.profile)
    if own.is_dir():
        return ("--profile", str(own.absolute()))
    return ("--profile", str(shipped) if shipped.is_dir() else call.profile)


def _in_checkout(name: str) -> Path:
    path = ROOT / name
    if not path.exists():
        raise ProbeError(f"{path}: no such file; install probe from a checkout with -e")
    return path
