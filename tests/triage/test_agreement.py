"""Two screenings of the same conformers: what is counted, what is compared, and on what scale."""

from dataclasses import asdict

import polars as pl
import pytest
from ase.data import atomic_numbers
from click.testing import CliRunner

from probe import cli, schemas, tables
from probe.errors import ProbeError
from probe.library.plan import Plan, Shard
from probe.report.agreement_page import LISTED, write_page
from probe.triage import agreement
from probe.triage.agreement import agree, compare, load
from probe.triage.policy import Policy

HOSTILE = "<img src=x onerror=alert(1)>"
EV = 1 / schemas.KCAL_PER_EV
"""One kcal/mol in eV."""


def atoms(formula):
    """Atomic numbers of a formula such as "C 2 H 6"."""
    words = formula.split()
    pairs = zip(words[::2], map(int, words[1::2]), strict=True)
    return [atomic_numbers[symbol] for symbol, n in pairs for _ in range(n)]


def row(name, smiles, formula, energy_ev, p, verdict, **changes):
    """A row of both the conformer table and a list."""
    numbers = atoms(formula)
    return dict.fromkeys((*schemas.CONFORMERS.names, *schemas.TRIAGED.names)) | {
        **{"conformer_id": name, "molecule_id": f"the {name}", "smiles": smiles, "charge": 0},
        **{"n_atoms": len(numbers), "numbers": numbers, "multiplicity": 1, "energy_ev": energy_ev},
        **{"p_unreliable": p, "verdict": verdict, "reason": f"p {p}"},
        **changes,
    }


def screening(folder, rows, **changes):
    """Writes a triaged library of ``rows`` to ``folder``; ``changes`` are the summary's."""
    half = len(rows) // 2
    counts = [half, len(rows) - half]
    for index, part in enumerate((rows[:half], rows[half:])):
        path = folder / f"conformers/{index:05d}.parquet"
        tables.write(path, part, schemas.CONFORMERS, {})
    shards = tuple(Shard(first, n, None) for first, n in zip((0, half), counts, strict=True))
    plan = Plan(folder.name, "a.smi", len(rows), max(counts), shards, (), ())
    tables.write_json(folder / "plan.json", asdict(plan))
    lists = {
        verdict: [row for row in rows if row["verdict"] == verdict]
        for verdict in ("accept", "recompute")
    }
    for verdict, listed in lists.items():
        tables.write(folder / f"{verdict}.parquet", listed, schemas.TRIAGED, {})
    summary = {
        **{"library": folder.name, "n_conformers": len(rows), "policy": "cutoff"},
        **{f"n_{verdict}": len(listed) for verdict, listed in lists.items()},
        "n_refused": sum(row["energy_ev"] is None for row in rows),
        **{"backbone": f"net-{folder.name}", "fingerprint": "0" * 16, "checkpoint": "probe"},
        **{"tolerance_kcal": 0.5, "cutoffs": vars(Policy())},
    }
    tables.write_json(folder / "summary.json", summary | changes)
    return folder


def refused(name, smiles, formula):
    return row(name, smiles, formula, None, None, "recompute", reason="not for this backbone")


ONE = [
    row("w1", "O", "O 1 H 2", -10.00, 0.1, "accept"),
    row("w2", "O", "O 1 H 2", -10.10, 0.2, "accept"),
    row("m", "C", "C 1 H 4", -5.0, 0.9, "recompute"),
    row("e", "CC", "C 2 H 6", -7.0, 0.3, "accept"),
    row("p", "CCC", "C 3 H 8", -9.0, 0.4, "accept"),
    refused("r", "[Fe]", "Fe 1"),
    row("q", "[Na+]", "Na 1", -1.0, 0.5, "accept", charge=1),
    row("only", "CO", "C 1 O 1 H 4", -8.0, 0.6, "recompute"),
]
OTHER = [
    row("w1", "O", "O 1 H 2", -20.00, 0.2, "accept"),
    row("w2", "O", "O 1 H 2", -20.30, 0.8, "recompute"),
    row("m", "C", "C 1 H 4", -15.0, 0.7, "recompute"),
    row("e", "CC", "C 2 H 6", -17.0, 0.35, "recompute"),
    refused("p", "CCC", "C 3 H 8"),
    refused("r", "[Fe]", "Fe 1"),
    refused("q", "[Na+]", "Na 1") | {"charge": 1},
]


