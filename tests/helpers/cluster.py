"""A SLURM to test with: whether one answers, a screening sent to it, what befalls its jobs."""

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import repository

PARTITIONS = """\
partitions:
  cpu:
    max_threads: 64
  gpu:
    max_threads: 64
    max_gpu: 2
"""
SUBMITTED = re.compile(r"with SLURM jobid (\d+) \(log: .*/rule_(\w+)/([\w-]+?)(?:_\d+)?/\d+\.log\)")
# The plugin waits 40 s for every job's first state; this SLURM knows it at once.
SOON = ("--slurm-init-seconds-before-status-checks", "5")


class Job(NamedTuple):
    """A submission that Snakemake told of."""

    id: str
    rule: str
    library: str


def command(*words):
    """What a command of SLURM answers."""
    answer = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    return answer.stdout


def answers():
    if shutil.which("sinfo") is None:
        return False
    try:
        partitions = command("sinfo", "--noheader", "--format=%R").split()
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return False
    return {"cpu", "gpu"} <= set(partitions)


def require():
    """A SLURM with partitions cpu and gpu, which PROBE_REQUIRE_SLURM=1 demands."""
    if not answers():
        lacking("no SLURM with partitions cpu and gpu answers; start one: tests/slurm/start.sh DIR")


def require_own():
    """The SLURM of tests/slurm/start.sh: no other one's node is to be set down."""
    require()
    if not re.search(r"^ClusterName\s*= probe$", command("scontrol", "show", "config"), re.M):
        lacking("the SLURM that answers is not that of tests/slurm/start.sh")


def lacking(reason):
    if os.environ.get("PROBE_REQUIRE_SLURM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def partitions(root):
    """The variable that names the partitions of this SLURM, for a snakemake in ``root``."""
    file = root / "partitions.yaml"
    file.write_text(PARTITIONS)
    return {"SNAKEMAKE_SLURM_PARTITIONS": str(file)}


def sacct(*options, fields):
    """The rows of sacct, as dicts of ``fields``."""
    words = ("sacct", "--noheader", "--parsable2", *options, "--format", ",".join(fields))
    return [dict(zip(fields, row.split("|"), strict=True)) for row in command(*words).splitlines()]


def runs(job):
    """What sacct says of each run of a job; SLURM may have started it again."""
    fields = ("JobIDRaw", "State", "ReqMem", "TimelimitRaw", "Start", "End")
    return sacct("--allocations", "--duplicates", "--jobs", job.id, fields=fields)


def state(job):
    """The state of a job's last run, without who cancelled it; none before sacct knows it."""
    return runs(job)[-1]["State"].partition(" ")[0] if runs(job) else None


def steps(job):
    """The states of a job and of its steps."""
    return {row["State"].partition(" ")[0] for row in sacct("--jobs", job.id, fields=("State",))}


def killed_for_memory():
    """The state of a step that took more memory than its job asked for, by who ends it."""
    kernel = "task/cgroup" in command("scontrol", "show", "config")
    return "OUT_OF_MEMORY" if kernel else "CANCELLED"


def eventually(happened, limit=300):
    """What ``happened`` returns as soon as it is true; fails after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not (answer := happened()):
        assert time.monotonic() < deadline, f"waited {limit} s for {happened}"
        time.sleep(0.2)
    return answer


def ended(job, *states):
    """Wait until sacct has a job in one of these states: it may learn of an end 40 s late."""
    eventually(lambda: state(job) in states)


def update(job, **values):
    words = [f"{key}={value}" for key, value in values.items()]
    command("scontrol", "update", f"JobId={job.id}", *words)


def node():
    return command("sinfo", "--noheader", "--Node", "--format=%N").split()[0]


def set_down():
    """Set the one node down; jobs on it fail."""
    command("scontrol", "update", f"NodeName={node()}", "State=DOWN", "Reason=test")


def set_up():
    """Have the node back, if SLURM has not taken it back by itself."""
    if "down" in command("sinfo", "--noheader", "--Node", "--format=%T"):
        words = ("scontrol", "update", f"NodeName={node()}", "State=RESUME")
        subprocess.run(words, check=False, timeout=60)
    eventually(lambda: "down" not in command("sinfo", "--noheader", "--Node", "--format=%T"))


@contextmanager
def nothing_starts(partition):
    """Jobs that are submitted to a partition meanwhile start together afterwards."""
    command("scontrol", "update", f"PartitionName={partition}", "State=DOWN")
    try:
        yield
    finally:
        command("scontrol", "update", f"PartitionName={partition}", "State=UP")


class Screening:
    """`snakemake --profile slurm` in a copy of the repository, while it runs and after."""

    def __init__(self, root, name, *arguments):
        self.root = root
        self.file = root / f"{name}.log"
        shutil.rmtree(root / "logs", ignore_errors=True)  # a log shows that its job works
        words = (sys.executable, "-m", "snakemake", "--profile", "slurm", *SOON, *arguments)
        with self.file.open("w") as log:
            self.process = subprocess.Popen(
                words,
                cwd=root,
                env=repository.environment(root) | partitions(root),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self):
        return self.file.read_text()

    def jobs(self, library=None):
        """All that was submitted, in order; of one library, if it is named."""
        every = [Job(*words) for words in SUBMITTED.findall(self.log)]
        return [job for job in every if library in (None, job.library)]

    def submitted(self, count, library=None):
        """The jobs, once so many have been submitted."""
        eventually(lambda: len(self.jobs(library)) >= count or self.process.poll() is not None)
        assert len(self.jobs(library)) >= count, self.log[-5000:]
        return self.jobs(library)

    def works(self, job):
        """Wait until a job is at its rule's own work."""
        eventually((self.root / f"logs/{job.library}/{job.rule}/00000.log").exists)

    def wait(self):
        """The exit status."""
        return self.process.wait(timeout=900)

    def stop(self):
        """End it where it still runs, and its jobs, so that none outlives a failed test."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            for job in self.jobs():
                command("scancel", "--quiet", job.id)
