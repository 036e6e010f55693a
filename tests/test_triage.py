"""Triage: which rule decides, where exactly its line is, and that nothing is lost."""

import polars as pl
import pytest
from rdkit import Chem

from probe import tables
from probe.conformers import conformer_id
from probe.errors import ProbeError
from probe.triage import Policy, decide, rare_elements, triage_library

CARD = {
    "name": "made-up",
    "backbone": "aimnet2-b973c",
    "fingerprint": "0123456789abcdef",
    "elements": {"H": 600, "C": 500, "O": 300, "P": 20, "B": 19, "As": 4},
    "n_atoms": {"min": 2, "max": 30},
    "latent_99": 1.855,
    "boundary_kcal": 0.4,
}
ETHANOL = [6, 6, 8, 1, 1, 1, 1, 1, 1]


def scored(**columns):
    """Conformers of ethanol with a score each; ``columns`` give what differs, row by row."""
    n = max(len(values) for values in columns.values())
    rows = {
        "conformer_id": [f"id{index}" for index in range(n)],
        "numbers": [ETHANOL] * n,
        "n_atoms": [9] * n,
        "p_unreliable": [0.1] * n,
        "latent_distance": [1.0] * n,
        "refusal": [None] * n,
    }
    types = {
        "conformer_id": pl.String,
        "numbers": pl.List(pl.UInt8),
        "n_atoms": pl.Int32,
        "p_unreliable": pl.Float64,
        "latent_distance": pl.Float64,
        "refusal": pl.String,
    }
    return pl.DataFrame(rows | columns, schema=types)


def decided(policy=None, **columns):
    """What became of each row, in the order given."""
    return decide(scored(**columns), CARD, policy or Policy()).sort("conformer_id")


def one(policy=None, **values):
    return decided(policy, **{name: [value] for name, value in values.items()}).row(0, named=True)


REFUSED = {
    "refusal": "aimnet2-b973c does not know the element Na",
    "p_unreliable": None,
    "latent_distance": None,
}


class TestOrderOfTheRules:
    STRICT = Policy(beyond_size="recompute", beyond_latent="recompute")

    def test_a_refusal_comes_before_all(self):
        row = one(self.STRICT, **REFUSED, numbers=[33] * 40, n_atoms=40)
        assert (row["verdict"], row["kind"]) == ("recompute", "backbone")
        assert row["reason"] == "aimnet2-b973c does not know the element Na"

    def test_then_a_rare_element_however_sure_probe_is(self):
        row = one(
            self.STRICT, numbers=[33, 5, 33], n_atoms=40, latent_distance=9.0, p_unreliable=0.0
        )
        assert (row["verdict"], row["kind"]) == ("recompute", "element")
        assert row["reason"] == (
            "B is in 19 calibration molecules, 20 are needed; "
            "As is in 4 calibration molecules, 20 are needed"
        )

    def test_then_the_size_where_it_is_to_decide(self):
        row = one(self.STRICT, n_atoms=31, latent_distance=9.0, p_unreliable=0.0)
        assert (row["verdict"], row["kind"]) == ("recompute", "size")
        assert row["reason"] == "31 atoms, calibration has at most 30"

    def test_then_the_latent_distance_where_it_is_to_decide(self):
        row = one(self.STRICT, latent_distance=1.9, p_unreliable=0.0)
        assert (row["verdict"], row["kind"]) == ("recompute", "latent distance")
        assert row["reason"] == "latent distance 1.9, 99 % of calibration is within 1.85"

    def test_then_probe(self):
        rows = decided(p_unreliable=[0.1, 0.5, 0.9])
        assert rows["kind"].to_list() == ["reliable", "between", "unreliable"]
        assert rows["verdict"].to_list() == ["accept", "recompute", "recompute"]
        assert rows["reason"].to_list() == [
            "p_unreliable 0.1 at most 0.4",
            "p_unreliable 0.5 between the cutoffs",
            "p_unreliable 0.9 at least 0.6",
        ]

    @pytest.mark.parametrize("where", ["accept", "recompute"])
    def test_what_lies_between_goes_where_the_policy_says(self, where):
        assert one(Policy(between=where), p_unreliable=0.5)["verdict"] == where

    @pytest.mark.parametrize("p", [None, float("nan"), float("inf"), float("-inf")])
    def test_without_a_number_from_probe_nothing_is_accepted(self, p):
        row = one(Policy(between="accept"), p_unreliable=p)
        assert (row["verdict"], row["reason"]) == ("recompute", "PROBE gave no answer")


