"""Recomputing: real DFT on two and three atoms, stop and resume, and workers that die."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import deadly as deadly_engine
import disk
import pyscf.dft
import pytest
from pyscf import gto
from recomputable import (
    HYDROGEN,
    IMIDOGEN,
    NITROGEN,
    NITROGEN_LONG,
    OXYGEN,
    URANIUM,
    WATER,
    Library,
    in_this_process,
    positions,
)
from repository import ROOT

from probe import schemas, tables
from probe.classifier import labels
from probe.dft import engines, recompute, scf, workers
from probe.dft.journal import Journal
from probe.dft.methods import B97_3C
from probe.errors import ProbeError

ATOM_NAMES = {1: "H", 7: "N", 8: "O"}


def scf_hartree(molecule, charge=0, spin=0):
    """The SCF energy of B97-3c by PySCF called directly."""
    atoms = [
        (ATOM_NAMES[number], place)
        for number, place in zip(molecule[0], positions(molecule).tolist(), strict=True)
    ]
    built = gto.M(atom=atoms, charge=charge, spin=spin, basis="def2-mtzvp", verbose=0)
    mean_field = pyscf.dft.KS(built, xc="GGA_XC_B97_3C").density_fit(auxbasis="def2-universal-jfit")
    mean_field.grids.level, mean_field.conv_tol = 2, 1e-9
    return mean_field.kernel()


@pytest.fixture
def here(monkeypatch):
    """Tasks run in this process, in order."""
    monkeypatch.setattr(workers, "executor", in_this_process)


@pytest.fixture
def counted(monkeypatch):
    """The conformers that are computed, as they are asked for."""
    asked = []
    compute = scf.reference_energy

    def reference_energy(numbers, *arguments, **options):
        asked.append(numbers.tolist())
        return compute(numbers, *arguments, **options)

    monkeypatch.setattr(scf, "reference_energy", reference_energy)
    return asked


def run(folder, store, shard=0, **options):
    return recompute.compute(folder, shard, "pyscf", store, options.pop("jobs", 1), **options)


def rows(folder, shard=0):
    table = tables.read(recompute.shard_path(folder, shard), schemas.COMPUTED).to_pylist()
    return {row["conformer_id"]: row for row in table}


@pytest.mark.usefixtures("here")
class TestEnergies:
    def test_closed_and_open_shells_and_ions(self, library, tmp_path):
        """Each is the method's to 1e-6 hartree."""
        cases = {
            library.add("O", WATER, p=0.9): (WATER, 0, 0),
            library.add("O", WATER, charge=1, multiplicity=2): (WATER, 1, 1),
            library.add("O=O", OXYGEN, multiplicity=3): (OXYGEN, 0, 2),
        }
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        assert run(folder, tmp_path / "store") == recompute.Outcome(3, 0, 0)
        for name, row in rows(folder).items():
            assert row["e_scf_hartree"] == pytest.approx(scf_hartree(*cases[name]), rel=0, abs=1e-6)
            parts = row["e_scf_hartree"] + row["e_d3_hartree"] + row["e_srb_hartree"]
            assert row["dft_energy_ev"] == pytest.approx(parts * scf.EV_PER_HARTREE, abs=1e-9)
            assert (row["method"], row["engine"], row["reason"]) == ("B97-3c", "PySCF", None)

    def test_what_has_none_has_the_reason_and_nothing_is_lost(self, library, tmp_path):
        reasons = {
            library.add("[NH]", IMIDOGEN): "the SCF found no converged state with the lowest",
            library.add("[U]", URANIUM, multiplicity=5): "B97-3c has no basis for U",
            library.add("O=O", OXYGEN, multiplicity=2): "16 electrons cannot have multiplicity 2",
            library.add("N#N", NITROGEN): None,
        }
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        assert run(folder, tmp_path / "store") == recompute.Outcome(1, 3, 0)
        found = rows(folder)
        assert found.keys() == reasons.keys()
        for name, reason in reasons.items():
            assert (found[name]["dft_energy_ev"] is None) == (reason is not None)
            assert (found[name]["reason"] or "").startswith(reason or "")
        (ladder,) = (row["reason"] for row in found.values() if "SCF" in (row["reason"] or ""))
        assert "level shift, second order" in ladder

    def test_a_remedy_that_helped_is_named(self, library, tmp_path, monkeypatch):
        def hopeless(mean_field):
            mean_field.max_cycle = 1
            return mean_field

        monkeypatch.setitem(scf.REMEDIES, "", hopeless)
        library.add("N#N", NITROGEN)
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        run(folder, tmp_path / "store")
        (row,) = rows(folder).values()
        assert (row["converged"], row["remedy"]) == (True, "level shift")


