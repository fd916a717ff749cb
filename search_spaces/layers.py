"""Where the values of a study come from: YAML files and the command line, each value with its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from search_spaces.checks import SECTIONS
from search_spaces.problems import FORMS, KeyPath
from trainers.exceptions import ConfigError

NODES = {yaml.ScalarNode: "single value", yaml.SequenceNode: "list", yaml.MappingNode: "mapping"}
DEEPEST = 20
"""A study is not nested deeper; what is, contains itself."""


@dataclass(frozen=True)
class Layer:
    """Values of one source."""

    source: str
    """File, or the option of the command line."""
    values: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    """Path -> line in the file, from 1; empty for the command line."""

    def where(self, path: KeyPath) -> str | None:
        """Source and line of the value at `path`; None if this layer does not set it."""
        if path in self.lines:
            return f"{self.source}:{self.lines[path]}"
        return self.source if not self.lines and path and _holds(self.values, path) else None

    def hides(self, path: KeyPath) -> bool:
        """Whether this layer sets something as a whole that the value at `path` would be a part of."""
        values: Any = self.values
        for part in path:
            if not isinstance(values, Mapping):
                return True
            if part not in values:
                return False
            values = values[part]
        return False


@dataclass(frozen=True)
class Layers:
    """Sources, each over those before it."""

    all: tuple[Layer, ...]
    own: str
    """The file that the person wrote, for complaints about what stands nowhere."""

    @property
    def values(self) -> dict[str, Any]:
        """All values merged: mappings key by key, everything else as a whole."""
        return reduce(merged, (layer.values for layer in self.all), {})

    def origin(self, path: KeyPath) -> tuple[Layer, str] | None:
        """The layer that set exactly this value, with source and line; None if none did."""
        for layer in reversed(self.all):
            if found := layer.where(path):
                return layer, found
            if layer.hides(path):
                return None
        return None

    def where(self, path: KeyPath) -> str:
        """Source and line of a value, or of the nearest that encloses it."""
        for end in range(len(path), 0, -1):
            if found := self.origin(path[:end]):
                return found[1]
        return self.own


class _Loader(yaml.SafeLoader):
    """YAML 1.1, but `1e-4` is a number as in YAML 1.2 and Python; 1.1 reads it as text for want of a point."""


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads; tuples are lists."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)

for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )


def to_yaml(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def read_layer(path: Path) -> Layer:
    """Read a YAML file.

    Raises:
        ConfigError: it is not valid YAML, not a mapping, or holds a key twice; names the line.
    """
    try:
        loader = _Loader(path.read_text())
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            kind = "nothing" if node is None else f"a {NODES[type(node)]}"
            raise ConfigError(f"{path} must hold a mapping of keys to values, but holds {kind}.")
        lines = dict(_Lines(loader, str(path)).of(node, ()))
        return Layer(str(path), loader.construct_document(node), lines)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{path}{line}: not valid YAML: {error.problem or error.context}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}.") from None


def override_layer(text: str) -> Layer:
    """The value of `--set dotted.key=value`; the value is YAML.

    Raises:
        ConfigError: not of that form.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(f"--set {text!r} is not of the form dotted.key=value, e.g. --set gan.learning_rate=1e-4.")
    try:
        nested: Any = yaml.load(value, _Loader)
    except yaml.YAMLError:
        raise ConfigError(f"--set {text!r}: the value is not valid YAML.") from None
    for part in reversed(_parts(key)):
        nested = {part: nested}
    return Layer(f"--set {text}", nested)


def _parts(key: str) -> Sequence[str]:
    """The keys of a dotted key; those of `space` have a dot themselves."""
    parts = key.split(".")
    if parts[0] == "space" and parts[1:2] and parts[1] in SECTIONS:
        return [parts[0], ".".join(parts[1:3]), *parts[3:]]
    return parts


class _Lines:
    """Finds the line of every value of a file, and refuses keys that stand twice in one mapping."""

    def __init__(self, loader: _Loader, file: str) -> None:
        self._loader = loader
        self._file = file
        self._seen: set[int] = set()

    def of(self, node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
        if len(path) > DEEPEST:
            raise ConfigError(f"{self._file}:{node.start_mark.line + 1}: refers to itself.")
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                yield (*path, index), item.start_mark.line + 1
                yield from self.of(item, (*path, index))
        if isinstance(node, yaml.MappingNode):
            if id(node) not in self._seen:
                self._refuse_repeated(node, path)
                self._loader.flatten_mapping(node)
                self._seen.add(id(node))
            for key_node, value in node.value:
                key = self._loader.construct_object(key_node)
                yield (*path, key), key_node.start_mark.line + 1
                yield from self.of(value, (*path, key))

    def _refuse_repeated(self, node: yaml.MappingNode, path: KeyPath) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{self._file}:{line}: a {NODES[type(key_node)]} is no key; allowed: names.")
            if key_node.value in first:
                key = ".".join(map(str, (*path, key_node.value)))
                raise ConfigError(
                    f"{self._file}:{line}: {key}: stands here and in line {first[key_node.value]}; allowed: once. "
                    "Remove one."
                )
            first[key_node.value] = line


def _holds(values: Any, path: KeyPath) -> bool:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` upon `base`: mappings key by key, everything else as a whole; so is a key of `space` in another form."""
    both = dict(base)
    for key, value in over.items():
        before = both.get(key)
        if (
            isinstance(value, dict)
            and isinstance(before, dict)
            and (FORMS & value.keys()) in (set(), FORMS & before.keys())
        ):
            value = merged(before, value)
        both[key] = value
    return both
