"""Writes the tables of docs/evidence.md from what `probe compare` measured.

    python tools/evidence.py models/compare/compare.json [MORE.json ...] docs/evidence.md

In the page a table stands between `<!-- table SPLIT TOLERANCE -->` and `<!-- end -->`; SPLIT is one
of random, scaffold and size for all peers, `elements` or `sizes` for a row each, or `coverage` for
the cutoffs of PROBE. What lies between is written anew; the rest of the page is left as it is.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Standing = dict[str, Any]
Table = Callable[[list[Standing]], list[list[str]]]

AT = {"boundary": "boundary", "1kcal": "1.0 kcal/mol"}
OURS = "probe"


def value(figure: Standing) -> str:
    """A figure with its interval."""
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def difference(standing: Standing) -> str:
    """AUROC less PROBE's, with its interval."""
    if standing["peer"] == OURS or not standing["difference"]:
        return ""
    found = standing["difference"]["auroc"]
    told = f"{found['value']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"
    return told.replace("-", "−")


def name(standing: Standing) -> str:
    """The peer; ours stands out."""
    return f"**{OURS}**" if standing["peer"] == OURS else str(standing["peer"])


def of_peers(found: list[Standing]) -> list[list[str]]:
    """A row for each peer, the best first."""
    apart = f"AUROC less {OURS}'s"
    rows = [
        ["peer", "seeds", "accuracy", "MCC", "AUROC", apart, "ECE (by chance)", "Brier", "AURC"]
    ]
    for one in sorted(found, key=_rank, reverse=True):
        figures = one["figures"]
        rows.append(
            [
                *(name(one), str(one["n_seeds"]), value(figures["accuracy"])),
                *(f"{figures['mcc']['value']:.3f}", value(figures["auroc"]), difference(one)),
                f"{figures['ece']['value']:.3f} ({one['ece_chance']:.3f})",
                *(f"{figures[key]['value']:.3f}" for key in ("brier", "aurc")),
            ]
        )
    return rows


def _rank(standing: Standing) -> float:
    apart = standing["difference"]
    return float(apart["auroc"]["value"]) if apart and standing["peer"] != OURS else 0.0


def by(column: str, title: str) -> Table:
    """AUROC with a row for each value of ``column`` and a column for each peer."""

    def table(found: list[Standing]) -> list[list[str]]:
        rows: dict[Any, dict[str, Standing]] = {}
        for one in sorted(found, key=lambda one: one["n_fit"]):
            rows.setdefault(one[column], {})[one["peer"]] = one
        everywhere = set.intersection(*map(set, rows.values()))
        peers = sorted(everywhere, key=lambda peer: (peer != OURS, peer))
        return [
            [title, "fitted to", "tested on", *peers],
            *(
                [
                    str(key or "all").removeprefix("element-"),
                    *(str(row[OURS][count]) for count in ("n_fit", "n_test")),
                    *(value(row[peer]["figures"]["auroc"]) for peer in peers),
                ]
                for key, row in rows.items()
            ),
        ]

    return table


def of_cutoffs(found: list[Standing]) -> list[list[str]]:
    """PROBE's answers at least so confident: how many, and how many of them are right."""
    ours = next(one for one in found if one["peer"] == OURS)
    keys = ("coverage", "accuracy", "accepted", "accepted_unreliable")
    return [
        ["confidence", "share of conformers", "accuracy", "accepted", "unreliable among them"],
        *(
            [f"{row['cutoff']:g}", *(_percent(row[key]) for key in keys)]
            for row in ours["coverage"]
        ),
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


TABLES: dict[str, tuple[Callable[[Standing], bool], Table]] = {
    **{
        split: (lambda one, s=split: one["split"] == s and one["size"] is None, of_peers)
        for split in ("random", "scaffold", "size")
    },
    "coverage": (lambda one: one["split"] == "random" and one["size"] is None, of_cutoffs),
    "elements": (lambda one: one["split"].startswith("element"), by("split", "without")),
    "sizes": (lambda one: one["split"] == "random", by("size", "labels")),
}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; the first row is its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def filled(page: str, standings: Iterable[Standing]) -> str:
    """``page`` with its tables written anew."""
    known = list(standings)

    def table(found: re.Match[str]) -> str:
        chosen, tolerance = found["split"], AT[found["tolerance"]]
        picks, made = TABLES[chosen]
        rows = made([one for one in known if one["tolerance"] == tolerance and picks(one)])
        return f"<!-- table {chosen} {found['tolerance']} -->\n\n{markdown(rows)}\n\n<!-- end -->"

    pattern = r"<!-- table (?P<split>\w+) (?P<tolerance>\w+) -->.*?<!-- end -->"
    return re.sub(pattern, table, page, flags=re.DOTALL)


def main(*paths: Path) -> None:
    """Fill the last of ``paths`` with what the others hold."""
    *measured, page = paths
    standings = [one for path in measured for one in json.loads(path.read_text())["standings"]]
    page.write_text(filled(page.read_text(encoding="utf-8"), standings), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
