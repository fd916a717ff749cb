"""Where the values of a study come from: YAML files and the command line, each value with its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

from search_spaces.problems import FORMS, KeyPath
from search_spaces.space_checks import SECTIONS
from trainers.documents import MIB, read_text, shown
from trainers.exceptions import ConfigError
from trainers.yaml_text import DEEPEST, parse_yaml

LARGEST = MIB
"""Bytes of a study file."""
OWN = "x-"
"""Begins keys of a file that are the person's own, as in Docker Compose."""


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
    """The file that the person wrote, for complaints about values that no source sets."""

    @property
    def values(self) -> dict[str, Any]:
        """All values merged: mappings key by key, everything else as a whole."""
        return reduce(merged, (layer.values for layer in self.all), {})

    def origin(self, path: KeyPath) -> tuple[Layer, str] | None:
        """The layer that set exactly this value, with source and line; None if none did."""
        for layer in reversed(self.all):
            if where := layer.where(path):
                return layer, where
            if layer.hides(path):
                return None
        return None

    def where(self, path: KeyPath) -> str:
        """Source and line of a value, or of the nearest that encloses it."""
        for end in range(len(path), 0, -1):
            if origin := self.origin(path[:end]):
                return origin[1]
        return self.own


def read_layer(path: Path) -> Layer:
    """Read a YAML file; keys at its top that begin with `x-` are left out, a place for anchors.

    Raises:
        ConfigError: it is not valid YAML, not a mapping, or holds a key twice; names the line.
    """
    values, lines = parse_yaml(read_text(path, ConfigError, LARGEST), lambda line: f"{path}:{line}")
    if not isinstance(values, dict):
        kind = "nothing" if values is None else "a list" if isinstance(values, list) else "a single value"
        raise ConfigError(f"{path} must hold a mapping of keys to values, but holds {kind}.")
    return Layer(str(path), {key: value for key, value in values.items() if not str(key).startswith(OWN)}, lines)


def override_layer(text: str) -> Layer:
    """The value of `--set dotted.key=value`, in YAML; ConfigError for another form."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ConfigError(
            f"--set {shown(text)} is not of the form dotted.key=value, e.g. --set gan.learning_rate=1e-4."
        )
    parts = _parts(key)
    if len(parts) > DEEPEST:
        raise ConfigError(f"--set {shown(text)}: the key has {len(parts)} parts; allowed: up to {DEEPEST}.")
    nested, _ = parse_yaml(value, lambda _: f"--set {shown(text)}")
    for part in reversed(parts):
        nested = {part: nested}
    return Layer(f"--set {text}", nested)


def _parts(key: str) -> Sequence[str]:
    """The keys of a dotted key; those of `space` have a dot themselves."""
    parts = key.split(".")
    if parts[0] == "space" and parts[1:2] and parts[1] in SECTIONS:
        return [parts[0], ".".join(parts[1:3]), *parts[3:]]
    return parts


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
