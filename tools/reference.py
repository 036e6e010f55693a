"""The reference pages of the documentation, made of the schemas and of the command line.

    python tools/reference.py build/reference      # to look at them alone

What a column means is the comment beside it in probe/schemas.py. A column without one means what
it means in the schema that it was taken from, or in the first one that says it.
"""

import ast
import io
import json
import sys
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pyarrow as pa

from probe import config, schemas
from probe.cli import main

Told = dict[str, str]
"""What is said of every column, by its name."""

EMBEDDINGS = "embeddings"
"""The schema that is a function, since it depends on the backbone."""

TITLES = {
    "CONFORMERS": "conformers/*.parquet",
    "REJECTED": "rejected.parquet",
    "EMBEDDED": "embedded/*.parquet",
    "SCORES": "scores/*.parquet",
    "ANSWERED": "Probe.score",
    "TRIAGED": "accept.parquet and recompute.parquet",
    "MAP": "map.parquet",
    "SELECTED": "probe select",
    "MOLECULES": "molecules.parquet",
    "AGREEMENT": "agreement.parquet",
    "CHANGES": "changes.parquet",
    "LABELS": "Labels",
    "REFERENCES": "probe label",
    "TO_COMPUTE": "dft/plan.parquet",
    "COMPUTED": "dft/*.parquet",
    "FAILED": "dft_failed.parquet",
    "ENERGIES": "energies.parquet",
    "AUDITED": "audit.parquet",
    "MANIFEST": "Manifest of input decks",
    "HELD_OUT": "held_out.parquet",
    "PREDICTIONS": "predictions.parquet of an evaluation",
    "COMPARED": "predictions.parquet of a comparison",
    EMBEDDINGS: "cache/*/part-*.parquet",
}


def pages() -> dict[str, str]:
    """Every reference page in Markdown, by its file name."""
    return {"config.md": of_config(), "tables.md": of_tables(), "commands.md": of_commands()}


def of_config() -> str:
    """Every key of config/config.yaml and every column of config/libraries.tsv."""
    columns = config.schema("libraries")
    rows = [
        [f"`{name}`", "required" if name in columns["required"] else "", column["description"]]
        for name, column in columns["properties"].items()
    ]
    return "\n\n".join(
        [
            "# Every key of the configuration",
            "Of `config/config.yaml`; the keys of a section are written inside it. "
            "When to change which is told in [config/README.md](../../config/README.md).",
            *_sections(config.schema("config")),
            "## The table of libraries",
            "The columns of `config/libraries.tsv`, separated by tabs.",
            _table(["column", "", "what it is"], rows),
        ]
    )


def _sections(schema: Mapping[str, Any]) -> Iterator[str]:
    keys = schema["properties"]
    sections = {name: key for name, key in keys.items() if key.get("type") == "object"}
    yield _keys({name: key for name, key in keys.items() if name not in sections})
    for name, section in sections.items():
        yield f"## {name}"
        yield section["description"]
        yield _keys({f"{name}.{key}": inner for key, inner in section["properties"].items()})


def _keys(keys: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [f"`{name}`", f"`{json.dumps(key['default'])}`", _allowed(key), key["description"]]
        for name, key in keys.items()
    ]
    return _table(["key", "default", "allowed", "what it is"], rows)


def _allowed(key: Mapping[str, Any]) -> str:
    if "enum" in key:
        return ", ".join(f"`{value}`" for value in key["enum"])
    kinds = [key["type"]] if isinstance(key["type"], str) else key["type"]
    said = " or ".join(kinds)
    for bound, word in (("minimum", "from"), ("maximum", "to")):
        said += f" {word} {key[bound]}" if bound in key else ""
    return said


def of_tables() -> str:
    """Every column of every table."""
    about, told = _read(Path(schemas.__file__).read_text(encoding="utf-8"))
    parts = [
        "# Every column of every table",
        "Folders are those of `results/<library>` where none is named. Energies are in eV, "
        "coordinates in Å, charges in elementary charges. N is the number of atoms, K that of a "
        "checkpoint's networks, D the width of a backbone's embedding.",
    ]
    for name, title in TITLES.items():
        rows = [
            [f"`{column.name}`", f"`{column.type}`", told[name][column.name]]
            for column in _schema(name)
        ]
        heading, told_of_it = title.replace("*", "\\*"), about[name].replace("<", "&lt;")
        parts += [f"## {heading}", told_of_it, _table(["column", "type", "what it is"], rows)]
    return "\n\n".join(parts)


def tables() -> dict[str, pa.Schema]:
    """Every schema of probe.schemas, by its name there."""
    found = {name: one for name, one in vars(schemas).items() if isinstance(one, pa.Schema)}
    return found | {EMBEDDINGS: _schema(EMBEDDINGS)}


def _schema(name: str) -> pa.Schema:
    found = getattr(schemas, name)
    return found if isinstance(found, pa.Schema) else found(["term"])


def _read(text: str) -> tuple[Told, dict[str, Told]]:
    """What ``text``, the module of schemas, says of every schema and of its columns."""
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    about: Told = {}
    told: dict[str, Told] = {}
    body = ast.parse(text).body
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        match node:
            case ast.FunctionDef(name=name):
                about[name] = ast.get_docstring(node) or ""
            case ast.Assign(targets=[ast.Name(id=name)]):
                if isinstance(after, ast.Expr):
                    about[name] = str(ast.literal_eval(after.value))
            case _:
                continue
        told[name] = _columns(node, comments, told)
    said: Told = {}
    for columns in told.values():
        said = columns | said
    return about, {name: said | columns for name, columns in told.items()}


def _columns(node: ast.AST, comments: Mapping[int, str], told: Mapping[str, Told]) -> Told:
    """The comments beside the columns in ``node``, over those of the schemas it takes in."""
    found: Told = {}
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=name):
                found = told.get(name, {}) | found
            case ast.Tuple(elts=[ast.Constant(value=str(column)), *_], end_lineno=line):
                if line in comments:
                    found[column] = comments[line]
    return found


def of_commands() -> str:
    """The help of every command."""
    return "\n\n".join(["# Every command", *_help(main, "probe", None)])


def _help(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    name = path.rpartition(" ")[2]
    context = click.Context(command, parent, name, terminal_width=90, max_content_width=90)
    yield f"## {path}"
    yield f"```text\n{command.get_help(context)}\n```"
    for inner in command.list_commands(context) if isinstance(command, click.Group) else ():
        found = command.get_command(context, inner)
        if found is not None and not found.hidden:
            yield from _help(found, f"{path} {inner}", context)


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").strip() for cell in line) + " |"
        for line in lines
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (folder / name).write_text(page + "\n", encoding="utf-8")
