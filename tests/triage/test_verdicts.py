"""Triage: which rule decides, where exactly its line is, and that nothing is lost."""

from math import exp

import polars as pl
import pytest
from triaged import CARD, ETHANOL, held_out

from probe.classifier.risk import Promise
from probe.dft.cost import RELATIVE, core_hours
from probe.errors import ProbeError
from probe.triage.policy import Policy
from probe.triage.verdicts import at_tolerance, decide, promise, rare_elements


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


def cutoff_at(cutoff, **values):
    """A promise as the calibration set gives it."""
    numbers = {"n_calibration": 300, "n_accepted": 120, "n_unreliable": 6, "bound": 0.086}
    return Promise(0.1, 0.9, cutoff, **(numbers | {"n_needed": 22} | values))


class TestByPromise:
    POLICY = Policy(policy="risk")

    def by(self, promised, **columns):
        return decide(scored(**columns), CARD, self.POLICY, promised).sort("conformer_id")

    def test_the_cutoff_parts_the_lists_and_is_accepted_itself(self):
        rows = self.by(cutoff_at(0.25), p_unreliable=[0.2, 0.25, 0.2500001, 0.9])
        assert rows["verdict"].to_list() == ["accept", "accept", "recompute", "recompute"]
        assert rows["kind"].to_list() == ["reliable", "reliable", "unreliable", "unreliable"]
        assert rows["reason"][0] == "p_unreliable 0.2 at most 0.25"
        assert rows["reason"][3] == "p_unreliable 0.9 above 0.25"

    def test_the_rules_before_probe_hold_all_the_same(self):
        rows = self.by(cutoff_at(1.0), numbers=[[33], [6]], p_unreliable=[0.0, float("nan")])
        assert rows["kind"].to_list() == ["element", "no answer"]

    def test_where_nothing_can_be_promised_nothing_is_accepted(self):
        rows = self.by(cutoff_at(None), p_unreliable=[0.0, 0.5])
        assert rows["verdict"].to_list() == ["recompute", "recompute"]
        assert rows["reason"][0] == "p_unreliable 0.0 but no cutoff keeps the promise"


class TestByBudget:
    """Ethanol costs one unit; with a P atom a molecule costs more, and Th has no basis."""

    UNIT = core_hours(pl.Series([ETHANOL], dtype=pl.List(pl.UInt8)))[0]

    def by(self, units, **columns):
        policy = Policy(policy="budget", budget_core_hours=units * self.UNIT)
        return decide(scored(**columns), CARD, policy).sort("conformer_id")

    def test_the_worst_that_fit_are_recomputed_and_the_rest_accepted(self):
        rows = self.by(2.5, p_unreliable=[0.1, 0.7, 0.4, 0.9])
        assert rows["verdict"].to_list() == ["accept", "recompute", "accept", "recompute"]
        assert rows["kind"].to_list() == ["beyond budget", "budget", "beyond budget", "budget"]
        budget = f"the budget of {2.5 * self.UNIT:g} core-hours"
        assert rows["reason"][2] == f"p_unreliable 0.4 beyond {budget}"
        assert rows["reason"][1] == f"p_unreliable 0.7 within {budget}"

    def test_what_must_go_is_paid_first_however_reliable(self):
        rows = self.by(
            2.5,
            p_unreliable=[0.9, 0.8, 0.1, None],
            numbers=[ETHANOL, ETHANOL, [5], ETHANOL],
            refusal=[None, None, None, "open shell"],
        )
        assert rows["kind"].to_list() == ["budget", "beyond budget", "element", "backbone"]

    def test_where_even_that_is_too_much_probe_sends_none(self):
        rows = self.by(0.5, p_unreliable=[0.9, None], refusal=[None, "open shell"])
        assert rows["verdict"].to_list() == ["accept", "recompute"]

    def test_one_that_does_not_fit_ends_it_so_that_nothing_worse_is_accepted(self):
        rows = self.by(1.5, p_unreliable=[0.9, 0.8, 0.7], numbers=[ETHANOL, ETHANOL * 3, [1, 1]])
        assert rows["verdict"].to_list() == ["recompute", "accept", "accept"]

    def test_no_budget_is_all_accepted_and_a_large_one_nothing(self):
        assert set(self.by(0, p_unreliable=[0.9, 0.1])["verdict"]) == {"accept"}
        assert set(self.by(9, p_unreliable=[0.9, 0.1])["verdict"]) == {"recompute"}

    def test_the_estimate_is_for_the_method_of_the_backbone(self):
        dearer = decide(
            scored(p_unreliable=[0.9]), CARD | {"backbone": "aimnet2-wb97m-d3"}, Policy()
        )
        factor = RELATIVE["wB97M-D3(BJ)/def2-TZVPP"]
        assert dearer["dft_core_hours"][0] == pytest.approx(factor * self.UNIT)

    def test_what_has_no_estimate_costs_nothing(self):
        rows = self.by(
            1.0, p_unreliable=[None, 0.5], numbers=[[90], ETHANOL], refusal=["no element Th", None]
        )
        assert rows["dft_core_hours"].to_list() == [None, self.UNIT]
        assert rows["kind"].to_list() == ["backbone", "budget"]


