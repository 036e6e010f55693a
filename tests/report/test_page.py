"""The report as a whole: one offline page that shows the counts and no stranger's markup."""

import base64
import re
import shlex
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from plotly.offline import get_plotlyjs
from report_library import ENDS_SCRIPT, HOSTILE, data_of, library, refused, unpacked

from probe import tables
from probe.classifier.risk import Promise
from probe.errors import ProbeError
from probe.report import page, rendering
from probe.report.page import write_report
from probe.triage.policy import Policy

FIGURES = [
    *("decision", "descriptors", "elements", "enrichment", "motifs", "reliability"),
    "umap",
]


class Reader(HTMLParser):
    """Collects the text, the tags and what the tags refer to."""

    def __init__(self):
        super().__init__()
        self.text, self.tags, self.references, self.inside = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.inside = tag
        self.tags.append((tag, dict(attrs)))
        self.references += [v for k, v in attrs if k in {"src", "href", "xlink:href", "action"}]

    def handle_endtag(self, tag):  # noqa: ARG002
        self.inside = ""

    def handle_data(self, data):
        if self.inside not in {"script", "style"}:
            self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.said = re.sub(r"\s+", " ", " ".join(reader.text))
    return reader


def markup(html):
    """``html`` without its scripts."""
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def report(made, folder, **options):
    inputs = made.write(folder, **options)
    write_report(inputs, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8"), inputs


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    made = library()
    made.rejected = [
        {"source": "demo.smi:62", "reason": "valence of N1 is 5", "molecule_id": HOSTILE},
        {"source": "demo.smi:63", "reason": f"cannot read {HOSTILE}", "molecule_id": None},
    ]
    return report(made, tmp_path_factory.mktemp("demo"))


def test_the_counts_are_shown_and_add_up(demo):
    html, inputs = demo
    summary = tables.read_json(inputs.triage / "summary.json")
    said = read(html).said
    assert "63 records read = 61 ingested + 2 rejected" in said
    assert "61 ingested = 61 different conformers + 0 duplicates" in said
    flow = f"61 conformers = {summary['n_accept']} accepted + {summary['n_recompute']} to recompute"
    assert flow in said
    for reason, n in summary["reasons"].items():
        assert re.search(rf"{reason}: [^0-9]* {n} ", said)


def test_rejects_are_listed_with_source_and_reason(demo):
    said = read(demo[0]).said
    assert f"demo.smi:62 {HOSTILE} valence of N1 is 5" in said
    assert f"demo.smi:63 cannot read {HOSTILE}" in said


def test_what_lies_outside_the_calibration_domain_is_counted(demo):
    html, inputs = demo
    summary = tables.read_json(inputs.triage / "summary.json")
    said = read(html).said
    assert f"size at most 30 atoms {summary['n_beyond_size']} " in said
    assert "latent distance 99 % of it within 6.5 0 0.0 %" in said
    assert "elements C, H, N, O, Cl, S, F, Br, P, Si (in 20 or more molecules each) 6 9.8 %" in said


def test_nothing_is_asked_from_elsewhere(demo):
    reader = read(demo[0])
    assert all(ref.startswith(("#", "data:")) for ref in reader.references)
    assert not re.search(r"url\((?!#|data:)|@import", markup(demo[0]))
    tags = {tag for tag, _ in reader.tags}
    assert not tags & {"link", "iframe", "object", "embed", "img", "base"}


def test_strangers_names_are_text(demo):
    html, _ = demo
    reader = read(html)
    assert "<img src=x" not in html
    assert ENDS_SCRIPT not in html
    assert HOSTILE in reader.said
    names = unpacked(data_of(html)["umap"]["sample"])["name"]
    assert HOSTILE in names
    assert ENDS_SCRIPT in names


def test_the_policy_lets_the_page_run_its_own_scripts_and_no_others(demo):
    html, _ = demo
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert scripts[0] == (page.FOLDER / "report.js").read_text(encoding="utf-8")
    assert get_plotlyjs() in scripts
    digests = [base64.b64encode(sha256(text.encode()).digest()).decode() for text in scripts]
    policy = html[html.index("script-src") : html.index('">', html.index("script-src"))]
    assert re.findall(r"'sha256-([^']+)'", unescape(policy)) == digests
    assert sum(tag == "script" for tag, _ in read(html).tags) == len(scripts) + 1  # the data


def test_tables_and_figures_say_what_they_are(demo):
    reader = read(demo[0])
    counts = {name: sum(tag == name for tag, _ in reader.tags) for name in ("table", "caption")}
    assert counts["table"] == counts["caption"] > 5
    assert all("scope" in attributes for tag, attributes in reader.tags if tag == "th")
    for tag, attributes in reader.tags:
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_ids_are_unique_and_all_that_is_referred_to_is_there(demo):
    html = markup(demo[0])
    ids = [attributes["id"] for _, attributes in read(html).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^)"]+)', html)) <= set(ids)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_also_a_file(demo, name):
    _, inputs = demo
    assert (inputs.figures / f"{name}.svg").read_text().lstrip().startswith("<?xml")
    assert (inputs.figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_slider_knows_the_accept_list(demo):
    html, inputs = demo
    summary = tables.read_json(inputs.triage / "summary.json")
    data = data_of(html)["decision"]
    assert data["accept"][60] == summary["n_accept"]
    total = data["accept"][60] + data["between"][60] + data["recompute"][60]
    assert total == summary["n_conformers"]


def test_a_small_calibration_set_is_called_small(demo):
    assert "A small calibration set: the checkpoint learned from 415" in read(demo[0]).said


def test_twelve_worst_molecules_are_drawn(demo):
    html, _ = demo
    part = html[html.index('id="worst"') :]
    part = part[: part.index("</section>")]
    assert part.count("<svg") == 12


@pytest.mark.parametrize("smiles", [[], ["CCO"], ["CCO", "CC"], ["C", "CC", "CO", "CN", "CF"]])
def test_a_tiny_library_still_has_a_report(tmp_path, smiles):
    html, inputs = report(library(smiles), tmp_path)
    said = read(html).said
    assert f"{len(smiles)} conformers =" in said
    assert "No map: it takes at least 10 different" in said
    assert sorted(path.stem for path in inputs.figures.glob("*.png")) == FIGURES


def test_a_library_of_no_records_says_so_and_what_to_do(tmp_path):
    said = read(report(library([]), tmp_path)[0]).said
    assert "The library has no records: nothing was read" in said
    assert "write its file again and repeat the screening" in said


def test_a_library_refused_as_a_whole_still_has_a_report(tmp_path):
    made = library(["CCO", "CC"])
    made.scores = [refused(row) for row in made.scores]
    said = read(report(made, tmp_path)[0]).said
    assert "No conformer of this library was scored: there is nothing to accept" in said
    assert "2 conformers = 0 accepted + 2 to recompute" in said


def test_a_card_without_metrics_is_said_to_be_so(tmp_path):
    made = library(["CCO", "CC"])
    for key in ("held_out", "training"):
        del made.card[key]
    said = read(report(made, tmp_path)[0]).said
    assert "The checkpoint's card states no held-out metrics." in said
    assert "The checkpoint's card states no held-out coverage." in said
    assert "A small calibration set" not in said


def test_wrong_counts_leave_no_report(tmp_path):
    inputs = library(["CCO", "CC"]).write(tmp_path)
    path = inputs.triage / "summary.json"
    tables.write_json(path, tables.read_json(path) | {"n_records": 17})
    with pytest.raises(ProbeError, match="says 17"):
        write_report(inputs, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


RISK = Policy(policy="risk", tolerance_kcal=1.0)
FEW = ["CCO", "CO", "c1ccccc1", "CCN", "ClC(Cl)Cl", "CI"]


def test_a_promise_is_shown_with_what_lies_outside_it(tmp_path):
    promised = Promise(0.1, 0.9, 0.25, 300, 120, 6, 0.086, 22)
    html, inputs = report(library(FEW), tmp_path, policy=RISK, promised=promised)
    summary = tables.read_json(inputs.triage / "summary.json")
    said = read(html).said
    assert summary["statement"] in said
    assert "6 of 120 calibration molecules" in summary["statement"]
    assert summary["n_outside"] == 1
    assert "In one respect or more 16.7 % of the library lies outside; 0 of these" in said
    assert "Policy risk Largest unreliable share promised 0.1 Confidence of the promise 0.9" in said
    assert "Accepted from confidence" not in said
    assert "at the checkpoint's boundary of 0.87 kcal/mol" in said
    assert "the probability of an error above 1." in said


def test_no_promise_is_shown_and_that_nothing_is_accepted(tmp_path):
    promised = Promise(0.1, 0.9, None, 15, 0, 0, None, 22)
    html, _ = report(library(FEW), tmp_path, policy=RISK, promised=promised)
    said = read(html).said
    assert "Nothing is accepted: no cutoff promises" in said
    assert "it holds 15 molecules that may be accepted" in said
    assert "no promise: no cutoff on p_unreliable keeps the promise" in said
    assert "This run accepts nothing." in said


def test_a_budget_is_shown(tmp_path):
    html, _ = report(library(FEW), tmp_path, policy=Policy(policy="budget", budget_core_hours=50))
    said = read(html).said
    assert "Budget of 50 core-hours: the 2 to recompute by other rules" in said
    assert "budget: the highest p_unreliable that the budget pays for" in said
    assert "Policy budget Budget 50 core-hours" in said


def test_cutoffs_at_the_boundary_say_nothing_of_promises(demo):
    said = read(demo[0]).said
    assert "Policy cutoff Accepted from confidence 0.6" in said
    assert "Nothing is accepted" not in said
    assert "at the checkpoint's boundary" not in said


def test_molecules_of_several_conformers_are_judged_as_molecules(tmp_path):
    made = library(["CCO", "CC"])
    first, inputs = report(made, tmp_path)
    assert "Judged as molecules" not in first
    path = inputs.triage / "summary.json"
    counts = {
        **{"n_molecules": 5, "n_molecules_several": 3},
        **{"n_molecules_accept": 1, "n_molecules_recompute": 4},
    }
    tables.write_json(path, tables.read_json(path) | counts)
    write_report(inputs, tmp_path / "report.html")
    said = read((tmp_path / "report.html").read_text()).said
    assert "are of 5 molecules, 3 of them with several. Judged as molecules, 1 are accepted" in said


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 10, "0.0 %"), (1, 3, "33.3 %"), (1, 10_000, "< 0.1 %"), (9999, 10_000, "> 99.9 %"),
     (10, 10, "100.0 %"), (0, 0, "–")],
)  # fmt: skip
def test_shares_are_never_rounded_to_nothing_or_all(part, whole, text):
    assert rendering.share(part, whole) == text


def test_json_cannot_end_its_script():
    assert page.as_json(["</script>", "&lt;"]) == '["\\u003c/script\\u003e","\\u0026lt;"]'


def test_the_command_that_selects_can_be_pasted_into_a_shell(tmp_path):
    html, inputs = report(library(), tmp_path / "it's here")
    command = data_of(html)["umap"]["command"]
    assert shlex.split(command) == ["probe", "select", str(inputs.triage)]
