"""What is written is there whole or not at all, whatever becomes of who writes it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from probe import tables

KILLED = """
import os, signal, sys
from pathlib import Path
from probe import tables
with tables.replacing(Path(sys.argv[1])) as handle:
    handle.write(b"half")
    handle.flush()
    os.kill(os.getpid(), signal.Signals[sys.argv[2]])
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a [b].parquet"


def write(path, content=b"whole"):
    tables.atomically(path, lambda handle: handle.write(content))


def test_an_error_leaves_what_was_there(path):
    def fails(handle):
        handle.write(b"half")
        raise KeyError

    write(path)
    with pytest.raises(KeyError):
        tables.atomically(path, fails)
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


class TestWhatAKilledProcessLeft:
    @pytest.fixture
    def left(self, path):
        subprocess.run([sys.executable, "-c", KILLED, path, "SIGKILL"], check=False)
        (left,) = path.parent.iterdir()
        assert left.read_bytes() == b"half"
        return left

    def test_goes_when_the_same_file_is_written_again(self, path, left):
        long_ago = time.time() - 60
        os.utime(left, (long_ago, long_ago))
        write(path)
        assert list(path.parent.iterdir()) == [path]

    def test_stays_when_another_is(self, path, left):
        write(path.with_name("b.parquet"))
        assert left.exists()

    def test_stays_while_it_may_be_one_just_made(self, path, left):
        now = time.time() + 5
        os.utime(left, (now, now))
        write(path)
        assert left.exists()


def test_what_another_process_is_writing_stays(path):
    other = subprocess.Popen([sys.executable, "-c", KILLED, path, "SIGSTOP"])
    while not list(path.parent.iterdir()) or not next(path.parent.iterdir()).stat().st_size:
        assert other.poll() is None
        time.sleep(0.05)
    (theirs,) = path.parent.iterdir()
    long_ago = time.time() - 60
    os.utime(theirs, (long_ago, long_ago))
    write(path, b"mine")
    assert theirs.read_bytes() == b"half"
    other.send_signal(signal.SIGCONT)
    assert other.wait() == 0
    assert path.read_bytes() == b"half"
    assert list(path.parent.iterdir()) == [path]
