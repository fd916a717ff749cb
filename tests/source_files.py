"""The Python files of the rooms, and what they import."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules(room: str) -> list[Path]:
    """Every Python file of a room."""
    return sorted((ROOT / room).rglob("*.py"))


def imported(file: Path) -> set[str]:
    """Dotted names of every module that a file imports, at its top, within functions or for types alone."""
    return {name for pair in _imports(file) for name in pair}


def imports_of(files: Iterable[Path]) -> dict[str, set[str]]:
    """Module -> those of the same files that it imports; of `from package import module` the module alone."""
    named = {dotted(file): file for file in files}
    targets = {name: {full if full in named else of for of, full in _imports(named[name])} for name in named}
    return {name: (targets[name] & named.keys()) - {name} for name in named}


def grouped(graph: Mapping[str, Collection[str]], depth: int) -> dict[str, set[str]]:
    """The same arrows between groups of modules: those whose first `depth` names agree."""

    def group(name: str) -> str:
        return ".".join(name.split(".")[:depth])

    arrows: dict[str, set[str]] = {}
    for name, others in graph.items():
        arrows.setdefault(group(name), set()).update({group(other) for other in others} - {group(name)})
    return arrows


def circle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """Modules each of which imports the next, and the last the first; empty if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def dotted(file: Path) -> str:
    """The name that a file is imported by."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(file: Path) -> Iterator[tuple[str, str]]:
    """(module, the same with the name that is imported from it)."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from ((str(node.module), f"{node.module}.{alias.name}") for alias in node.names)