class TestCutoffs:
    HUNDREDTHS = tuple(range(50, 101))

    @pytest.mark.parametrize("hundredths", HUNDREDTHS)
    def test_a_confidence_of_exactly_the_cutoff_is_accepted(self, hundredths):
        """1 - 0.9 is 0.09999999999999998 and 1 - 0.34 is 0.6599999999999999: both count."""
        cutoff = hundredths / 100
        policy = Policy(accept_confidence=cutoff, recompute_confidence=1.0)
        for p in (1 - cutoff, (100 - hundredths) / 100):
            assert one(policy, p_unreliable=p)["kind"] == "reliable"

    @pytest.mark.parametrize("hundredths", HUNDREDTHS)
    def test_one_a_little_less_is_not(self, hundredths):
        policy = Policy(accept_confidence=hundredths / 100, recompute_confidence=1.0)
        above = (100 - hundredths) / 100 + 1e-9
        assert one(policy, p_unreliable=above)["kind"] == "between"

    @pytest.mark.parametrize("hundredths", HUNDREDTHS[1:])
    def test_the_other_cutoff_is_exact_too(self, hundredths):
        cutoff = hundredths / 100
        policy = Policy(accept_confidence=1.0, recompute_confidence=cutoff)
        kinds = decided(policy, p_unreliable=[cutoff, cutoff - 1e-9])["kind"].to_list()
        assert kinds == ["unreliable", "between"]

    def test_at_one_half_twice_nothing_is_between_and_the_tie_is_reliable(self):
        rows = decided(Policy(0.5, 0.5), p_unreliable=[0.5 - 1e-9, 0.5, 0.5 + 1e-9])
        assert rows["kind"].to_list() == ["reliable", "reliable", "unreliable"]

    def test_a_confidence_of_one_accepts_only_a_p_of_nothing(self):
        rows = decided(Policy(1.0, 1.0), p_unreliable=[0.0, 1e-6, 1.0])
        assert rows["kind"].to_list() == ["reliable", "between", "unreliable"]

    def test_an_element_needs_the_stated_number_of_molecules_and_no_more(self):
        rows = decided(numbers=[[15], [5], [6]])
        assert rows["kind"].to_list() == ["reliable", "element", "reliable"]

    def test_an_element_that_the_card_does_not_name_has_no_molecules(self):
        assert one(numbers=[14, 1])["reason"] == "Si is in 0 calibration molecules, 20 are needed"

    def test_no_element_is_rare_where_none_is_demanded(self):
        assert rare_elements(CARD, 0) == {}
        assert one(Policy(min_element_molecules=0), numbers=[14, 1])["verdict"] == "accept"

    def test_the_largest_and_the_farthest_of_the_calibration_are_inside(self):
        rows = decided(n_atoms=[30, 31, 9, 9], latent_distance=[1.0, 1.0, 1.855, 1.8551])
        assert rows["beyond_size"].to_list() == [False, True, False, False]
        assert rows["beyond_latent"].to_list() == [False, False, False, True]


class TestFlags:
    def test_what_is_outside_is_flagged_and_accepted_all_the_same(self):
        row = one(n_atoms=31, latent_distance=2.0)
        assert row["verdict"] == "accept"
        assert row["flags"] == (
            "31 atoms, calibration has at most 30; "
            "latent distance 2.0, 99 % of calibration is within 1.85"
        )

    def test_what_is_inside_has_none(self):
        assert one(n_atoms=30)["flags"] == ""

    def test_a_refused_one_has_none_since_no_model_saw_it(self):
        row = one(**REFUSED, n_atoms=40)
        assert (row["flags"], row["beyond_size"], row["beyond_latent"]) == ("", False, False)

    def test_what_decided_is_the_reason_and_no_flag(self):
        policy = Policy(beyond_size="recompute", beyond_latent="recompute")
        row = one(policy, n_atoms=31, latent_distance=2.0)
        assert row["kind"] == "size"
        assert row["flags"] == "latent distance 2.0, 99 % of calibration is within 1.85"
        assert (row["beyond_size"], row["beyond_latent"]) == (True, True)


def test_the_worst_come_first_and_the_refused_before_them():
    frame = scored(p_unreliable=[0.2, None, 0.9, 0.5], refusal=[None, "no", None, None])
    rows = decide(frame, CARD, Policy())
    assert rows["conformer_id"].to_list() == ["id1", "id2", "id3", "id0"]


def test_no_conformers_are_no_decisions():
    assert decide(scored(p_unreliable=[]), CARD, Policy()).height == 0


def conformer(shift=0.0, source="lib.smi:1", **values):
    """Water, moved by ``shift`` Å along one bond so that its id is its own."""
    row = {
        "molecule_id": "water",
        "source": source,
        "smiles": "O",
        "n_atoms": 3,
        "charge": 0,
        "multiplicity": 1,
        "numbers": [8, 1, 1],
        "positions": [0.0, 0.0, 0.0, 0.76 + shift, 0.0, 0.58, -0.76, 0.0, 0.58],
        "note": "",
    } | values
    key = conformer_id(row["numbers"], row["positions"], row["charge"], row["multiplicity"])
    return {"conformer_id": key, **row}


def score(row, p):
    refusal = None if p is not None else "aimnet2-b973c is for closed shells"
    empty = dict.fromkeys(tables.SCORES.names)
    energy = None if p is None else -2000.0
    answer = {"p_unreliable": p, "energy_ev": energy, "refusal": refusal, "latent_distance": 1.0}
    return empty | {"conformer_id": row["conformer_id"]} | answer


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
            "format": "smiles",
            "n_records": sum(held) + n_rejected if n_records is None else n_records,
            "shard_size": 10,
            "shards": [{"first": 0, "count": n, "offset": 0} for n in held],
            "size": 1,
            "mtime_ns": 1,
        }
        tables.write_json(self.folder / "plan.json", plan)
        for index, (shard, rejects) in enumerate(zip(self.shards, self.rejects, strict=True)):
            name = f"{index:05d}.parquet"
            distinct = {row["conformer_id"]: (row, p) for row, p in shard}.values()
            counts = {"n_ingested": len(shard) if n_ingested is None else n_ingested}
            rows, scores = [row for row, _ in distinct], [score(row, p) for row, p in distinct]
            kept = scores if scored is None else scores[:scored]
            tables.write(self.folder / "conformers" / name, rows, tables.CONFORMERS, counts)
            tables.write(self.folder / "rejects" / name, rejects, tables.REJECTED, {})
            tables.write(self.folder / "scores" / name, kept, tables.SCORES, {"device": "cpu"})

    def triage(self, policy=None):
        return triage_library(self.folder, CARD, policy or Policy())

    def table(self, name):
        schema = tables.REJECTED if name == "rejected" else tables.TRIAGED
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