@pytest.mark.usefixtures("here")
class TestTheStore:
    @pytest.fixture
    def folder(self, library, tmp_path):
        library.add("N#N", NITROGEN, p=0.9)
        library.add("N#N", NITROGEN_LONG, p=0.8)
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        return folder

    def test_a_second_run_computes_nothing(self, folder, tmp_path, counted):
        run(folder, tmp_path / "store")
        before = rows(folder)
        recompute.shard_path(folder, 0).unlink()
        counted.clear()
        assert run(folder, tmp_path / "store") == recompute.Outcome(2, 0, 0)
        assert (rows(folder), counted) == (before, [])

    def test_nor_does_another_library_with_the_same_conformers(self, folder, tmp_path, counted):
        run(folder, tmp_path / "store")
        other = Library()
        other.add("nitrogen", NITROGEN_LONG)
        other.add("H2", HYDROGEN)
        second = other.write(tmp_path / "other")
        recompute.shards(second, B97_3C, recompute.Settings())
        counted.clear()
        assert run(second, tmp_path / "store") == recompute.Outcome(2, 0, 0)
        assert counted == [[1, 1]]

    def test_two_projects_with_libraries_of_one_name_may_run_at_once(
        self, folder, library, tmp_path
    ):
        theirs = library.write(tmp_path / "theirs" / folder.name)
        recompute.shards(theirs, B97_3C, recompute.Settings())
        origin = engines.origin("pyscf", B97_3C)
        part = recompute.part_of(tmp_path / "store/pyscf-B97-3c", theirs, "00000")
        with Journal(part, schemas.COMPUTED, origin):
            assert run(folder, tmp_path / "store") == recompute.Outcome(2, 0, 0)

    def test_a_run_that_was_killed_is_gone_on_with_in_another_shard(
        self, folder, tmp_path, counted
    ):
        """Its journal is all that it left."""
        first = tables.frame(folder / recompute.PLAN, schemas.TO_COMPUTE)["conformer_id"][0]
        done = {"conformer_id": first, "method": "B97-3c", "engine": "PySCF"}
        done |= engines.failed("said by the journal")
        store = tmp_path / "store/pyscf-B97-3c/lib-00007.parquet"
        with Journal(store, schemas.COMPUTED, engines.origin("pyscf", B97_3C)) as journal:
            journal.append(done)
        assert not store.exists()
        assert run(folder, tmp_path / "store") == recompute.Outcome(1, 1, 0)
        assert counted == [[7, 7]]
        assert rows(folder)[first]["reason"] == "said by the journal"

    def test_the_budget_is_what_is_spent(self, library, tmp_path, monkeypatch):
        """The first takes more than all were to take: the other is left."""
        ids = [library.add("N#N", NITROGEN, p=0.9), library.add("N#N", NITROGEN_LONG, p=0.8)]
        folder = library.write(tmp_path / "lib")
        budget = recompute.Settings(budget_core_hours=0.01)
        recompute.shards(folder, B97_3C, budget)
        compute = engines.compute

        def slow(*arguments, **options):
            return compute(*arguments, **options) | {"dft_seconds": 40.0}

        monkeypatch.setattr(engines, "compute", slow)
        assert run(folder, tmp_path / "store") == recompute.Outcome(1, 0, 1)
        assert list(rows(folder)) == ids[:1]

    def test_a_full_disk_is_said_and_what_was_finished_is_kept(
        self, folder, tmp_path, counted, monkeypatch
    ):
        append = Journal.append

        with ExitStack() as narrow:

            def until_it_is_full(journal, row):
                if journal.rows:
                    narrow.enter_context(disk.full(at=journal.path.stat().st_size + 20))
                append(journal, row)

            monkeypatch.setattr(Journal, "append", until_it_is_full)
            with pytest.raises(ProbeError, match=r"journal: cannot be written \(File too large"):
                run(folder, tmp_path / "store")
        assert not recompute.shard_path(folder, 0).exists()
        monkeypatch.setattr(Journal, "append", append)
        counted.clear()
        assert run(folder, tmp_path / "store") == recompute.Outcome(2, 0, 0)
        assert len(counted) == 1

    def test_a_store_that_cannot_be_written_to(self, folder, tmp_path):
        (tmp_path / "store").write_text("a file")
        with pytest.raises(ProbeError, match=r"cannot be written to .*; choose another place"):
            run(folder, tmp_path / "store")


