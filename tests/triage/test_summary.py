"""A triaged library: nothing is lost, and what its summary says of it."""

from math import exp

import polars as pl
import pyarrow as pa
import pytest
from rdkit import Chem
from triaged import CARD, conformer, held_out, score

from probe import schemas, tables
from probe.dft.cost import OPEN_SHELL, core_hours
from probe.errors import ProbeError
from probe.triage.policy import Policy
from probe.triage.verdicts import triage_library


class Library:
    """A scored library on disk: ``shards`` of (conformer, p) pairs, and rejects of each."""

    def __init__(self, folder, shards, rejects=()):
        self.folder = folder
        self.shards = shards
        self.rejects = list(rejects) or [[] for _ in shards]
        self.write()

    def write(self, n_records=None, n_ingested=None, scored=None):
        n_rejected = sum(map(len, self.rejects))
        held = [len(shard) for shard in self.shards]
        plan = {
            "library": "lib",
            "path": "lib.smi",
            "n_records": sum(held) + n_rejected if n_records is None else n_records,
            "shard_size": 10,
            "shards": [{"first": 0, "count": n, "offset": 0} for n in held],
            "sources": [],
            "ignored": [],
        }
        tables.write_json(self.folder / "plan.json", plan)
        for index, (shard, rejects) in enumerate(zip(self.shards, self.rejects, strict=True)):
            name = f"{index:05d}.parquet"
            distinct = {row["conformer_id"]: (row, p) for row, p in shard}.values()
            counts = {"n_ingested": len(shard) if n_ingested is None else n_ingested}
            rows, scores = [row for row, _ in distinct], [score(row, p) for row, p in distinct]
            kept = scores if scored is None else scores[:scored]
            tables.write(self.folder / "conformers" / name, rows, schemas.CONFORMERS, counts)
            tables.write(self.folder / "rejects" / name, rejects, schemas.REJECTED, {})
            tables.write(self.folder / "scores" / name, kept, schemas.SCORES, {"device": "cpu"})

    def triage(self, policy=None):
        held_out = self.folder / "held_out.parquet"
        return triage_library(self.folder, CARD, policy or Policy(), held_out)

    def table(self, name):
        schema = schemas.REJECTED if name == "rejected" else schemas.TRIAGED
        return tables.frame(self.folder / f"{name}.parquet", schema)


OUTPUTS = ("accept.parquet", "recompute.parquet", "rejected.parquet", "recompute.sdf")


def reject(record):
    return {"source": f"lib.smi:{record}", "reason": "valence of N1 is 5", "molecule_id": "odd"}


@pytest.fixture
def library(tmp_path):
    """Six records: two accepted, one to recompute, one refused, one broken, one repeated."""
    first, second, third = (conformer(shift, f"lib.smi:{shift}") for shift in (1, 2, 3))
    radical = conformer(4, "lib.smi:4", multiplicity=2)
    again = conformer(1, "lib.smi:6")
    return Library(
        tmp_path,
        [[(first, 0.1), (second, 0.9), (radical, None)], [(third, 0.2), (again, 0.1)]],
        [[], [reject(5)]],
    )


