"""`probe screen`: the whole chain from any folder, on a file of any name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from probe import cli, schemas, screening, tables
from probe.errors import ProbeError
from probe.library import plan
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
        words = command(call(profile="slurm"), Path("config-1.json"))
        assert words[words.index("--profile") + 1] == str(screening.ROOT / "slurm")
        assert "--cores" not in words
        words = command(call(cores="3", more=("--dry-run",)), Path("config-1.json"))
        assert words[-3:] == ["--cores", "3", "--dry-run"]

    def test_without_a_checkout_there_is_a_line(self, folder, monkeypatch):
        monkeypatch.setattr(screening, "ROOT", folder)
        with pytest.raises(ProbeError, match="Snakefile: no such file; install probe from a check"):
            command(call(), Path("config-1.json"))

    def test_a_failure_of_snakemake_is_one(self, monkeypatch):
        monkeypatch.setattr(screening, "command", lambda *_: [sys.executable, "-c", "exit(1)"])
        result = CliRunner().invoke(cli.main, ["screen", ODD])
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "the same command goes on with what is left" in line


RESULTS = Path("results/my-a-mols-x")
TRIAGE = "import json, pathlib, sys; place = pathlib.Path(sys.argv[1]).parent; " + (
    "chosen = json.loads(pathlib.Path(sys.argv[1]).read_text()); "
    "place.joinpath('summary.json').write_text(json.dumps({'cutoffs': chosen['triage']}))"
)


@pytest.fixture
def snakemake(monkeypatch):
    """Sets what runs in the place of Snakemake: a script whose argument is the configuration."""

    def replace(script):
        words = [sys.executable, "-c", script]
        monkeypatch.setattr(screening, "command", lambda _, path: [*words, str(path)])

    return replace


def at_cutoff(cutoff, *more):
    return call(triage={"accept_confidence": cutoff}, more=more)


def kept():
    """The cutoff of the configuration beside the results, and how many others there are."""
    found = tables.read_json(RESULTS / "config.json")["triage"]["accept_confidence"]
    return found, len(list(RESULTS.glob(screening.BEGUN)))


@pytest.mark.usefixtures("folder")
class TestTheConfigurationBesideTheResults:
    @pytest.fixture(autouse=True)
    def screened(self, folder, snakemake):
        assert folder.exists()
        snakemake(TRIAGE)
        assert screening.run(at_cutoff(0.7))

    def test_it_is_of_the_finished_screening_alone(self):
        assert kept() == (0.7, 0)

    @pytest.mark.parametrize("words", [("--dry-run",), ("-np",), ("--unlock",), ("--help",)])
    def test_a_call_that_only_looks_leaves_nothing_and_shows_nothing(self, words):
        before = sorted(RESULTS.iterdir())
        found = CliRunner().invoke(cli.main, ["screen", ODD, "--cutoff", "0.7", "--", *words])
        assert (found.exit_code, found.stdout) == (0, "")
        assert not screening.run(at_cutoff(0.95, *words))
        assert kept() == (0.7, 0)
        assert sorted(RESULTS.iterdir()) == before

    def test_a_target_that_leaves_the_lists_as_they_were_does_not_show_them(self, snakemake, capfd):
        snakemake("pass")
        assert not screening.run(at_cutoff(0.95, "train"))
        assert "summary.json is of other settings of triage" in capfd.readouterr().err
        assert kept()[0] == 0.7

    def test_a_refused_call_changes_nothing_of_one_that_runs(self, snakemake):
        running = configuration(at_cutoff(0.8))
        with screening._written(call(), running, looks=False) as used:
            snakemake("exit(1)")  # as where the folder is locked
            with pytest.raises(ProbeError, match="did not finish"):
                screening.run(at_cutoff(0.99))
            assert tables.read_json(used) == running
            assert kept()[0] == 0.7
            snakemake(TRIAGE)
            assert screening.run(at_cutoff(0.6))
            assert tables.read_json(used) == running  # whose jobs may not have begun

    def test_what_did_not_finish_is_known_until_something_does(self, snakemake):
        snakemake("exit(1)")
        for _ in range(2):
            with pytest.raises(ProbeError, match="did not finish"):
                screening.run(at_cutoff(0.9))
        assert kept() == (0.7, 1)
        assert len(screening.configurations(Path("results"))) == 2
        snakemake(TRIAGE)
        assert screening.run(at_cutoff(0.9))
        assert kept() == (0.9, 0)


class TestAnotherLibraryOfTheSameName:
    @pytest.fixture(autouse=True)
    def screened(self, folder):
        """A folder d1 whose library has been screened, and a folder d2 with one of its name."""
        for name in ("d1", "d2"):
            (folder / name).mkdir()
            (folder / name / "mols.smi").write_text("O water\n")
        plan.current("mols", folder / "d1/mols.smi", 10, folder / "results/mols/plan.json")
        (folder / "results/mols/accept.parquet").touch()

    def test_is_refused(self, snakemake):
        snakemake("exit(1)")
        found = CliRunner().invoke(cli.main, ["screen", "d2/mols.smi"])
        (line,) = found.stderr.splitlines()
        assert found.exit_code == 2
        assert "d2/mols.smi: results/mols is of another library, " in line
        assert "d1/mols.smi; rename one of the two, choose another folder with --directory" in line
        assert not list(Path("results/mols").glob("config*"))

    @pytest.mark.parametrize("same", ["d1/mols.smi", "d2/../d1/mols.smi", "link/mols.smi"])
    def test_is_not_the_same_by_another_path(self, snakemake, same):
        Path("link").symlink_to("d1")
        snakemake(TRIAGE)
        assert screening.run(call(library=Path(same)))

    def test_is_taken_for_the_same_where_the_first_is_gone(self, snakemake, capfd):
        Path("d1").rename("moved")
        snakemake(TRIAGE)
        assert screening.run(call(library=Path("moved/mols.smi")))
        assert "d1/mols.smi, which is there no more" in capfd.readouterr().err

    def test_does_no_harm_where_nothing_was_screened(self, snakemake):
        """A dry run of the first left its plan."""
        Path("results/mols/accept.parquet").unlink()
        snakemake(TRIAGE)
        assert screening.run(call(library=Path("d2/mols.smi")))


def test_a_folder_that_is_called_dot_has_its_own_name(folder):
    assert call(library=Path()).results == Path("results/a-folder-s")
    (folder / "d").mkdir()
    assert call(library=Path("d/..")).results == Path("results/a-folder-s")
    assert configuration(call(library=Path()))["library"] == str(folder)


class TestLabels:
    def test_the_shipped_ones_are_found_from_anywhere(self, folder):
        name = "resources/calibration/b973c.parquet"
        assert configuration(call())["labels"] == str(screening.ROOT / name)
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
        assert configuration(call())["labels"] == name

    def test_ones_own_stay_as_they_are(self, folder):
        (folder / "mine.yaml").write_text("labels: mine.parquet\n")
        assert configuration(call(configured=Path("mine.yaml")))["labels"] == "mine.parquet"

    @pytest.mark.parametrize("target", ["recalibrate", "acquire", "train", "compare", "model_card"])
    def test_every_target_that_reads_them_can_be_asked_for(self, folder, target):
        words = ["-m", "probe.cli", "screen", ODD, "--", target, "--dry-run", "--quiet"]
        found = subprocess.run(
            [sys.executable, *words], cwd=folder, check=False, capture_output=True, text=True
        )
        assert found.returncode == 0, found.stderr
        assert found.stdout == ""


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
    assert tables.read_json(made / "config.json")["triage"] == summary["cutoffs"]
    assert not (folder / "results").exists()
    turn = [*words, "--", "recalibrate", "--config", "recompute={budget_core_hours: 0}"]
    again = CliRunner().invoke(cli.main, turn)
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout) == summary
    record = folder / "out put/models/recalibrated/aimnet2-b973c/promotion.json"
    assert tables.read_json(record)["verdict"] == "too few new labels"
