"""`probe label` in processes of its own: killed, stopped and broken, it loses nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from label_table import rows
from repository import ROOT

from probe.dft import scf


def content(path):
    """What a file of /proc says; nothing if its process or thread has ended."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def children(pid):
    """Processes that ``pid`` started to compute in."""
    listed = map(content, Path(f"/proc/{pid}/task").glob("*/children"))
    found = [int(child) for text in listed for child in text.split()]
    return [child for child in found if "spawn_main" in command(child)]


def command(pid):
    """Command line of a process; empty if it has ended."""
    return content(f"/proc/{pid}/cmdline")


def until(condition):
    """Wait for ``condition``, however slow the machine."""
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def hear_ctrl_c():
    """What a job in the foreground does; the tests may be one in the background, which is deaf."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def probe(tmp_path):
    """Starts `probe label` as a shell does: in a process group of its own."""
    started = []

    def start(*words):
        process = subprocess.Popen(
            [sys.executable, "-m", "probe.cli", "label", *map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=hear_ctrl_c,  # noqa: PLW1509 (these tests start no threads)
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


class TestTheCommand:
    """One molecule of seconds and one of minutes, in files and processes of their own."""

    @pytest.fixture
    def words(self, tmp_path):
        (tmp_path / "lib.smi").write_text("N#N nitrogen\nIc1cc(I)c(I)c(I)c1I slow\n")
        return "--in", "lib.smi", "--out", "labels.parquet"

    @pytest.fixture
    def killed(self, tmp_path, words, probe):
        """A run that was killed at its second molecule has left its journal and nothing else."""
        process = probe(*words)
        journal = tmp_path / "labels.parquet.journal"
        until(lambda: journal.exists() and journal.read_text().count("N#N"))
        until(lambda: len(children(process.pid)) == 1)
        (worker,) = children(process.pid)
        assert os.getpriority(os.PRIO_PROCESS, worker) == 19
        os.kill(worker, signal.SIGINT)  # Ctrl-C is its parent's to hear
        time.sleep(2)
        assert command(worker)
        assert process.poll() is None
        process.kill()
        until(lambda: not command(worker))
        assert {path.name for path in tmp_path.iterdir()} == {"lib.smi", journal.name}
        return journal

    def test_killed_stopped_and_broken_it_loses_nothing(self, killed, words, probe, tmp_path):
        with killed.open("ab") as journal:
            journal.write(b'{"conformer_id": "cut sh')
        for stop in (
            lambda run: os.killpg(run.pid, signal.SIGINT),
            lambda run: run.terminate(),
            lambda run: os.killpg(run.pid, signal.SIGTERM),
        ):
            process = probe(*words)
            until(lambda: children(process.pid))  # noqa: B023 (called within the loop)
            (worker,) = children(process.pid)
            stop(process)
            output, printed = process.communicate(timeout=600)
            estimate, line = printed.splitlines()
            assert estimate.startswith("label: 1 conformers to compute, 1 done before; about ")
            assert line.startswith("probe: error: ")
            assert "stopped; what is finished is kept" in line
            assert (process.returncode, output) == (2, "")
            assert not command(worker)
            assert not (tmp_path / "labels.parquet").exists()
        process = probe(*words)
        for _ in range(2):
            until(lambda: children(process.pid))
            (worker,) = children(process.pid)
            os.kill(worker, signal.SIGKILL)
            until(lambda: not command(worker))  # noqa: B023 (called within the loop)
        output, printed = process.communicate(timeout=600)
        assert "label: lib.smi:2: tried twice, the second time alone: its worker" in printed
        assert output == "labels.parquet: 1 labelled, 0 not converged, 1 left\n"
        assert process.returncode == 0
        (row,) = rows(tmp_path / "labels.parquet")
        again = scf.reference_energy(
            pl.Series(row["numbers"]).to_numpy(),
            pl.Series(row["positions"]).to_numpy().reshape(-1, 3),
            row["charge"],
        )
        assert row["energy_ev"] == pytest.approx(again.energy_ev, rel=0, abs=1e-6)
        assert not killed.exists()