class TestRefusal:
    def test_a_library_without_a_plan(self, tmp_path):
        with pytest.raises(ProbeError, match="make it with `probe shards"):
            run(tmp_path, tmp_path / "store")

    def test_a_shard_that_there_is_not(self, library, tmp_path):
        library.add("N#N", NITROGEN)
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        with pytest.raises(ProbeError, match="has 1 shards, and 1 is none"):
            run(folder, tmp_path / "store", shard=1)

    def test_an_engine_that_this_machine_has_not(self, tmp_path, monkeypatch):
        monkeypatch.setattr(engines, "_has_cuda", lambda: False)
        with pytest.raises(ProbeError, match="gpu4pyscf needs CUDA and the package"):
            recompute.compute(tmp_path, 0, "gpu4pyscf", tmp_path / "store", 1)

    @pytest.mark.usefixtures("here")
    def test_what_is_recomputed_is_no_label(self, library, tmp_path):
        """A reserved molecule may be among it."""

        library.add("N#N", NITROGEN)
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        run(folder, tmp_path / "store")
        with pytest.raises(ProbeError, match="no column"):
            labels.read(recompute.shard_path(folder, 0))


class TestAWorkerThatDies:
    """In processes of their own: one kills itself over hydrogen, as want of memory would."""

    @pytest.fixture
    def lives(self, tmp_path):
        return tmp_path / "lives"

    @pytest.fixture
    def folder(self, library, tmp_path):
        self.hydrogen = library.add("[HH]", HYDROGEN, p=0.9)
        self.others = {library.add("N#N", NITROGEN, p=0.8), library.add("O", WATER, p=0.7)}
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        return folder

    @pytest.fixture
    def deadly(self, monkeypatch, lives):
        def over_hydrogen(times, signal_="SIGKILL"):
            lives.write_bytes(b"x" * times)
            task = partial(deadly_engine.compute, signal_=signal_, lives=str(lives))
            monkeypatch.setattr(engines, "compute", task)

        return over_hydrogen

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_once_it_is_tried_again_alone(self, folder, tmp_path, deadly, lives, jobs, capfd):
        deadly(1)
        assert run(folder, tmp_path / "store", jobs=jobs) == recompute.Outcome(3, 0, 0)
        assert lives.read_bytes() == b""
        printed = capfd.readouterr().err
        assert (
            "recompute: lib.xyz:1: its worker process died of signal 9 (SIGKILL), likely for want "
            "of memory; give it more memory, or leave the conformer out; tried again when the "
            "others are done\n"
        ) in printed
        assert "Traceback" not in printed

    def test_twice_it_is_the_only_one_without_an_energy(self, folder, tmp_path, deadly):
        deadly(2, "SIGSEGV")
        assert run(folder, tmp_path / "store", jobs=2) == recompute.Outcome(2, 1, 0, n_died=1)
        found = rows(folder)
        assert found[self.hydrogen]["reason"] == (
            "tried twice, the second time alone: its worker process died of signal 11 (SIGSEGV); "
            "give it more memory, or leave the conformer out"
        )
        assert all(found[name]["converged"] for name in self.others)

    def test_the_next_run_tries_it_again_and_it_alone(self, folder, tmp_path, deadly, capfd):
        deadly(2)
        run(folder, tmp_path / "store")
        capfd.readouterr()
        assert run(folder, tmp_path / "store") == recompute.Outcome(3, 0, 0)
        assert "1 conformers to compute, 2 done before" in capfd.readouterr().err
        assert rows(folder)[self.hydrogen]["reason"] is None