class TestALibrary:
    def test_every_conformer_is_in_exactly_one_list(self, library):
        library.triage()
        accepted, sent = library.table("accept"), library.table("recompute")
        both = accepted["conformer_id"].to_list() + sent["conformer_id"].to_list()
        given = {row["conformer_id"] for shard in library.shards for row, _ in shard}
        assert len(both) == len(set(both))
        assert set(both) == given
        assert set(accepted["verdict"]) == {"accept"}
        assert set(sent["verdict"]) == {"recompute"}

    def test_the_summary_counts_what_the_lists_hold(self, library):
        summary = library.triage()
        assert summary == tables.read_json(library.folder / "summary.json")
        wanted = {
            **{"n_records": 6, "n_ingested": 5, "n_rejected": 1, "n_conformers": 4},
            **{"n_duplicates": 1, "n_accept": 2, "n_recompute": 2, "n_refused": 1},
            **{"reasons": {"backbone": 1, "unreliable": 1}},
            **{"checkpoint": "made-up", "fingerprint": "0123456789abcdef", "device": "cpu"},
        }
        assert {key: summary[key] for key in wanted} == wanted
        assert library.table("accept").height == summary["n_accept"]
        assert library.table("recompute").height == summary["n_recompute"]
        assert summary["cutoffs"]["accept_confidence"] == 0.6
        assert summary["versions"]["probe-screen"]

    def test_a_conformer_of_two_shards_has_the_sources_of_both(self, library):
        library.triage()
        assert "lib.smi:1; lib.smi:6" in library.table("accept")["source"].to_list()

    def test_rejects_keep_source_and_reason(self, library):
        library.triage()
        assert library.table("rejected").to_dicts() == [reject(5)]

    def test_what_is_to_recompute_is_in_the_sd_file_in_the_same_order(self, library):
        library.triage()
        supplier = Chem.SDMolSupplier(str(library.folder / "recompute.sdf"), removeHs=False)
        ids = [molecule.GetProp("conformer_id") for molecule in supplier]
        assert ids == library.table("recompute")["conformer_id"].to_list()

    def test_another_policy_moves_them(self, library):
        policy = Policy(accept_confidence=0.9)
        assert library.triage(policy)["n_accept"] == 1
        assert library.triage(Policy(accept_confidence=0.8))["n_accept"] == 2

    def test_shards_of_an_earlier_plan_are_removed(self, library):
        stale = [library.folder / stage / "00002.parquet" for stage in ("conformers", "scores")]
        for path in stale:
            path.write_bytes((path.parent / "00001.parquet").read_bytes())
        assert library.triage()["n_conformers"] == 4
        assert not any(path.exists() for path in stale)
        assert (library.folder / "conformers" / "00001.parquet").exists()

    def test_twice_the_same_gives_the_same_bytes(self, library):
        library.triage()
        before = [(library.folder / name).read_bytes() for name in OUTPUTS]
        library.triage()
        assert before == [(library.folder / name).read_bytes() for name in OUTPUTS]

    def test_all_refused(self, tmp_path):
        rows = [(conformer(shift, multiplicity=2), None) for shift in range(3)]
        library = Library(tmp_path, [rows])
        summary = library.triage()
        assert (summary["n_accept"], summary["n_recompute"], summary["n_refused"]) == (0, 3, 3)
        assert library.table("accept").height == 0
        assert set(library.table("recompute")["reason"]) == {"aimnet2-b973c is for closed shells"}

    @pytest.mark.parametrize("rejects", [0, 2])
    def test_no_conformers_at_all(self, tmp_path, rejects):
        """An empty file has one shard of no records; one of broken records has only rejects."""
        library = Library(tmp_path, [[]], [[reject(number) for number in range(rejects)]])
        summary = library.triage()
        assert summary["n_records"] == summary["n_rejected"] == rejects
        assert summary["n_conformers"] == summary["n_accept"] == summary["n_recompute"] == 0
        assert summary["reasons"] == {}
        assert library.table("accept").height == library.table("recompute").height == 0
        assert (library.folder / "recompute.sdf").read_text() == ""