@pytest.fixture
def folders(tmp_path):
    return screening(tmp_path / "one", ONE), screening(tmp_path / "other", OTHER)


@pytest.fixture
def pair(folders):
    return compare(*map(load, folders))


class TestByHand:
    def test_every_conformer_of_either_is_of_one_kind(self, pair):
        assert dict(pair.rows.select("conformer_id", "kind").iter_rows()) == {
            "w2": "accepted by one only",
            "e": "accepted by one only",
            "p": "refused by one only",
            "q": "refused by one only",
            "only": "in one only",
            "w1": "accepted by both",
            "m": "recomputed by both",
            "r": "refused by both",
        }

    def test_disagreements_come_first_the_largest_gap_in_p_before_others(self, pair):
        order = ["w2", "e", "p", "q", "only", "w1", "m", "r"]
        assert pair.rows["conformer_id"].to_list() == order

    def test_nothing_is_lost(self, pair):
        record = pair.record
        assert (record["n_both"], record["n_only_first"], record["n_only_second"]) == (7, 1, 0)
        assert sum(record["kinds"].values()) == 8 == pair.rows.height
        assert record["kinds"] == {
            **{"accepted by one only": 2, "refused by one only": 2, "in one only": 1},
            **{"accepted by both": 1, "recomputed by both": 1, "refused by both": 1},
        }

    def test_verdict_is_set_against_verdict(self, pair):
        none = dict.fromkeys(agreement.STATUSES, 0)
        assert pair.record["statuses"] == {
            "accept": none | {"accept": 1, "recompute": 2, "refused": 2},
            "recompute": none | {"recompute": 1, "absent": 1},
            "refused": none | {"refused": 1},
            "absent": none,
        }

    def test_each_row_has_the_answers_of_both(self, pair):
        (found,) = pair.rows.filter(conformer_id="w2").to_dicts()
        assert (found["first"], found["second"]) == ("one", "other")
        assert (found["molecule_id"], found["smiles"], found["n_atoms"]) == ("the w2", "O", 3)
        assert (found["verdict_first"], found["reason_first"]) == ("accept", "p 0.2")
        assert (found["verdict_second"], found["reason_second"]) == ("recompute", "p 0.8")
        assert (found["p_unreliable_first"], found["p_unreliable_second"]) == (0.2, 0.8)
        assert (found["energy_ev_first"], found["energy_ev_second"]) == (-10.1, -20.3)
        (alone,) = pair.rows.filter(conformer_id="only").to_dicts()
        assert (alone["verdict_first"], alone["verdict_second"]) == ("recompute", None)

    def test_energies_within_a_molecule_are_relative_to_its_mean(self, pair):
        found = pair.rows.filter(smiles="O").sort("conformer_id")
        assert found["relative_kcal_first"].to_list() == pytest.approx([0.05 / EV, -0.05 / EV])
        assert found["relative_kcal_second"].to_list() == pytest.approx([0.15 / EV, -0.15 / EV])
        others = pair.rows.filter(pl.col("smiles") != "O")
        assert others["relative_kcal_first"].null_count() == others.height
        relative = pair.record["relative"]
        assert (relative["n"], relative["n_molecules"]) == (2, 1)
        assert relative["median_kcal"] == pytest.approx(0.1 / EV)

    def test_the_ranks_of_p_are_correlated_over_what_both_answered(self, pair):
        """w1 1 and 1, w2 2 and 4, e 3 and 2, m 4 and 3: 1 - 6 (0 + 4 + 1 + 1) / (4 * 15)."""
        assert pair.record["p_unreliable"] == {"n": 4, "spearman": pytest.approx(0.4)}

    def test_with_few_molecules_there_is_no_shift_and_no_difference(self, pair):
        assert pair.record["shift"] is None
        assert pair.record["difference"] == {"n": 0, "median_kcal": None, "p95_kcal": None}
        assert pair.rows["difference_kcal"].null_count() == pair.rows.height

    def test_the_other_way_round_it_is_the_mirror_image(self, folders, pair):
        turned = compare(*map(load, reversed(folders)))
        assert turned.record["kinds"] == pair.record["kinds"]
        assert turned.record["n_only_second"] == 1
        assert turned.record["statuses"]["refused"]["accept"] == 2
        swapped = turned.rows.sort("conformer_id")
        assert swapped["verdict_second"].equals(pair.rows.sort("conformer_id")["verdict_first"])


