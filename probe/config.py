"""The configuration and the table of libraries, checked where they enter.

What is allowed stands in workflow/schemas; here it is read and what is wrong is put into words.
"""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from probe.errors import ProbeError
from probe.library import formats, sources
from probe.triage.policy import Policy

SCHEMAS = Path(__file__).resolve().parents[1] / "workflow" / "schemas"
HELP = "config/README.md names every key"

_KINDS = {
    "object": "a section of keys",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "null": "null",
}


@dataclass(frozen=True)
class Library:
    """A library file, and what it is screened with."""

    path: Path
    backbone: str
    """A name of resources/backbones.yaml."""
    checkpoint: str
    """A name under resources/probe, or a folder."""


@cache
def schema(name: str) -> dict[str, Any]:
    """The schema ``name`` ("config" or "libraries") of workflow/schemas.

    Raises:
        ProbeError: the package does not run from a checkout, where the schemas are.
    """
    path = SCHEMAS / f"{name}.schema.yaml"
    try:
        content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProbeError(f"{path}: no such file; install probe from a checkout with -e") from error
    return content


def check(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with the default of every key that it leaves out.

    Numbers and nulls that arrive as text are read as such: ``snakemake --config`` hands over
    everything within a section as text.

    Raises:
        ProbeError: unknown keys, wrong types, values out of range (one line names all of them),
            or keys of the triage that do not go together.
    """
    definition = schema("config")
    completed = _completed(config, definition)
    errors = Draft202012Validator(definition).iter_errors(completed)
    problems = [line for error in errors for line in _problems(error)]
    if problems:
        raise ProbeError(" | ".join(problems))
    checked = dict(cast("Mapping[str, Any]", completed))
    Policy(**checked["triage"])
    return checked


def load(path: Path) -> dict[str, Any]:
    """The configuration in the file ``path``, as it stands there; ``check`` it.

    Raises:
        ProbeError: it is not there, or holds no keys in YAML.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProbeError(f"{path}: no such file; name the configuration with --config") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProbeError(f"{path}: not readable as YAML; mend the configuration") from error
    if not isinstance(content, dict):
        raise ProbeError(f"{path}: holds no keys; {HELP}")
    return content


def keys() -> list[str]:
    """Every key of the configuration as ``section.key``, sections themselves left out."""
    return list(_leaves(schema("config")))


def libraries(config: Mapping[str, Any], root: Path) -> dict[str, Library]:
    """Every library that ``config`` (checked) asks for, by name; paths under ``root``.

    Raises:
        ProbeError: the table or a row of it is wrong, or a library's file is missing.
    """
    if config["library"] is None:
        return _table(config, root)
    path = str(config["library"])
    _require_library(root / path, f"config key library: {path}")
    library = Library(root / path, config["backbone"], config["checkpoint"])
    return {name_of(path, "library"): library}


def same_file(libraries: Mapping[str, Library]) -> dict[str, str]:
    """For every library, the name of the first one that is the same file; often its own."""
    first: dict[Path, str] = {}
    return {
        name: first.setdefault(library.path.resolve(), name) for name, library in libraries.items()
    }


def comparable(libraries: Mapping[str, Library]) -> list[tuple[str, ...]]:
    """Names of the libraries that are one file, screened in different ways: two or more each.

    Of several that are screened in the same way, the first is named.
    """
    ways: dict[str, dict[tuple[str, str], str]] = {}
    for name, first in same_file(libraries).items():
        way = libraries[name].backbone, libraries[name].checkpoint
        ways.setdefault(first, {}).setdefault(way, name)
    return [tuple(names.values()) for names in ways.values() if len(names) > 1]


def name_of(path: str, key: str) -> str:
    """A name for results out of that of the file ``path``: its stem, what is odd a hyphen.

    Of a pattern it is that of its innermost part without a wildcard, if there is one.

    Raises:
        ProbeError: nothing is left; ``key`` of the configuration names the file.
    """
    file = Path(path)
    fixed = [part for part in file.parts if not sources.is_pattern(Path(part))]
    plain = file if file.exists() or len(fixed) == len(file.parts) or not fixed else Path(fixed[-1])
    stem = formats.stem(plain) if formats.is_known(plain) else plain.name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-").rstrip("-.")
    if not name:
        raise ProbeError(f"config key {key}: no name can be made of {path}; rename the file")
    return name


def _completed(value: object, definition: Mapping[str, Any]) -> object:
    kind = definition.get("type", "")
    if kind != "object":
        return _scalar(value, kind)
    if not isinstance(value, Mapping):
        return value
    given = {str(key): item for key, item in value.items()}
    known = definition["properties"]
    return given | {
        key: _completed(given.get(key, inner["default"]), inner) for key, inner in known.items()
    }


def _scalar(value: object, kind: str | Sequence[str]) -> object:
    if "null" in _types(kind) and value == "null":
        return None
    if not {"number", "integer"} & _types(kind) or not isinstance(value, str | float):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if not math.isfinite(number):  # it could pass the range
        return str(number)
    return int(number) if number.is_integer() else number


def _types(kind: str | Sequence[str]) -> set[str]:
    return {kind} if isinstance(kind, str) else set(kind)


def _problems(error: ValidationError) -> Iterator[str]:
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        for name in sorted(set(error.instance) - set(error.schema["properties"])):
            yield _unknown(f"{key}.{name}" if key else name)
    else:
        yield f"{key or 'config'} must {_demand(error)}, got {_shown(error.instance)}"


def _unknown(key: str) -> str:
    known = keys()
    if key in known:
        return f"config key {key} is unknown at the top; write it inside its section"
    sections = [*schema("config")["properties"], *known]
    nearest = (
        [name for name in known if _leaf(name) == _leaf(key)]
        or difflib.get_close_matches(key, sections, n=1)
        or [name for name in known if difflib.get_close_matches(_leaf(key), [_leaf(name)])]
    )
    advice = f"did you mean {' or '.join(nearest)}?" if nearest else HELP
    return f"config key {key} is unknown; {advice}"


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _demand(error: ValidationError) -> str:
    definition = error.schema
    if error.validator == "enum":
        *most, last = definition["enum"]
        return f"be {', '.join(most)} or {last}"
    if error.validator in ("minimum", "maximum"):
        low, high = definition["minimum"], definition.get("maximum")
        return f"be at least {low}" if high is None else f"be between {low} and {high}"
    if error.validator == "minLength":
        return "not be empty"
    kinds = definition["type"]
    return "be " + " or ".join(
        _KINDS[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)
    )


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a section of keys"
    if value is None or isinstance(value, bool):
        return str(yaml.safe_dump(value)).split()[0]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _leaves(definition: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, inner in definition["properties"].items():
        if inner.get("type") == "object":
            yield from _leaves(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _table(config: Mapping[str, Any], root: Path) -> dict[str, Library]:
    path = str(config["libraries"])
    found: dict[str, Library] = {}
    for number, row in _rows(path, root):
        where, name = f"{path}:{number}", row["library"]
        if not re.fullmatch(schema("libraries")["properties"]["library"]["pattern"], name):
            raise ProbeError(
                f"{where}: library name {name!r} cannot be a folder's; use letters, digits, dot, "
                "hyphen and underscore, the first a letter or a digit"
            )
        if name in found:
            raise ProbeError(f"{where}: library {name} is there twice; give each row its own name")
        if not row["path"]:
            raise ProbeError(f"{where}: library {name} has no path; write its file's")
        _require_library(root / row["path"], f"{where}: {row['path']}")
        chosen = (row.get(key) or config[key] for key in ("backbone", "checkpoint"))
        found[name] = Library(root / row["path"], *chosen)
    if not found and config["watch"] is None:
        raise ProbeError(f"{path}: no library in it; add a row, or set the config key library")
    return found


def _rows(path: str, root: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of every row under the header of the table ``path``."""
    lines = [
        (number, [cell.strip() for cell in line.split("\t")])
        for number, line in enumerate(_text(path, root).splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    number, header = lines[0] if lines else (1, [])
    _check_header(header, f"{path}:{number}")
    required = schema("libraries")["required"]
    for number, cells in lines[1:]:
        # editors cut the tabs at the end of a line, and with them cells that say nothing
        cut = header[len(cells) :]
        if len(cells) > len(header) or set(cut) & set(required):
            raise ProbeError(
                f"{path}:{number}: {len(cells)} cells where {len(header)} are expected; "
                "separate them by one tab"
            )
        yield number, dict(zip(header, [*cells, *("" for _ in cut)], strict=True))


def _check_header(header: Sequence[str], where: str) -> None:
    known, required = schema("libraries")["properties"], schema("libraries")["required"]
    optional = [column for column in known if column not in required]
    for column in set(header) - set(known):
        if near := difflib.get_close_matches(column, known, n=1):
            raise ProbeError(f"{where}: column {column} is unknown; did you mean {near[0]}?")
    once = len(set(header)) == len(header)
    if not (once and set(required) <= set(header) <= set(known)):
        raise ProbeError(
            f"{where}: the columns are {', '.join(header) or 'missing'}; the first line must have "
            f"{' and '.join(required)}, and may have {' and '.join(optional)}, separated by tabs"
        )


def _text(path: str, root: Path) -> str:
    try:
        return (root / path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ProbeError(
            f"config key libraries: no such file {path}; write the table, or set the key library"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ProbeError(f"{path}: not readable as text; write a table in UTF-8") from error


def _require_library(path: Path, what: str) -> None:
    if not path.exists() and not sources.is_pattern(path):
        raise ProbeError(f"{what}: no such file; paths are absolute or start where the run starts")