class TestWhatAPolicyCameTo:
    """The library of six records: p 0.1, 0.9, 0.2, and a radical that the backbone refuses."""

    def kept(self, library, frame):
        table = frame.to_arrow()
        tables.write(library.folder / "held_out.parquet", table, schemas.HELD_OUT, {})
        return library

    def test_a_promise_is_in_numbers_and_in_words(self, library):
        self.kept(library, held_out(100, range(60, 100)))
        summary = library.triage(Policy(policy="risk"))
        promised = summary["promise"]
        assert (promised["max_unreliable"], promised["confidence"]) == (0.1, 0.9)
        assert (promised["n_accepted"], promised["n_unreliable"]) == (62, 2)
        assert promised["bound"] <= 0.1
        assert summary["accept_up_to_p"] == promised["cutoff"]
        assert (summary["n_accept"], summary["n_recompute"]) == (2, 2)
        assert summary["reasons"] == {"backbone": 1, "unreliable": 1}
        assert summary["statement"] == (
            f"Accepted up to p_unreliable {promised['cutoff']:.3g}: at most 10 % of energies off "
            "by more than 0.4 kcal/mol, with 90 % confidence (2 of 62 calibration molecules are, "
            f"so at most {100 * promised['bound']:.3g} %). This holds for libraries like the "
            "calibration set; 0 % of this one lies outside its domain."
        )

    def test_no_promise_is_said_and_nothing_accepted(self, library):
        self.kept(library, held_out(15))
        summary = library.triage(Policy(policy="risk"))
        assert (summary["n_accept"], summary["accept_up_to_p"]) == (0, None)
        assert summary["reasons"] == {"no promise": 3, "backbone": 1}
        assert summary["statement"] == (
            "Nothing is accepted: no cutoff promises at most 10 % of energies off by more than "
            "0.4 kcal/mol, with 90 % confidence; the calibration set is too small: it holds 15 "
            "molecules that may be accepted, and even without one unreliable it takes 22."
        )

    def test_without_the_held_out_molecules_it_stops_before_it_writes(self, library):
        with pytest.raises(ProbeError, match=r"held_out\.parquet: no such file"):
            library.triage(Policy(policy="risk"))
        assert not (library.folder / "summary.json").exists()

    def test_a_budget_is_in_numbers_and_in_words(self, library):
        water = core_hours(pl.Series([[8, 1, 1]], dtype=pl.List(pl.UInt8)))[0]
        radical = OPEN_SHELL * water
        summary = library.triage(Policy(policy="budget", budget_core_hours=3 * water))
        assert (summary["n_accept"], summary["accept_up_to_p"]) == (2, 0.2)
        assert summary["reasons"] == {"backbone": 1, "budget": 1}
        assert summary["dft_core_hours"] == {
            "recompute": pytest.approx(radical + water),
            "by_other_rules": pytest.approx(radical),
            "n_unknown": 0,
        }
        assert summary["statement"] == (
            f"Budget of {3 * water:g} core-hours: the 1 to recompute by other rules (about "
            f"{radical:.3g}), then the 1 with the highest p_unreliable (about {water:.3g}); the "
            "other 2 are accepted."
        )
        assert library.table("accept")["dft_core_hours"].to_list() == [water, water]

    def test_a_budget_too_small_for_what_must_go_is_said(self, library):
        summary = library.triage(Policy(policy="budget", budget_core_hours=0))
        hours = summary["dft_core_hours"]["by_other_rules"]
        assert summary["statement"] == (
            f"Budget of 0 core-hours: the 1 to recompute by other rules take about {hours:.3g}, "
            "more than that; PROBE sends none."
        )
        assert (summary["n_accept"], summary["n_recompute"]) == (3, 1)

    def test_cutoffs_promise_nothing(self, library):
        summary = library.triage()
        assert summary["policy"] == "cutoff"
        assert summary["promise"] is summary["statement"] is None
        assert summary["accept_up_to_p"] == pytest.approx(0.4)
        assert library.triage(Policy(0.9, 0.7, "accept"))["accept_up_to_p"] == 0.7

    def test_the_lists_hold_p_at_the_tolerance(self, library):
        assert library.triage()["tolerance_kcal"] == CARD["boundary_kcal"]
        summary = library.triage(Policy(tolerance_kcal=1.0))
        assert summary["tolerance_kcal"] == 1.0
        lists = pl.concat([library.table("accept"), library.table("recompute")])
        assert lists["p_unreliable"].null_count() == 1
        expected = 2 / (1 + exp(5))
        assert lists["p_unreliable"].drop_nulls().to_list() == pytest.approx([expected] * 3)

    def test_scores_of_an_older_version_serve_the_boundary_and_no_other_tolerance(self, library):
        for path in (library.folder / "scores").glob("*.parquet"):
            older = tables.read(path, schemas.SCORES).drop_columns(["location_kcal", "scale_kcal"])
            schema = pa.schema([schemas.SCORES.field(name) for name in older.column_names])
            tables.write(path, older, schema, {"device": "cpu"})
        assert library.triage()["n_accept"] == 2
        with pytest.raises(ProbeError, match="of an older version, for one boundary; score"):
            library.triage(Policy(tolerance_kcal=1.0))

    def test_what_lies_outside_in_any_respect_counts_once(self, tmp_path):
        rows = [
            (conformer(1), 0.1),
            (conformer(2, n_atoms=31, numbers=[5, 1, 1]), 0.1),
            (conformer(3, n_atoms=31), 0.1),
            (conformer(4, n_atoms=31, multiplicity=2), None),
        ]
        summary = Library(tmp_path, [rows]).triage(Policy(beyond_size="flag"))
        assert (summary["n_outside"], summary["n_accept_outside"]) == (2, 1)


class TestALossStopsIt:
    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"n_records": 7}, "7 records read, but 5 ingested and 1 rejected"),
            ({"n_ingested": 1}, "6 records read, but 2 ingested and 1 rejected"),
            ({"scored": 1}, "4 conformers, but 2 accepted and 0 to recompute"),
        ],
        ids=["a record", "an ingested one", "a score"],
    )
    def test_one_line_and_nothing_is_written(self, library, wrong, says):
        library.write(**wrong)
        with pytest.raises(ProbeError, match=says) as raised:
            library.triage()
        assert "\n" not in str(raised.value)
        assert not [name for name in (*OUTPUTS, "summary.json") if (library.folder / name).exists()]

    @pytest.mark.parametrize("stage", ["conformers", "scores", "rejects"])
    def test_so_does_a_missing_shard(self, library, stage):
        missing = library.folder / stage / "00001.parquet"
        missing.unlink()
        with pytest.raises(ProbeError, match=f"{missing}: no such file"):
            library.triage()
        assert not [name for name in (*OUTPUTS, "summary.json") if (library.folder / name).exists()]
