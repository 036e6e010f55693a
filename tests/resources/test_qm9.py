"""The scripts that draw sets from QM9 and train a small MACE on one, without QM9."""

import importlib
import io
import itertools
import sys
import zipfile
from hashlib import sha256

import numpy as np
import polars as pl
import pytest
import tiny_mace
import torch
import yaml
from rdkit import Chem
from repository import ROOT

from probe import schemas, tables
from probe.backbones import Geometry, mace
from probe.classifier import labels
from probe.errors import ProbeError

SCRIPTS = ROOT / "resources" / "qm9"
CHAINS = ["".join(atoms) for atoms in itertools.product("CNO", repeat=6) if atoms <= atoms[::-1]]
"""A molecule each."""


@pytest.fixture(scope="module")
def script():
    """Imports a script as its neighbours do."""
    before = set(sys.modules)
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) in map(str, SCRIPTS.glob("*.py")):
            del sys.modules[name]


@pytest.fixture(scope="module")
def build(script):
    return script("build")


@pytest.fixture(scope="module")
def potential(script):
    return script("potential")


def record(index, smiles, **changes):
    """A row of the package; the geometry is a straight line, the energies are invented."""
    atoms = [atom.GetSymbol() for atom in Chem.AddHs(Chem.MolFromSmiles(smiles)).GetAtoms()]
    places = ",".join(f"[{number}.,0.,2.0E-5]" for number in range(len(atoms)))
    row = {
        "XYZ_file": f"dsgdb9nsd_{index:06}.xyz",
        "Index": index,
        "SMILES": smiles,
        "Elements": str(atoms).replace(" ", ""),
        "XYZ_Ang": f"[{places}]",
        "ZPVE_au": 0.25,
        "InternalEnergy_0K_au": -100.0 - index,
    }
    return row | changes


def wheel(build, records):
    """The content of a wheel with these rows."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for part, name in enumerate(build.PARTS):
            archive.writestr(name, pl.DataFrame(records[part :: len(build.PARTS)]).write_csv())
    return content.getvalue()


@pytest.fixture(scope="module")
def records():
    return [record(index, smiles) for index, smiles in enumerate(CHAINS, start=1)]


@pytest.fixture(scope="module")
def drawn(build, records):
    return build.sets(wheel(build, records))


class TestBuild:
    def test_every_record_is_in_a_set_or_counted(self, drawn, records):
        rows, rest = drawn
        assert sum(map(len, rows.values())) + sum(rest.values()) == len(records)
        assert len(rows["labelled"]) > len(rows["pool"]) > 0

    def test_no_molecule_is_in_two_sets_and_no_reserved_one_in_any(self, drawn):
        molecules = [{row["smiles"] for row in rows} for rows in drawn[0].values()]
        assert len(set().union(*molecules)) == sum(map(len, molecules))
        assert not any(labels.reserved(smiles) for smiles in set().union(*molecules))

    def test_neither_order_nor_company_of_a_molecule_decides_where_it_goes(
        self, build, records, drawn
    ):
        some, _ = build.sets(wheel(build, records[::-2]))
        indices = {row["Index"] for row in records[::-2]}
        for name, rows in drawn[0].items():
            there = [row for row in rows if int(row["source"].split()[1]) in indices]
            assert [row["source"] for row in some[name]] == [row["source"] for row in there]

    def test_the_energy_is_that_of_the_electrons_in_ev(self, build, drawn):
        row = drawn[0]["labelled"][0]
        index = int(row["source"].removeprefix("QM9 "))
        assert row["energy_ev"] == pytest.approx((-100.25 - index) * build.EV_PER_HARTREE)

    def test_atoms_and_coordinates_are_read_as_the_package_writes_them(self, build):
        row = build.labelled(record(7, "CO"), "CO")
        assert row["numbers"] == [6, 8, 1, 1, 1, 1]
        assert row["positions"].reshape(-1, 3)[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
        assert set(row["positions"].reshape(-1, 3)[:, 2]) == {0.0}

    @pytest.mark.parametrize(
        "change", [{"Elements": "['C','O']"}, {"XYZ_Ang": "[[0.,0.,0.]]"}, {"SMILES": "C[O-]"}]
    )
    def test_a_record_that_is_not_its_molecule_is_left_out(self, build, change):
        wrong = record(7, "CO") | change
        assert build.labelled(wrong, wrong["SMILES"]) is None

    def test_the_files_are_labels_and_come_out_the_same_again(
        self, build, records, tmp_path, monkeypatch
    ):
        content = wheel(build, records)
        monkeypatch.setattr(build, "SHA256", build.hashlib.sha256(content).hexdigest())
        (tmp_path / "some.whl").write_bytes(content)
        for folder in ("once", "again"):
            build.main(tmp_path / "some.whl", tmp_path / folder)
        for name in build.SHARES:
            one, other = (tmp_path / folder / f"{name}.parquet" for folder in ("once", "again"))
            assert one.read_bytes() == other.read_bytes()
        assert tables.provenance(one)["method"] == "B3LYP/6-31G(2df,p)"
        assert len(labels.read(tmp_path / "once/labelled.parquet")) > 0

    def test_another_wheel_is_refused(self, build, tmp_path):
        (tmp_path / "other.whl").write_bytes(b"")
        with pytest.raises(ProbeError, match="not qm9pack"):
            build.main(tmp_path / "other.whl", tmp_path / "sets")
        assert not (tmp_path / "sets").exists()


@pytest.fixture(scope="module")
def examples(potential):
    """Eight bent waters in methane's company; the energies are invented."""
    random = np.random.default_rng(0)
    bond = random.uniform(0.9, 1.1, 8)
    geometries = [
        Geometry(np.array([8, 1, 1], np.uint8), np.array([[0, 0, 0], [b, 0, 0], [0, b, 0.0]]))
        for b in bond
    ]
    geometries.append(Geometry(np.array([6, 1], np.uint8), np.array([[0, 0, 0], [0, 0, 1.1]])))
    energy = np.append(-2080.0 + 5 * (bond - 1) ** 2, -1045.0)
    return potential.Examples(geometries, energy)