class TestTolerance:
    """Two conformers with two networks' answers each, and a refused one."""

    SCORES = pl.DataFrame(
        {
            "p_unreliable": [0.5, 0.6, None],
            "location_kcal": [[0.0, 0.4], [1.0, 1.2], None],
            "scale_kcal": [[0.2, 0.2], [0.3, 0.5], None],
        },
        schema_overrides={"location_kcal": pl.List(pl.Float32), "scale_kcal": pl.List(pl.Float32)},
    )

    def at(self, tolerance, scores=SCORES):
        given = at_tolerance(scores, CARD, Policy(tolerance_kcal=tolerance))
        return given["p_unreliable"].to_list()

    def test_p_is_that_of_an_error_beyond_it(self):
        def tail(location, scale):
            return 1 / (1 + exp((1 - location) / scale)) + 1 / (1 + exp((1 + location) / scale))

        expected = [(tail(0, 0.2) + tail(0.4, 0.2)) / 2, (tail(1, 0.3) + tail(1.2, 0.5)) / 2]
        assert self.at(1.0)[:2] == pytest.approx(expected, rel=1e-6)
        assert self.at(1.0)[2] is None

    @pytest.mark.parametrize("boundary", [None, 0.4])
    def test_at_the_boundary_it_is_the_checkpoints_own(self, boundary):
        assert self.at(boundary) == [0.5, 0.6, None]

    def test_a_laxer_one_leaves_fewer_unreliable(self):
        first, second = ([self.at(t)[row] for t in (0.2, 1.0, 5.0)] for row in (0, 1))
        assert first == sorted(first, reverse=True)
        assert second == sorted(second, reverse=True)

    def test_none_scored(self):
        assert self.at(1.0, self.SCORES.tail(1)) == [None]
        assert self.at(1.0, self.SCORES.head(0)) == []

    def test_a_checkpoint_that_knows_its_boundary_only_is_named(self):
        blind = self.SCORES.with_columns(
            location_kcal=pl.lit(None, pl.List(pl.Float32)),
            scale_kcal=pl.lit(None, pl.List(pl.Float32)),
        )
        assert self.at(None, blind) == [0.5, 0.6, None]
        with pytest.raises(ProbeError, match=r"made-up knows no other tolerance .*, 0\.4 kcal/mol"):
            self.at(1.0, blind)


class TestPromise:
    RISK = Policy(policy="risk")

    def test_errors_beyond_the_boundary_count_whatever_their_sign(self):
        found = promise(held_out(100, range(60, 100)), CARD, self.RISK)
        assert (found.n_calibration, found.max_unreliable, found.confidence) == (100, 0.1, 0.9)
        assert 0.01 + 0.9 * 0.59 < found.cutoff < 0.01 + 0.9 * 0.7
        assert found.n_unreliable == found.n_accepted - 60 > 0

    def test_at_another_tolerance_both_p_and_errors_are_others(self):
        locations = [[0.02 * index] for index in range(100)]
        frame = held_out(100, range(60, 100), location_kcal=locations)
        lax = promise(frame, CARD, Policy(policy="risk", tolerance_kcal=2.5))
        assert (lax.n_accepted, lax.n_unreliable) == (100, 0)
        assert lax.cutoff == pytest.approx(1 / (1 + exp((2.5 - 1.98) / 0.1)), rel=1e-5)

    def test_each_molecule_counts_once(self):
        frame = held_out(100, smiles=[f"C{index // 4}" for index in range(100)])
        assert promise(frame, CARD, self.RISK).n_calibration == 25

    def test_what_other_rules_send_to_recompute_is_no_part_of_it(self):
        frame = held_out(
            100,
            numbers=[[33]] * 10 + [ETHANOL] * 90,
            n_atoms=[9] * 80 + [31] * 20,
            latent_distance=[1.0] * 60 + [2.0] * 40,
        )
        lenient = Policy(policy="risk", beyond_size="flag")
        assert promise(frame, CARD, lenient).n_calibration == 90
        strict = Policy(policy="risk", beyond_size="recompute")
        assert promise(frame, CARD, strict).n_calibration == 70
        stricter = Policy(policy="risk", beyond_size="recompute", beyond_latent="recompute")
        assert promise(frame, CARD, stricter).n_calibration == 50

    def test_the_cutoffs_of_the_other_policy_play_no_part(self):
        frame = held_out(100, range(60, 100))
        odd = Policy(0.9, 0.9, "accept", policy="risk")
        assert promise(frame, CARD, odd) == promise(frame, CARD, self.RISK)

    def test_of_no_molecules_nothing_is_promised(self):
        found = promise(held_out(0), CARD, self.RISK)
        assert (found.cutoff, found.n_calibration) == (None, 0)


class TestFlags:
    def test_what_is_outside_is_flagged_and_accepted_all_the_same(self):
        row = one(Policy(beyond_size="flag"), n_atoms=31, latent_distance=2.0)
        assert row["verdict"] == "accept"
        assert row["flags"] == (
            "31 atoms, calibration has at most 30; "
            "latent distance 2.0, 99 % of calibration is within 1.85"
        )

    def test_by_default_what_is_larger_is_recomputed(self):
        assert one(n_atoms=31)["verdict"] == "recompute"
        assert one(n_atoms=30)["verdict"] == "accept"

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
