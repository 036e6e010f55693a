"""How modules use each other: never in a circle, and nothing that one keeps to itself."""

import ast
from graphlib import TopologicalSorter

import pytest
from repository import ROOT


def name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name(path): path for path in (ROOT / "probe").rglob("*.py")}


def needed(path):
    """The modules of the package that the module in ``path`` imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else node.module for name in names)


def test_there_is_no_circle_of_imports():
    """The package itself is left out: it hands over ``Probe`` when that is first asked for."""
    modules = MODULES.keys() - {"probe"}
    graph = {module: modules & {*needed(MODULES[module])} for module in modules}
    assert {*TopologicalSorter(graph).static_order()} == modules


def private(path):
    """What the code in ``path`` uses of the package that begins with an underscore."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {
        alias.asname or alias.name
        for node in imports
        if str(node.module).partition(".")[0] == "probe"
        for alias in node.names
    }
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in names
    }
    return {name for name in used | names if name.startswith("_") and not name.endswith("__")}


@pytest.mark.parametrize("folder", ["probe", "resources", "bench", "tools"])
def test_nothing_private_is_used_elsewhere(folder):
    found = {str(path): names for path in (ROOT / folder).rglob("*.py") if (names := private(path))}
    assert found == {}