@pytest.fixture(scope="module")
def recipe(potential):
    return potential.Recipe(channels=2, max_ell=1, correlation=2, epochs=4, batch_size=4)


@pytest.fixture(scope="module")
def trained(potential, examples, recipe, tmp_path_factory):
    return potential.train(examples, recipe, 1, tmp_path_factory.mktemp("state") / "state.pt")


def parameters(model):
    return torch.cat([values.detach().flatten() for values in model.parameters()])


class TestTraining:
    def test_the_loss_falls(self, potential, examples, recipe):
        training = potential.Training(examples, recipe, seed=1)
        losses = [training.epoch() for _ in range(recipe.epochs)]
        assert losses[-1] < losses[0]

    def test_a_run_that_was_stopped_ends_as_one_that_was_not(
        self, potential, examples, recipe, trained, tmp_path
    ):
        stopped = potential.Training(examples, recipe, seed=1)
        stopped.epoch()
        stopped.save(tmp_path / "state.pt")
        stopped.epoch()  # what was not saved is lost
        resumed = potential.train(examples, recipe, 1, tmp_path / "state.pt", examples)
        assert torch.equal(parameters(resumed), parameters(trained))

    def test_another_seed_is_another_network(self, potential, examples, recipe, trained, tmp_path):
        other = potential.train(examples, recipe, 2, tmp_path / "state.pt")
        assert not torch.equal(parameters(other), parameters(trained))

    def test_the_state_of_another_run_is_refused(self, potential, examples, recipe, tmp_path):
        training = potential.Training(examples, recipe, seed=1)
        training.save(tmp_path / "state.pt")
        with pytest.raises(ProbeError, match="of another recipe, seed or set"):
            potential.train(examples, recipe, 2, tmp_path / "state.pt")

    def test_the_adapter_reads_the_network_and_agrees_on_energies(
        self, potential, examples, recipe, trained, mace_entry
    ):
        network = mace.read(tiny_mace.saved(trained), mace_entry, "here")
        backbone = mace.MaceBackbone("small", "none", network, torch.device("cpu"))
        found = backbone.evaluate(examples.geometries)
        assert found.atom_features.shape == (26, recipe.channels)
        expected = potential.energies(trained, examples.geometries)
        assert found.energy == pytest.approx(expected, abs=1e-4)
        assert np.abs(found.energy - examples.energy_ev).max() < 1


@pytest.fixture(scope="module")
def experiment(script):
    return script("active_learning")


@pytest.fixture(scope="module")
def protocol(experiment, potential):
    small = potential.Recipe(channels=2, max_ell=1, correlation=1, epochs=1)
    probe = experiment.training.Recipe(members=1, max_epochs=1)
    sizes = {"start": 4, "batch": 3, "cycles": 1, "members": 2, "calibration": 40, "diversity": 2}
    return experiment.Protocol(seeds=(5,), network=small, probe=probe, **sizes)


