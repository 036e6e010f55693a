"""What mkdocs adds to docs/: the reference, and the files of the repository that pages link to.

A hook of mkdocs.yml. The reference is made of the schemas as the site is built. A linked Markdown
file outside docs/ becomes a page under repository/, any other file is copied there, so that every
link of the site leads to something without a network.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import reference  # beside this file; mkdocs puts the folder of a hook on the path
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BESIDE = "repository"

LINK = re.compile(r"(?<=\]\()(?!#|[a-z]+:)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the reference and, from page to page, what is linked to outside docs/."""
    for name, page in reference.pages().items():
        files.append(File.generated(config, f"reference/{name}", content=page))
    waiting = [
        (_origin(file.src_uri), file.content_string)
        for file in files.documentation_pages()
        if file.src_uri.endswith(".md")
    ]
    while waiting:
        for path in _linked(*waiting.pop()):
            uri = _uri(path)
            if files.get_file_from_path(uri) is None and path.is_file():
                files.append(File.generated(config, uri, abs_src_path=str(path)))
                if path.suffix == ".md":
                    waiting.append((path, path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository as links of the site."""
    del config, files
    here = page.file.src_uri
    origin = _origin(here).parent

    def moved(link: re.Match[str]) -> str:
        target = _uri(Path(os.path.normpath(origin / link[1])))
        return os.path.relpath(target, Path(here).parent)

    return LINK.sub(moved, markdown)


def _linked(origin: Path, markdown: str) -> Iterator[Path]:
    for link in LINK.findall(markdown):
        yield Path(os.path.normpath(origin.parent / link))


def _origin(uri: str) -> Path:
    """The file of the repository that is ``uri`` on the site."""
    beside = f"{BESIDE}/"
    return ROOT / uri.removeprefix(beside) if uri.startswith(beside) else DOCS / uri


def _uri(path: Path) -> str:
    """Where the site has ``path``; a folder is its README."""
    path = path / "README.md" if path.is_dir() else path
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    return f"{BESIDE}/{path.relative_to(ROOT).as_posix()}"
