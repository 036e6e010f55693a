"""The libraries that lie in a watched folder: each file and each folder in it is one."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probe.config import Library, name_of
from probe.errors import ProbeError
from probe.library import formats, sources


@dataclass(frozen=True)
class Watched:
    """What is in a watched folder: libraries by name, and why anything else is left out."""

    libraries: Mapping[str, Library]
    left_out: Mapping[str, str]


def libraries(
    config: Mapping[str, Any],
    known: Mapping[str, Library],
    root: Path,
    plan: Callable[[str, Library], object],
    *,
    settle: float | None = None,
) -> Watched:
    """The libraries of the folder that ``config`` (checked) watches, without those ``known``.

    One that cannot be read or named, or that changed within ``settle`` seconds (by default the
    configuration's: it may still be on its way), is left out and stops no other. ``plan`` is
    what raises a ProbeError for a library that cannot be read. Names that begin with a dot are
    passed over.

    Raises:
        ProbeError: there is no such folder.
    """
    if config["watch"] is None or config["library"] is not None:
        return Watched({}, {})
    wait = config["watch_settle"] if settle is None else settle
    left_out: dict[str, str] = {}
    called: dict[str, list[Path]] = {}
    listed = {library.path.resolve() for library in known.values()}
    for path in _entries(str(config["watch"]), root):
        if path.resolve() not in listed:
            with _noted(path, left_out):
                called.setdefault(_name(path), []).append(path)
    found: dict[str, Library] = {}
    for name, path in ((name, path) for name, paths in called.items() for path in paths):
        with _noted(path, left_out):
            others = [known[name].path] if name in known else called[name]
            _require_alone(path, name, others)
            _require_settled(path, wait)
            library = Library(path, config["backbone"], config["checkpoint"])
            plan(name, library)
            found[name] = library
    return Watched(found, left_out)


@contextmanager
def _noted(path: Path, left_out: dict[str, str]) -> Iterator[None]:
    """Why ``path`` is left out, if it turns out so within, is noted."""
    try:
        yield
    except ProbeError as error:
        left_out[str(path)] = str(error)
    except OSError as error:  # a link to nowhere, or a file that was there a moment ago
        left_out[str(path)] = f"{path}: cannot be read ({error.strerror})"


def _entries(folder: str, root: Path) -> Iterator[Path]:
    place = root / folder
    if not place.is_dir():
        raise ProbeError(
            f"config key watch: {folder}: no such folder; paths are absolute or start where the "
            "run starts"
        )
    yield from (path for path in sorted(place.iterdir()) if not path.name.startswith("."))


def _name(path: Path) -> str:
    """The name of the library ``path``.

    Raises:
        ProbeError: it is of no known format, or cannot be named.
    """
    if path.is_file():
        formats.format_of(path)
    return name_of(str(path), "watch")


def _require_alone(path: Path, name: str, called: Sequence[Path]) -> None:
    """Raise ProbeError if another of those ``called`` ``name`` is not ``path``.

    Both are left out: which of them the results of that name are of, only the user can tell.
    """
    for other in called:
        if other != path:
            raise ProbeError(
                f"{path}: {other} is called {name}, too; rename one of the two, or give each a "
                "row of the table of libraries"
            )


def _require_settled(path: Path, wait: float) -> None:
    """Raise ProbeError if ``path`` changed within ``wait`` seconds."""
    changed = max(file.stat().st_mtime for file, _ in sources.find(path)[0])
    if (age := time.time() - changed) < wait:
        raise ProbeError(f"{path}: changed {max(age, 0):.0f} s ago; left for the next run")