@pytest.fixture(scope="module")
def sets(build, records, tmp_path_factory):
    """Files of the straight molecules; the small sets are one."""
    folder = tmp_path_factory.mktemp("sets")
    rows, _ = build.sets(wheel(build, records))
    rows["held_out"] += rows["train"]
    for name, some in rows.items():
        tables.write(folder / f"{name}.parquet", some, schemas.LABELS, {})
    return folder


@pytest.fixture(scope="module")
def finished(experiment, protocol, sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("active-learning")
    experiment.main(sets, folder, protocol=protocol)
    return folder


@pytest.fixture(scope="module")
def start(experiment, protocol, sets, finished):
    """Where all strategies began."""
    data = experiment.Data.read(sets, protocol.calibration)
    rows = np.sort(np.random.default_rng(5).permutation(data.n_pool)[:4])
    return experiment.Step(data, protocol, 5, rows, finished / "seed-5" / "start")


class TestActiveLearning:
    def test_every_strategy_has_as_many_labels_after_every_cycle(self, finished, experiment):
        records = pl.DataFrame(tables.read_json(finished / "result.json")["records"])
        for strategy in experiment.STRATEGIES:
            assert records.filter(strategy=strategy)["n_labels"].to_list() == [4, 7]
        assert records.filter(n_labels=4)["rmse_mev"].n_unique() == 1

    def test_nothing_is_labelled_twice(self, finished, start):
        batches = tables.read_json(finished / "result.json")["batches"]
        for strategy in ("random", "spread", "probe", "probe-diverse"):
            rows = batches[f"seed-5/start/{strategy}"]["rows"]
            assert len(set(rows)) == 3
            assert not set(start.rows) & set(rows)

    def test_the_highest_scores_are_labelled_next(self, start):
        wanted = np.setdiff1d(start.data.pool, start.rows)[[1, 3, 4]]
        scores = np.ones(start.data.n_pool)
        scores[wanted] = 2.0
        scores[start.rows] = 3.0
        assert sorted(start._chosen(scores, None)["rows"]) == wanted.tolist()

    def test_what_is_there_is_not_made_again(
        self, experiment, protocol, sets, finished, monkeypatch
    ):
        before = (finished / "result.json").read_bytes()
        monkeypatch.setattr(experiment, "train", None)
        experiment.main(sets, finished, protocol=protocol)
        assert (finished / "result.json").read_bytes() == before

    def test_the_table_has_a_line_for_every_strategy_and_size(self, finished):
        lines = (finished / "result.md").read_text().splitlines()
        assert len(lines) == 2 + 1 + 4 + 1
        assert (finished / "active-learning.svg").stat().st_size > 0

    def test_another_protocol_needs_another_folder(self, experiment, sets, finished):
        with pytest.raises(ProbeError, match="of another protocol"):
            experiment.main(sets, finished)


class TestMembers:
    def test_errors_are_stated_in_mev(self, script):
        figures = script("members").errors(np.array([0.003, -0.004]))
        assert figures["mae_mev"] == 3.5
        assert figures["rmse_mev"] == pytest.approx(3.54)

    def test_members_are_trained_once_judged_and_listed_by_their_digest(
        self, script, recipe, sets, tmp_path, monkeypatch, capsys
    ):
        members = script("members")
        monkeypatch.setattr(members, "BACKBONES", tmp_path / "backbones")
        monkeypatch.setattr(members, "MEMBERS", (0, 1))
        monkeypatch.setattr(members, "Recipe", lambda: recipe)
        members.main(sets, tmp_path / "states", "1")
        assert capsys.readouterr().out == ""
        first = tmp_path / "backbones/mace-qm9-small-1.model"
        before = first.stat().st_mtime_ns
        members.main(sets, tmp_path / "states")
        assert first.stat().st_mtime_ns == before
        listed = yaml.safe_load(capsys.readouterr().out)
        assert list(listed) == ["mace-qm9-small", "mace-qm9-small-1"]
        assert listed["mace-qm9-small-1"]["sha256"] == sha256(first.read_bytes()).hexdigest()
        record = tables.read_json(tmp_path / "backbones/mace-qm9-small.json")
        assert record["n_tested"] == len(labels.read(sets / "labelled.parquet"))
        assert record["members"]["mace-qm9-small"]["mae_mev"] > 0
