"""A screening from anywhere: the workflow on one library, without editing a configuration."""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probe import config, tables, weights
from probe.classifier import card
from probe.errors import ProbeError
from probe.library import formats, plan, sources

ROOT = Path(__file__).resolve().parents[1]
"""Of the checkout: the workflow lies there, beside the package."""
STDERR = 2
"""Standard output is for what the command itself has to say."""
CONFIGURATION = "config.json"
"""Below the results of a library: what it was screened with."""
BEGUN = "config-*.json"
"""Beside it, by their content: what screenings run with, or ran with that did not finish."""
LOCK = ".config.lock"
"""Beside them: shared by the runs that use one, held alone by who removes them."""
LOOKS = (
    *("dryrun", "touch", "unlock", "lint", "list_rules", "list_target_rules", "dag", "rulegraph"),
    *("filegraph", "d3dag", "summary", "detailed_summary", "list_changes", "list_input_changes"),
    *("list_params_changes", "list_untracked", "reporter", "archive", "delete_all_output"),
    *("delete_temp_output", "cleanup_metadata", "conda_create_envs_only", "cleanup_shadow"),
)
"""What Snakemake may be asked that screens nothing, as its parser calls it."""


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
    def path(self) -> Path:
        """The library from anywhere; `.` and `..`, too, have the name of their folder."""
        return Path(os.path.abspath(self.library))  # noqa: PTH100  (a link keeps its name)

    @property
    def results(self) -> Path:
        """The folder of what comes out."""
        return self.where / "results" / config.name_of(str(self.path), "library")

    @property
    def summary(self) -> Path:
        """The counts of the screening."""
        return self.results / "summary.json"


def run(call: Call) -> bool:
    """Screen the library, and wait for the end; whether the results are of this call.

    They are not after a dry run, nor where another target left the lists of other settings. If
    they are, the configuration is kept beside them.

    Raises:
        ProbeError: the library, a name or the workflow is not there, the results of its name are
            another library's, or Snakemake failed.
    """
    chosen = configuration(call)
    _require_own(call)
    looks = _only_looks(call.more)
    with _written(call, chosen, looks) as path:
        _execute(call, path)
    if looks or not _is_of(call.summary, chosen):
        return False
    tables.write_json(call.results / CONFIGURATION, chosen)
    _remove_begun(call.results)
    return True


def configurations(results: Path) -> list[Path]:
    """Those of every library in ``results``: of its screening, and of what did not finish."""
    return sorted(path for name in (CONFIGURATION, BEGUN) for path in results.glob(f"*/{name}"))


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
            "library": str(call.path),
            "triage": {**given.get("triage", {}), **call.triage},
            **{key: name for key, name in asked.items() if name is not None},
        }
    )
    if chosen["backbones"] is None:  # a list of one's own the workflow reads
        weights.entry(chosen["backbone"])
    return chosen | {
        "checkpoint": str(card.resolve(chosen["checkpoint"]).absolute()),
        "labels": _labels(chosen["labels"], call.where),
    }


def command(call: Call, path: Path) -> list[str]:
    """The words that call Snakemake in ``call.where`` with the configuration in ``path``.

    Raises:
        ProbeError: the workflow is not there.
    """
    return [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(_in_checkout("Snakefile"))),
        *("--configfile", str(path.absolute())),
        *("--workflow-profile", str(_in_checkout("profiles") / "default")),
        *_jobs(call),
        *call.more,
    ]


def _execute(call: Call, path: Path) -> None:
    with subprocess.Popen(command(call, path), cwd=call.where, stdout=STDERR) as process:
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


def _require_own(call: Call) -> None:
    """Raise ProbeError if the results of this name are of another library that is still there."""
    try:
        held = Path(plan.load(call.results / "plan.json").path)
    except ProbeError:  # none yet, or a damaged one, which is made again
        return
    if held.resolve() == call.path.resolve() or not _has_results(call.results):
        return
    if not _is_there(held):
        print(
            f"probe: {call.results} is of {held}, which is there no more; {call.path} goes on in "
            "its place",
            file=sys.stderr,
        )
        return
    raise ProbeError(
        f"{call.library}: {call.results} is of another library, {held}; rename one of the two, "
        f"choose another folder with --directory, or delete {call.results}"
    )


def _has_results(folder: Path) -> bool:
    """Whether more is in ``folder`` than the records that a dry run leaves there."""
    return any(path.is_dir() or path.suffix != ".json" for path in _seen(folder))


def _seen(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _is_there(library: Path) -> bool:
    try:
        files = sources.find(library)[0]
    except ProbeError:  # a folder or a pattern without files
        return False
    return any(path.exists() for path, _ in files)


def _only_looks(words: Sequence[str]) -> bool:
    """Whether ``words`` ask Snakemake for something else than to run, as a dry run."""
    if not words:
        return False
    from snakemake.cli import get_argument_parser  # noqa: PLC0415  (it takes a second)

    silent = io.StringIO()
    with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
        try:
            asked = get_argument_parser().parse_known_args(list(words))[0]
        except SystemExit:  # --help, or what Snakemake will complain about itself
            return True
    return any(getattr(asked, name, None) for name in LOOKS)


@contextlib.contextmanager
def _written(call: Call, chosen: Mapping[str, Any], looks: bool) -> Iterator[Path]:
    """A file of ``chosen`` that no other call changes; it stays if a screening does not finish.

    Snakemake's lock is not held yet, and jobs of another call may yet read theirs.
    """
    digest = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:16]
    path = call.results / BEGUN.replace("*", digest)
    with contextlib.ExitStack() as stack:
        if looks:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory())) / path.name
        else:
            stack.enter_context(_in_use(call.results))
        tables.write_json(path, chosen)
        yield path


@contextlib.contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Keep the configurations in ``folder`` from being removed; any number of runs may."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as handle:  # NFS reads to share a lock
        with contextlib.suppress(OSError):  # a file system without locks: none is ever removed
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield


def _remove_begun(folder: Path) -> None:
    """Remove the configurations of a library's screenings, unless a run of it goes on."""
    with (folder / LOCK).open("a+") as handle, contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for path in folder.glob(BEGUN):
            path.unlink()


def _is_of(summary: Path, chosen: Mapping[str, Any]) -> bool:
    """Whether the library was triaged with these settings, and not left as it was."""
    if not summary.exists():
        return False
    if tables.read_json(summary).get("cutoffs") == chosen["triage"]:
        return True
    print(f"probe: {summary} is of other settings of triage than these", file=sys.stderr)
    return False


def _labels(path: str, where: Path) -> str:
    """The labels in ``where``, or those of the checkout, which the default names."""
    shipped = ROOT / path
    return str(shipped) if not (where / path).exists() and shipped.exists() else path


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