class TestTheCommand:
    """In processes of its own, with a worker that is killed and one that finishes."""

    SLOW = [53] * 4, [[0, 0, 0], [2.7, 0, 0], [0, 2.7, 0], [2.7, 2.7, 0]]

    @pytest.fixture
    def folder(self, library, tmp_path):
        self.quick = library.add("N#N", NITROGEN, p=0.9)
        library.add("II.II", self.SLOW, p=0.8)
        folder = library.write(tmp_path / "lib")
        recompute.shards(folder, B97_3C, recompute.Settings())
        return folder

    def start(self, folder, tmp_path):
        return subprocess.Popen(
            [sys.executable, "-m", "probe.cli", "recompute", str(folder), "--store", "store"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def test_of_a_plan_without_shards_it_says_so(self, folder, tmp_path):
        recompute.shards(folder, B97_3C, recompute.Settings(budget_core_hours=1e-9))
        said, _ = self.start(folder, tmp_path).communicate(timeout=300)
        assert said == f"{folder}: nothing to recompute: its plan has no shards\n"

    @staticmethod
    def worker(process):
        """The worker process, once it is there."""
        while True:
            for listed in Path(f"/proc/{process.pid}/task").glob("*/children"):
                for child in listed.read_text().split():
                    if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                        return int(child)
            time.sleep(0.05)

    @staticmethod
    def works(process):
        """Whether ``process`` has begun: its parent knows it by then."""
        maps = Path(f"/proc/{process}/maps")
        return maps.exists() and "pyscf" in maps.read_text()

    def test_a_worker_killed_twice_costs_one_conformer(self, folder, tmp_path):
        part = recompute.part_of(tmp_path / "store/pyscf-B97-3c", folder, "00000")
        journal = part.with_name(f"{part.name}.journal")
        process = self.start(folder, tmp_path)
        while not (journal.exists() and self.quick in journal.read_text()):
            assert process.poll() is None
            time.sleep(0.05)
        first = self.worker(process)
        os.kill(first, signal.SIGTERM)  # that is for its parent to hear
        os.kill(first, signal.SIGKILL)
        while (second := self.worker(process)) == first or not self.works(second):
            time.sleep(0.05)
        os.kill(second, signal.SIGKILL)
        said, printed = process.communicate(timeout=300)
        assert process.returncode == 0, printed
        shard, summary = said.splitlines()
        assert shard.endswith("00000.parquet: 1 computed, 1 failed, 0 left")
        assert summary == (
            f"{folder}: 1 of those that failed ended their worker process; the same command tries "
            "them again"
        )
        assert "lib.xyz:2: its worker process died of signal 9 (SIGKILL), likely for" in printed
        (other,) = rows(folder).keys() - {self.quick}
        assert rows(folder)[other]["reason"] == (
            "tried twice, the second time alone: its worker process died of signal 9 (SIGKILL), "
            "likely for want of memory; give it more memory, or leave the conformer out"
        )
        assert rows(folder)[other]["dft_seconds"] > 0
        stored = tables.read(part, schemas.COMPUTED)["conformer_id"].to_pylist()
        assert stored == [self.quick]
