"""No module of the package needs one that needs it, be it for a type alone."""

import ast
from graphlib import TopologicalSorter

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
