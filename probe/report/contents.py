"""The sections of the report, in the order in which a chemist decides.

To add one: a template ``sections/<name>.html``, which finds what its function returned as
``content``, and a line in ``SECTIONS``. A function that returns None leaves its section out; what
it returns under ``data`` reaches the page's scripts as JSON, under the section's name; the files
that it names under ``scripts`` run in the page, after ``report.js``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from probe.report import (
    changes_section,
    decision,
    descriptors,
    drawings,
    enrichment,
    explorer,
    facts,
    map_figures,
    motifs,
    reliability,
)
from probe.report.material import Material

REJECTS_IN_PAGE = 200

Content = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A section of the page: its anchor, its word in the navigation, and what it is made by."""

    name: str
    link: str
    make: Callable[[Material], Content | None]


@dataclass(frozen=True)
class Filled:
    """A section with its content, as the page's template takes it."""

    anchor: str
    link: str
    template: str
    content: Content


def filled(material: Material) -> Iterator[Filled]:
    """The sections that the library gives something to say in, in their order."""
    for section in SECTIONS:
        content = section.make(material)
        if content is not None:
            template = f"sections/{section.name}.html"
            yield Filled(section.name, section.link, template, content)


def _counts(material: Material) -> Content:
    screening = material.screening
    return {
        "rejected": screening.rejected.slice(0, REJECTS_IN_PAGE).to_pylist(),
        "meaning": facts.REASONS,
        "outside": facts.outside(screening, material.elements),
    }


def _worst(material: Material) -> Content:
    return {"drawings": drawings.worst(material.screening)}


SECTIONS = (
    # what came in
    Section("counts", "Counts", _counts),
    # how much can be accepted
    Section("decision", "Decision", decision.section),
    # where it fails
    Section("umap", "Map", explorer.section),
    Section("elements", "Elements", map_figures.section),
    Section("enrichment", "Enrichment", enrichment.section),
    # why
    Section("worst", "Worst molecules", _worst),
    Section("motifs", "Motifs", motifs.section),
    # what goes with it
    Section("descriptors", "Descriptors", descriptors.section),
    # how far to trust it, and what it was made with
    Section("card", "Model card", reliability.section),
    Section("changes", "Changes", changes_section.section),
)
