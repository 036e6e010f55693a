"""What runs a rescreening by the clock: the script, its lock, the units of cron and systemd."""

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from repository import ROOT

SCHEDULE = ROOT / "schedule"
FAKE = """\
#!/bin/sh
echo "called with $*" >> calls
echo "probe: left out: incoming/torn.smi: it is torn"
echo "demo: changed since last week: 3 new (library)" > logs/rescreen.log
exit "$(cat code)"
"""
"""In the place of snakemake: what is tried here is what is around it."""


@pytest.fixture
def project(tmp_path):
    """A folder with the schedule of this project and a snakemake that ends at once."""
    folder = tmp_path / "my project"
    shutil.copytree(SCHEDULE, folder / "schedule")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/snakemake").write_text(FAKE)
    (folder / ".venv/bin/snakemake").chmod(0o755)
    (folder / "code").write_text("0")
    return folder


def filled(project, name):
    return (project / "schedule" / name).read_text().replace("PROJECT", str(project))


def run(project, *arguments):
    return subprocess.run(
        [project / "schedule/rescreen", *arguments],
        check=False,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": str(project)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def is_dead(pid):
    """Whether the process has ended; in a container without an init nobody may collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


class TestTheScript:
    def test_it_prints_what_changed_and_what_was_left_out(self, project):
        done = run(project)
        assert done.returncode == 0
        assert done.stdout.splitlines() == [
            "probe: left out: incoming/torn.smi: it is torn",
            "demo: changed since last week: 3 new (library)",
        ]

    def test_its_options_go_to_snakemake(self, project):
        run(project)
        run(project, "--profile", "slurm")
        assert (project / "calls").read_text().splitlines() == [
            "called with rescreen --cores all",
            "called with rescreen --profile slurm",
        ]

    def test_a_failure_is_shown_and_passed_on(self, project):
        (project / "code").write_text("3")
        done = run(project)
        assert done.returncode == 3
        assert "rescreen: failed with exit code 3" in done.stdout
        assert "3 new" not in done.stdout

    def test_while_one_runs_another_does_nothing(self, project):
        (project / "logs").mkdir()
        with (project / "logs/rescreening.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = run(project)
        assert done.returncode == 75
        assert "another one is running" in done.stdout
        assert not (project / "calls").exists()
        assert run(project).returncode == 0

    def test_the_lock_lasts_as_long_as_snakemake_and_no_longer(self, project):
        slow = "#!/bin/sh\necho $$ > started.tmp\nmv started.tmp started\nexec sleep 60\n"
        (project / ".venv/bin/snakemake").write_text(slow)
        first = subprocess.Popen([project / "schedule/rescreen"], env={"PATH": "/usr/bin:/bin"})
        while not (project / "started").exists():
            time.sleep(0.05)
        first.kill()
        first.wait()
        assert run(project).returncode == 75
        child = int((project / "started").read_text())
        os.kill(child, 9)
        while not is_dead(child):
            time.sleep(0.05)
        (project / ".venv/bin/snakemake").write_text(FAKE)
        assert run(project).returncode == 0


def test_crons_line_runs_as_cron_runs_it(project):
    """Cron gives a line to /bin/sh with the variables of the table and hardly any other."""
    *settings, line = [
        text for text in filled(project, "crontab").splitlines() if text and text[0] != "#"
    ]
    variables = dict(text.split("=", 1) for text in settings)
    command = line.split(maxsplit=5)[5]
    assert "%" not in command  # cron would end the line there
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        cwd=project,
        env={"HOME": str(project), "SHELL": "/bin/sh", "LOGNAME": "x", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "3 new" in done.stdout


def test_cron_takes_the_table(project):
    if shutil.which("crontab") is None:
        pytest.skip("no crontab on this machine")
    (project / "table").write_text(filled(project, "crontab"))
    checked = subprocess.run(
        ["crontab", "-n", project / "table"], check=False, capture_output=True, text=True
    )
    if "invalid option" in checked.stderr:
        pytest.skip("this crontab cannot check a table without installing it")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("name", ["crontab", "scrontab"])
def test_tables_run_the_script_every_monday(project, name):
    lines = filled(project, name).splitlines()
    (line,) = [text for text in lines if text[:1].isdigit()]
    assert line.split()[:5] == ["0", "6", "*", "*", "1"]
    assert f'"{project}/schedule/rescreen" --' in line


def test_systemd_accepts_the_units(project):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    units = project / "units"
    units.mkdir()
    for name in ("probe-rescreen.service", "probe-rescreen.timer"):
        (units / name).write_text(filled(project, name))
    checked = subprocess.run(
        ["systemd-analyze", "verify", *sorted(units.iterdir())],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = [line for line in checked.stderr.splitlines() if "probe-rescreen" in line]
    assert said == [], checked.stderr
    assert checked.returncode == 0, checked.stderr


def test_the_timer_is_due_on_mondays():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    text = (SCHEDULE / "probe-rescreen.timer").read_text()
    (when,) = [line[11:] for line in text.splitlines() if line.startswith("OnCalendar=")]
    answer = subprocess.run(
        ["systemd-analyze", "calendar", when], check=True, capture_output=True, text=True
    )
    assert "Normalized form: Mon *-*-* 06:00:00" in answer.stdout
