"""Both locks, both conda environments and the two lists of direct dependencies agree."""

import re
import shutil
import subprocess
from importlib.metadata import distributions

import pytest
import yaml
from repository import ROOT

VARIANTS = ("cpu", "cuda")
CUDA_ONLY = re.compile(r"nvidia-|cuda-|triton$")


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def lines(path):
    text = (ROOT / path).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pins(requirements):
    matched = [re.fullmatch(r"([A-Za-z0-9._-]+)==([\w.!+]+)", line) for line in requirements]
    assert all(matched), f"not a name==version: {requirements[matched.index(None)]}"
    return {canonical(match[1]): match[2] for match in matched}


def direct(path):
    return {canonical(re.split(r"[=<>!~\[; ]", line)[0]): line for line in lines(path)}


def lock(variant):
    return pins(lines(f"requirements-{variant}.lock"))


def environment(variant):
    return yaml.safe_load((ROOT / f"envs/{variant}.yaml").read_text())


def pip_part(variant):
    return pins(environment(variant)["dependencies"][-1]["pip"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("listed", ["requirements.in", "requirements-dev.in"])
def test_lock_pins_every_direct_dependency(variant, listed):
    locked = lock(variant)
    wanted = direct(listed)
    assert wanted.keys() <= locked.keys()
    exact = pins(line for line in wanted.values() if "==" in line)
    assert exact.items() <= locked.items()


@pytest.mark.parametrize("variant", VARIANTS)
def test_lock_names_no_place_to_download_from(variant):
    assert all(
        "://" not in line and "--" not in line for line in lines(f"requirements-{variant}.lock")
    )


def test_locks_differ_in_what_cuda_needs_and_in_nothing_else():
    cpu, cuda = lock("cpu"), lock("cuda")
    assert cpu.items() <= cuda.items()
    added = cuda.keys() - cpu.keys()
    assert added == {name for name in cuda if CUDA_ONLY.match(name)}
    assert {"nvidia-cublas", "triton"} <= added


@pytest.mark.parametrize("variant", VARIANTS)
def test_conda_environment_holds_the_lock_less_the_developers_tools(variant):
    locked, held = lock(variant), pip_part(variant)
    assert held.items() <= locked.items()
    assert direct("requirements.in").keys() <= held.keys()
    assert "pytest" not in held


def test_conda_environments_are_of_the_projects_python():
    for variant in VARIANTS:
        assert environment(variant)["dependencies"][:2] == ["python=3.11", "pip"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_conda_environment_installs_the_project_after_its_creation(variant, tmp_path):
    script = ROOT / f"envs/{variant}.post-deploy.sh"
    elsewhere = subprocess.run(
        ["sh", script], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert elsewhere.returncode == 1
    assert elsewhere.stderr.count("\n") == 1
    assert "start snakemake in the root" in elsewhere.stderr


def test_what_is_installed_is_what_is_locked():
    """A build label, as in 2.13.0+cpu, says how a version was built, not which it is."""
    installed = {canonical(d.name): d.version.partition("+")[0] for d in distributions()}
    locked = lock("cuda")
    shared = installed.keys() & locked.keys()
    assert {name: installed[name] for name in shared} == {name: locked[name] for name in shared}


def make(root, *arguments, **variables):
    return subprocess.run(
        ["make", *arguments], check=False, cwd=root, env=variables, capture_output=True, text=True
    )


@pytest.fixture
def checkout(tmp_path):
    """A copy of what `make` needs, in a folder with a space in its name, with stand-in programs
    in .venv that write down how they were called."""
    root = tmp_path / "a checkout"
    (root / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    (root / "tools/setup").write_text("#!/bin/sh\n")
    (root / ".venv/bin").mkdir(parents=True)
    recorder = root / ".venv/bin/snakemake"
    recorder.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    for program in (root / "tools/setup", recorder):
        program.chmod(0o755)
    return root


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("my library.smi", "'my library.smi'"),
        ("it's.smi", "'it''s.smi'"),
        ("$(touch x);`y`.smi", "'$(touch x);`y`.smi'"),
        ("7", "'7'"),
    ],
)
def test_make_screen_hands_any_path_on_as_it_is(checkout, path, value):
    call = make(checkout, "screen", f"LIBRARY={path}", PATH="/usr/bin:/bin")
    assert call.stdout.splitlines() == ["--cores", "all", "--config", f"library={value}"]
    assert yaml.safe_load(value) == path


def test_make_screen_alone_screens_the_table_on_all_cores(checkout):
    call = make(checkout, "screen", PATH="/usr/bin:/bin")
    assert call.stdout.splitlines() == ["--cores", "all"]


def test_make_alone_lists_the_commands(checkout):
    named = [line.split()[1] for line in make(checkout, PATH="/usr/bin:/bin").stdout.splitlines()]
    known = {"setup", "screen", "test", "lint", "format", "lock", "clean", "help"}
    assert known | {"bench", "bench-kills", "bench-large", "docs"} == set(named)


def test_setup_names_the_python_it_wants(tmp_path):
    """Only programs without Python 3.11 are on this PATH."""
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "tools/setup", tmp_path / "tools")
    for name in ("requirements-cpu.lock", "requirements.in", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "cat", "cksum", "grep", "rm"):
        (programs / name).symlink_to(shutil.which(name))
    call = subprocess.run(
        [tmp_path / "tools/setup", "cpu"],
        check=False,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
    )
    assert call.returncode == 1
    assert call.stderr.startswith("setup: Python 3.11 not found as python3.11 or python3;")
    assert call.stderr.count("\n") == 1
    assert not (tmp_path / ".venv").exists()
