"""The documentation: built without a warning, whole, and readable without a network."""

import os
import re
import runpy
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import click
import pytest
from bs4 import BeautifulSoup
from repository import ROOT

from probe import config
from probe.cli import main

REFERENCE = runpy.run_path(str(ROOT / "tools/reference.py"))
LOADED = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "srcset"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder of the site, and what mkdocs said."""
    site = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        check=False,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    return site, run


@pytest.fixture(scope="module")
def pages(built):
    """Every page, parsed, by its file; the error page is for servers."""
    found = {path: path for path in built[0].rglob("*.html") if path.name != "404.html"}
    return {path: BeautifulSoup(path.read_text("utf-8"), "html.parser") for path in found}


@pytest.fixture(scope="module")
def page(built, pages):
    return lambda name: pages[built[0] / name]


def rows(page):
    """Cells of every row under every heading of second rank; before the first it is ""."""
    found, heading = {"": []}, ""
    for element in page.article.find_all(["h2", "tr"]):
        if element.name == "h2":
            heading = element.get_text().rstrip("¶")
            found[heading] = []
        elif cells := [cell.get_text() for cell in element.find_all("td")]:
            found[heading].append(cells)
    return found


def commands(command, path):
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}")


def test_it_builds_without_a_warning(built):
    _, run = built
    assert run.returncode == 0, run.stderr
    assert "Documentation built" in run.stderr
    assert "WARNING" not in run.stderr


def test_the_navigation_leads_to_every_page(built, pages, page):
    site, _ = built
    links = page("index.html").select("nav.md-nav a.md-nav__link[href]")
    named = {(site / urlsplit(link["href"]).path).resolve() for link in links}
    assert len(pages) > 15
    assert set(pages) - {site / "index.html"} <= named


def test_every_link_leads_somewhere(pages):
    dead = []
    for path, page in pages.items():
        for link in page.find_all(href=True) + page.find_all(src=True):
            url = urlsplit(link.get("href") or link.get("src"))
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            if not target.is_file() or (
                url.fragment
                and target in pages
                and not pages[target].find(id=unquote(url.fragment))
            ):
                dead.append((path.name, link.get("href") or link.get("src")))
    assert not dead


def test_every_key_of_the_configuration_is_in_the_reference(page):
    told = {row[0]: row for found in rows(page("reference/config.html")).values() for row in found}
    columns = set(config.schema("libraries")["properties"])
    assert set(told) == set(config.keys()) | columns
    assert all(row[-1] for row in told.values())


def test_every_column_of_every_table_is_in_the_reference_and_explained(page):
    told = rows(page("reference/tables.html"))
    schemas = REFERENCE["tables"]()
    assert set(REFERENCE["TITLES"]) == set(schemas)
    for name, title in REFERENCE["TITLES"].items():
        assert [row[0] for row in told[title]] == schemas[name].names
        assert all(kind and meaning for _, kind, meaning in told[title])
    assert "(results/<library>/dft/*.parquet)" in page("reference/tables.html").get_text()


def test_a_column_means_what_stands_beside_it_or_beside_the_one_it_was_taken_from():
    text = '''
FIRST = pa.schema(
    [
        ("a", _string),  # one
        ("b", _string),  # two
    ]
)
"""The first."""

SECOND = pa.schema(
    [
        *(field for field in FIRST if field.name != "b"),
        ("b", _string),  # another
        ("c", _string),  # three
    ]
)
"""The second."""

THIRD = pa.schema([("c", _string), *SECOND])
"""The third."""
'''
    about, told = REFERENCE["_read"](text)
    assert about["SECOND"] == "The second."
    assert told["FIRST"] == {"a": "one", "b": "two", "c": "three"}
    assert told["SECOND"] == told["THIRD"] == {"a": "one", "b": "another", "c": "three"}


def test_every_command_is_in_the_reference(page):
    found = page("reference/commands.html").article.find_all("h2")
    assert [heading.get_text().rstrip("¶") for heading in found] == list(commands(main, "probe"))


def test_no_page_loads_anything_over_the_network(built, pages):
    loaded = [
        element[attribute]
        for page in pages.values()
        for name, attribute in LOADED.items()
        for element in page.find_all(name, attrs={attribute: True})
    ]
    assert len(loaded) > len(pages)
    styles = [path.read_text("utf-8") for path in built[0].rglob("*.css")]
    styles += [style.get_text() for page in pages.values() for style in page.find_all("style")]
    loaded += [url for style in styles for url in re.findall(r"url\([\"']?([^)\"']*)", style)]
    assert not [url for url in loaded if url.startswith(("http:", "https:", "//"))]