SHIFT, CHARGE = {"C": 0.3, "H": -0.02, "O": 1.1}, 0.5
DEVIATION = {"a7": 3.0, "b4": -2.0}
"""kcal/mol by which a conformer's energies differ beyond that."""


class TestTheScale:
    """Alkanes and alcohols on two scales that differ by a shift per element and unit of charge."""

    @pytest.fixture
    def pair(self, tmp_path):
        names = [(f"{kind}{n}", kind, n) for kind in "abc" for n in range(1, 31)]
        first, second = [], []
        for name, kind, n in names:
            formula = f"C {n} H {2 * n + 2}" + (" O 1" if kind != "a" else "")
            charge = int(kind == "c")
            shift = sum(SHIFT[s] for s in ("C",) * n + ("H",) * (2 * n + 2))
            shift += SHIFT["O"] * (kind != "a") + CHARGE * charge
            energy = -1000.0 * n
            shifted = energy - shift - DEVIATION.get(name, 0.0) * EV
            for rows, value in ((first, energy), (second, shifted)):
                rows.append(row(name, name, formula, value, 0.5, "accept", charge=charge))
        rare = row("rare", "rare", "C 1 H 3 Cl 1", -3.0, 0.5, "accept")
        first.append(rare)
        second.append(rare | {"energy_ev": -1.0})
        return compare(
            *(
                load(screening(tmp_path / name, rows))
                for name, rows in {"one": first, "other": second}.items()
            )
        )

    def test_the_shift_is_found(self, pair):
        found = pair.record["shift"]
        assert found["per_element"] == pytest.approx(SHIFT, abs=2e-3)
        assert found["per_charge"] == pytest.approx(CHARGE, abs=2e-3)

    def test_what_is_left_is_what_no_shift_explains(self, pair):
        found = dict(pair.rows.select("conformer_id", "difference_kcal").iter_rows())
        wanted = dict.fromkeys(found, 0.0) | DEVIATION | {"rare": None}
        assert found.pop("rare") is wanted.pop("rare")
        assert found == pytest.approx(wanted, abs=0.05)

    def test_its_size_is_stated(self, pair):
        found = pair.record["difference"]
        assert found["n"] == 90
        assert found["median_kcal"] < 0.05

    def test_a_p_that_never_varies_correlates_with_nothing(self, pair):
        assert pair.record["p_unreliable"] == {"n": 91, "spearman": None}


class TestAgree:
    def test_it_writes_the_table_and_the_record(self, folders, tmp_path):
        (pair,) = agree(folders, tmp_path / "out")
        written = tables.frame(tmp_path / "out" / agreement.TABLE, schemas.AGREEMENT)
        assert written.equals(pair.rows)
        assert tables.read_json(tmp_path / "out" / agreement.RECORD) == {"pairs": [pair.record]}
        made = tables.provenance(tmp_path / "out" / agreement.TABLE)
        assert made["screenings"] == ["one", "other"]

    def test_of_three_every_two_are_compared(self, folders, tmp_path):
        third = screening(tmp_path / "third", OTHER)
        pairs = agree([*folders, third], tmp_path / "out")
        names = [(p.record["first"]["library"], p.record["second"]["library"]) for p in pairs]
        assert names == [("one", "other"), ("one", "third"), ("other", "third")]
        written = tables.frame(tmp_path / "out" / agreement.TABLE, schemas.AGREEMENT)
        assert written.height == 8 + 8 + 7
        alike = written.filter(first="other", second="third")
        assert not set(alike["kind"]) & set(list(agreement.KINDS)[:3])

    def test_libraries_of_no_conformer_agree(self, tmp_path):
        empty = [screening(tmp_path / name, []) for name in ("one", "other")]
        (pair,) = agree(empty, tmp_path / "out")
        assert sum(pair.record["kinds"].values()) == 0
        write_page([pair], tmp_path / "out" / agreement.PAGE)
        assert "No disagreement" in (tmp_path / "out" / agreement.PAGE).read_text()

    def test_one_alone_or_two_of_a_name_cannot_be_compared(self, folders, tmp_path):
        for given in (folders[:1], (folders[0], folders[0])):
            with pytest.raises(ProbeError, match=r"^one.*two or more screenings with names of"):
                agree(given, tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestWhatDoesNotAddUp:
    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"n_accept": 6}, "6 expected where the accepted rows are 5"),
            ({"n_recompute": 9}, "9 expected where the rows to recompute are 3"),
            ({"n_conformers": 7}, "7 expected where the different conformers are 8"),
            ({"n_refused": 0}, "0 expected where the refused conformers are 1"),
        ],
    )
    def test_a_summary_of_other_lists(self, tmp_path, changes, says):
        folder = screening(tmp_path / "one", ONE, **changes)
        with pytest.raises(ProbeError, match=f"one: {says}; run the triage again"):
            load(folder)

    def test_a_summary_of_an_older_version(self, tmp_path):
        folder = screening(tmp_path / "one", ONE)
        tables.write_json(folder / "summary.json", {"library": "one"})
        with pytest.raises(ProbeError, match=r"summary\.json: no n_conformers, .*triage again"):
            load(folder)

    def test_a_conformer_without_its_geometry(self, folders):
        path = folders[0] / "conformers/00000.parquet"
        tables.write(path, ONE[1:4], schemas.CONFORMERS, {})
        with pytest.raises(ProbeError, match=r"one: 4 expected where the geometries .* are 3"):
            compare(*map(load, folders))


