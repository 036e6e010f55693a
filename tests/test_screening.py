"""`probe screen`: the whole chain from any folder, on a file of any name."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from probe import cli, schemas, screening, tables
from probe.errors import ProbeError
from probe.screening import Call, command, configuration

ODD = "my [a] 'mols' \"$x\".smi"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that is not the repository, with a library of an odd name."""
    place = tmp_path / "a folder's"
    place.mkdir()
    (place / ODD).write_text("O water\n")
    monkeypatch.chdir(place)
    return place


def call(**changed):
    named = {"backbone": "aimnet2-b973c", "checkpoint": "aimnet2-b973c"}
    return Call(**{"library": Path(ODD), "where": Path(), **named, **changed})


@pytest.mark.usefixtures("folder")
class TestTheCall:
    def test_every_key_is_set_and_the_library_is_found_from_anywhere(self, folder):
        found = configuration(call(triage={"accept_confidence": 0.8}))
        assert found["library"] == str(folder / ODD)
        assert found["triage"]["accept_confidence"] == 0.8
        shipped = yaml.safe_load((screening.ROOT / "config/config.yaml").read_text())
        assert found["triage"]["recompute_confidence"] == shipped["triage"]["recompute_confidence"]
        assert Path(found["checkpoint"]).is_absolute()

    def test_a_configuration_of_ones_own(self, folder):
        (folder / "mine.yaml").write_text("shard_size: 7\ntriage:\n  between: accept\n")
        found = configuration(call(configured=Path("mine.yaml"), triage={"confidence": 0.8}))
        assert (found["shard_size"], found["triage"]["between"]) == (7, "accept")
        assert found["triage"]["confidence"] == 0.8

    def test_its_potential_counts_where_none_is_asked_for(self, folder):
        (folder / "other").mkdir()
        (folder / "other/card.json").write_text("{}")
        (folder / "mine.yaml").write_text("backbone: aimnet2-wb97m-d3\ncheckpoint: other\n")
        found = configuration(Call(Path(ODD), Path(), configured=Path("mine.yaml")))
        assert (found["backbone"], found["checkpoint"]) == (
            "aimnet2-wb97m-d3",
            str(folder / "other"),
        )
        found = configuration(call(checkpoint=None, configured=Path("mine.yaml")))
        assert found["backbone"] == Path(found["checkpoint"]).name == "aimnet2-b973c"

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"library": Path("none.smi")}, "none.smi: no such file"),
            ({"library": Path("none/*.smi")}, "none/\\*.smi: no file matches"),
            ({"library": Path("notes.pdf")}, "notes.pdf: unknown suffix .pdf"),
            ({"backbone": "aimnet2-b97c"}, "did you mean aimnet2-b973c"),
            ({"checkpoint": "aimnet-b973c"}, "did you mean aimnet2-b973c"),
            ({"triage": {"policy": "budget"}}, "needs budget_core_hours"),
        ],
    )
    def test_what_is_wrong_is_said_before_anything_starts(self, folder, changed, words):
        (folder / "notes.pdf").touch()
        with pytest.raises(ProbeError, match=words):
            configuration(call(**changed))

    def test_a_profile_of_the_checkout_is_found(self):
        words = command(call(profile="slurm"))
        assert words[words.index("--profile") + 1] == str(screening.ROOT / "slurm")
        assert "--cores" not in words
        assert command(call(cores="3", more=("--dry-run",)))[-3:] == ["--cores", "3", "--dry-run"]

    def test_without_a_checkout_there_is_a_line(self, folder, monkeypatch):
        monkeypatch.setattr(screening, "ROOT", folder)
        with pytest.raises(ProbeError, match="Snakefile: no such file; install probe from a check"):
            command(call())

    def test_a_failure_of_snakemake_is_one(self, monkeypatch):
        monkeypatch.setattr(screening, "command", lambda _: [sys.executable, "-c", "exit(1)"])
        result = CliRunner().invoke(cli.main, ["screen", ODD])
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "the same command goes on with what is left" in line


def test_from_another_folder_it_ends_in_a_report(folder, aimnet_file):
    assert aimnet_file.exists()
    (folder / ODD).write_text(
        "".join(f"{'C' * n}O alcohol-{n}\n" for n in range(1, 9)) + "C(C bad\n"
    )
    words = ["screen", ODD, "--cutoff", "0.7", "--cores", "1", "--directory", "out put", "--json"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert (summary["n_records"], summary["n_rejected"]) == (9, 1)
    assert summary["cutoffs"]["accept_confidence"] == 0.7
    made = folder / "out put" / "results" / "my-a-mols-x"
    assert (made / "report.html").stat().st_size > 10_000
    assert tables.frame(made / "accept.parquet", schemas.TRIAGED).height == summary["n_accept"]
    assert not (folder / "results").exists()
