"""A journal of finished rows: nothing finished is lost, and nothing foreign gets in."""

import json
import subprocess
import sys

import pyarrow as pa
import pytest

from probe import tables
from probe.dft.journal import Journal
from probe.errors import ProbeError

SCHEMA = pa.schema([("conformer_id", pa.string()), ("energy_ev", pa.float64())])
ORIGIN = {"method": "B97-3c", "grid_level": 2}
A, B, C = ({"conformer_id": name, "energy_ev": float(ord(name))} for name in "abc")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "folder" / "table.parquet"


@pytest.fixture
def opened(out):
    """A new look at the journal, as another run has it."""

    def open_(origin=ORIGIN):
        return Journal(out, SCHEMA, origin)

    return open_


@pytest.fixture
def killed(opened):
    """The journal of a run that ended after two rows; its path."""
    with opened() as journal:
        journal.append(A)
        journal.append(B)
    return journal.path


class TestResuming:
    def test_rows_are_there_again(self, killed, opened):
        with opened() as journal:
            assert journal.rows == {"a": A, "b": B}
        assert killed.name == "table.parquet.journal"

    def test_a_row_is_on_the_disk_as_soon_as_it_is_appended(self, killed, opened):
        with opened() as journal:
            journal.append(C)
            assert json.loads(killed.read_bytes().splitlines()[-1]) == C

    @pytest.mark.parametrize("n_bytes", [1, 2, 20, 41])
    def test_a_line_cut_short_is_no_row_and_spoils_no_other(self, killed, opened, n_bytes):
        killed.write_bytes(killed.read_bytes()[:-n_bytes])
        kept = {"a": A, "b": B} if n_bytes == 1 else {"a": A}
        with opened() as journal:
            assert journal.rows == kept
            journal.append(C)
        with opened() as journal:
            assert journal.rows == kept | {"c": C}

    @pytest.mark.parametrize("damage", [b"\0" * 50, b"\xff\xfe\x00", b"12", b'{"a": 1', b"[]"])
    def test_a_line_that_a_power_cut_damaged_is_no_row(self, killed, opened, damage):
        with killed.open("ab") as handle:
            handle.write(damage)
        with opened() as journal:
            assert journal.rows == {"a": A, "b": B}

    def test_nothing_but_the_first_line_is_a_journal_of_no_rows(self, opened):
        for _ in range(2):
            with opened() as journal:
                assert journal.rows == {}


class TestFinish:
    def test_the_table_takes_the_place_of_the_journal(self, killed, opened, out):
        with opened() as journal:
            journal.finish(list(journal.rows.values()))
        assert tables.read(out, SCHEMA).to_pylist() == [A, B]
        assert tables.provenance(out)["method"] == "B97-3c"
        assert not killed.exists()

    def test_rows_of_the_table_count_as_finished(self, killed, opened, out):
        assert killed.exists()
        with opened() as journal:
            journal.finish([A, B])
        with opened() as journal:
            journal.append(C)
            assert journal.rows == {"a": A, "b": B, "c": C}
            assert tables.read(out, SCHEMA).num_rows == 2

    def test_a_kill_between_table_and_journal_loses_nothing(self, killed, opened, out):
        assert killed.exists()
        tables.write(out, [A, B], SCHEMA, ORIGIN)
        with opened() as journal:
            assert journal.rows == {"a": A, "b": B}
            journal.finish(list(journal.rows.values()))
        assert tables.read(out, SCHEMA).to_pylist() == [A, B]


class TestPeeking:
    def test_rows_of_the_table_and_of_a_run_that_goes_on(self, opened):
        with opened() as journal:
            journal.finish([A, B])
        with opened() as journal:
            journal.append(C)
            assert opened().peek({"a", "c", "d"}) == {"a": A, "c": C}

    def test_the_journal_counts_before_the_table(self, opened):
        with opened() as journal:
            journal.finish([A])
        with opened() as journal:
            journal.append(A | {"energy_ev": 1.0})
        assert opened().peek({"a"}) == {"a": A | {"energy_ev": 1.0}}

    @pytest.mark.parametrize(
        ("wanted", "columns"), [("c", {"conformer_id"}), ("a", {*SCHEMA.names})]
    )
    def test_of_a_table_without_a_wanted_one_the_ids_alone_are_read(
        self, opened, out, monkeypatch, wanted, columns
    ):
        tables.write(out, [A, B], SCHEMA, ORIGIN)
        seen = set()
        read = tables.read

        def watched(*arguments):
            table = read(*arguments)
            seen.update(table.column_names)
            return table

        monkeypatch.setattr(tables, "read", watched)
        opened().peek({wanted})
        assert seen == columns


class TestRefusal:
    def test_a_journal_of_other_settings(self, killed, opened):
        before = killed.read_bytes()
        with pytest.raises(ProbeError, match=r"journal: of a run with other settings"):
            opened(ORIGIN | {"grid_level": 5}).__enter__()
        assert killed.read_bytes() == before

    def test_a_file_that_is_no_journal(self, killed, opened):
        killed.write_text("my notes\n")
        with pytest.raises(ProbeError, match="remove it to begin anew"):
            opened().__enter__()
        assert killed.read_text() == "my notes\n"

    @pytest.mark.parametrize("origin", [ORIGIN | {"grid_level": 5}, {}])
    def test_a_table_that_was_made_otherwise(self, opened, out, origin):
        tables.write(out, [A], SCHEMA, origin)
        with pytest.raises(ProbeError, match="not made by this command with these settings"):
            opened().__enter__()
        assert list(out.parent.iterdir()) == [out]

    def test_a_second_run_at_the_same_time(self, opened):
        with opened() as journal:
            with pytest.raises(ProbeError, match="another run works on it"):
                opened().__enter__()
            journal.append(A)
        with opened() as journal:
            assert journal.rows == {"a": A}

    def test_a_run_that_was_killed_is_not_waited_for(self, opened, out):
        code = (
            "import os, signal, sys; from pathlib import Path; import pyarrow as pa;"
            "from probe.dft.journal import Journal;"
            f"journal = Journal(Path(sys.argv[1]), pa.schema([]), {ORIGIN}).__enter__();"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        run = subprocess.run([sys.executable, "-c", code, str(out)], check=False)
        assert run.returncode == -9
        with opened() as journal:
            assert journal.rows == {}