class TestPage:
    @pytest.fixture
    def page(self, tmp_path):
        def written(*pairs):
            write_page(pairs, tmp_path / "page.html")
            return (tmp_path / "page.html").read_text()

        return written

    def test_it_has_the_counts_and_what_differs(self, page, pair):
        said = page(pair)
        assert "<b>7</b> conformers in both" in said
        assert "Accepted by one only: 2" in said
        assert "Refused by one only: 2" in said
        assert "No element is in 20 molecules" in said
        assert "+0.40" in said
        assert "Not one question" not in said

    def test_strangers_names_are_text_and_nothing_is_asked_from_elsewhere(self, tmp_path, page):
        rows = [ONE[1] | {"molecule_id": HOSTILE, "smiles": HOSTILE}]
        other = [rows[0] | {"verdict": "recompute", "reason": HOSTILE}]
        folders = screening(tmp_path / "a", rows), screening(tmp_path / "b", other)
        said = page(compare(*map(load, folders)))
        assert HOSTILE not in said
        assert said.count("&lt;img src=x") == 3
        assert "<script" not in said
        assert "http" not in said.replace("http-equiv", "").replace("http://www.w3.org", "")

    def test_two_boundaries_are_two_questions(self, tmp_path, page):
        one = screening(tmp_path / "one", ONE)
        other = screening(tmp_path / "other", OTHER, tolerance_kcal=0.75)
        said = " ".join(page(compare(load(one), load(other))).split())
        assert "error above 0.5 kcal/mol in one and above 0.75 kcal/mol in other" in said

    def test_two_policies_are_said_to_be_two(self, tmp_path, page):
        one = screening(tmp_path / "one", ONE)
        cutoffs = vars(Policy(accept_confidence=0.9))
        other = screening(tmp_path / "other", OTHER, cutoffs=cutoffs)
        assert "triaged with different settings" in page(compare(load(one), load(other)))

    def test_a_long_list_is_cut_and_says_so(self, tmp_path, page):
        rows = [ONE[0] | {"conformer_id": f"c{i:03}"} for i in range(LISTED + 1)]
        other = [given | {"verdict": "recompute"} for given in rows]
        folders = screening(tmp_path / "a", rows), screening(tmp_path / "b", other)
        said = page(compare(*map(load, folders)))
        assert f"The {LISTED} with the largest gap in p_unreliable" in said
        assert f"Accepted by one only: {LISTED + 1}" in said


def test_at_the_command_line_it_is_three_files_and_a_line(folders, tmp_path):
    words = ["agree", *map(str, folders), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "one and other: 8 conformers: 2 accepted by one only, 2 refused by one only, "
        "1 in one only, 1 accepted by both, 1 recomputed by both, 1 refused by both\n"
    )
    names = {agreement.TABLE, agreement.RECORD, agreement.PAGE}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
