"""A disk that is full or read-only: at every stage one line, nothing half written, it goes on."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import disk
import pytest
from click.testing import CliRunner

from probe import cli

RECORDS = "CCO ethanol\nCCN ethylamine\nCCF fluoroethane\nC1CC1 cyclopropane\n"
NAMED = ("--checkpoint", "aimnet2-b973c")
STAGES = {
    "plan": ("plan", "lib.smi", "--out", "out/plan.json"),
    "ingest": (
        *("ingest", "--plan", "screened/plan.json", "--shard", "0"),
        *(
            "--conformers",
            "out/conformers/00000.parquet",
            "--rejected",
            "out/rejects/00000.parquet",
        ),
    ),
    "embed": (
        *("embed", "screened/conformers/00000.parquet", "--backbone", "aimnet2-b973c"),
        *("--cache", "out/cache", "--out", "out/embedded/00000.parquet"),
    ),
    "score": (
        *("score", "screened/conformers/00000.parquet", "screened/embedded/00000.parquet", *NAMED),
        *("--cache", "screened/cache", "--out", "out/scores/00000.parquet"),
    ),
    "triage": ("triage", "out", *NAMED),
    "report": ("report", "out", *NAMED, "--umap-points", "10"),
}


def probe(*words):
    return CliRunner().invoke(cli.main, words, prog_name="probe")


@pytest.fixture(scope="module")
def place(tmp_path_factory, aimnet_file):
    """A folder with a library that was screened up to the scores, and with the lists."""
    assert aimnet_file.is_file()
    place = tmp_path_factory.mktemp("disk")
    (place / "lib.smi").write_text(RECORDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name in ("plan", "ingest", "embed", "score"):
            words = (word.replace("out/", "screened/") for word in STAGES[name])
            assert (run := probe(*words)).exit_code == 0, run.output
        shutil.copytree("screened", "triaged", ignore=shutil.ignore_patterns("cache"))
        assert (run := probe("triage", "triaged", *NAMED)).exit_code == 0, run.output
    return place


@contextmanager
def limited(_):
    with disk.full(at=300):
        yield


@contextmanager
def filled(folder):
    """What is left of the disk that ``folder`` is goes into a file."""
    waste = folder / "waste"
    with waste.open("wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, shutil.disk_usage(folder).free)
    try:
        yield
    finally:
        waste.unlink()


@contextmanager
def read_only(folder):
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


@pytest.fixture
def out(place, monkeypatch):
    """The folder where everything goes."""
    monkeypatch.chdir(place)
    out = place / "out"
    out.mkdir()
    yield out
    shutil.rmtree(out)


@pytest.fixture
def mounted(out):
    """``out`` as a small disk of its own."""
    words = ("mount", "-t", "tmpfs", "-o", "size=4m", "none", str(out))
    if subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("mounting a disk is root's")
    yield out
    subprocess.run(["umount", str(out)], check=True)


def goes_on(place, out, stage, trouble):
    """What ``stage`` says in ``trouble``, after which it is seen to have left nothing behind."""
    if stage in ("triage", "report"):
        source = place / {"triage": "screened", "report": "triaged"}[stage]
        shutil.copytree(source, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache"))

    def files():
        found = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
        found.pop(out / "waste", None)
        return found

    before = files()
    with trouble(out):
        run = probe(*STAGES[stage])
        assert files() == before
    assert run.exit_code == 2, run.output
    assert "Traceback" not in run.output
    again = probe(*STAGES[stage])
    assert again.exit_code == 0, again.output
    assert files().keys() > before.keys()
    return run.stderr.splitlines()[-1]


FULL = "make room there, or choose another place, and run the same command again"


@pytest.mark.parametrize("stage", STAGES)
def test_a_file_that_may_not_grow(place, out, stage):
    line = goes_on(place, out, stage, limited)
    assert line.startswith("probe: error: out/")
    assert line.endswith(f"cannot be written (File too large); {FULL}")


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk(place, mounted, stage):
    line = goes_on(place, mounted, stage, filled)
    assert line.startswith("probe: error: out/")
    assert line.endswith(f"cannot be written (No space left on device); {FULL}")


@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_that_cannot_be_written_to(place, mounted, stage):
    line = goes_on(place, mounted, stage, read_only)
    assert line.startswith("probe: error: out")
    assert "cannot be written" in line
    assert "(Read-only file system); choose another" in line
