"""YAML as studies and networks are written in it: the core schema of YAML 1.2, and bounded.

YAML 1.1, which PyYAML reads, makes 90 of `1:30`, 15 of `017` and true of `on`. In 1.2 `on` is text; text that the two
read as different numbers is refused. So are aliases that multiply, deep nesting, and tags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.reader import ReaderError

from trainers.exceptions import ConfigError

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a document to one value."""

NODES = {yaml.ScalarNode: "single value", yaml.SequenceNode: "list", yaml.MappingNode: "mapping"}
DEEPEST = 20
"""Deepest nesting of a document."""
MOST_VALUES = 50_000
"""Values of a file, those that aliases repeat counted each time: more take seconds to check."""
LARGEST = 2**63 - 1
"""Largest whole number: more do not fit the 64 bits of every other program."""

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OPEN_TO_DOUBT = re.compile(
    r"[-+]?0[0-9]+|0b[01_]+|(?=[^_]*_)[-+]?(0x[0-9a-fA-F_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9_]+)?)"
    r"|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
)
_CORE = [
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("doubt", _OPEN_TO_DOUBT, list("-+0123456789")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", re.compile(r"<<"), ["<"]),
]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012
    yaml_constructors: dict[Any, Any] = {}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._composed = 0
        self._measured: dict[int, tuple[int, int]] = {}
        """Node -> values in it and levels of it, with its aliases followed."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > DEEPEST:
            raise ComposerError(None, None, f"nested deeper than {DEEPEST} levels", mark)
        self._composed += 1
        if self._composed > MOST_VALUES:
            raise ComposerError(None, None, f"holds more than {MOST_VALUES:,} values", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if is_alias and id(node) not in self._measured:
            raise ComposerError(None, None, "refers to itself", mark)
        within = [self._measured[id(child)] for child in _children(node)]
        values, levels = 1 + sum(size for size, _ in within), 1 + max((depth for _, depth in within), default=0)
        if values > MOST_VALUES:
            raise ComposerError(None, None, f"holds more than {MOST_VALUES:,} values, aliases followed", mark)
        if levels > DEEPEST:
            raise ComposerError(None, None, f"nested deeper than {DEEPEST} levels, aliases followed", mark)
        self._measured[id(node)] = values, levels
        return node


class _Dumper(yaml.SafeDumper):
    """Quotes what readers of either version would take for more than text; tuples are lists."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _name, _pattern, _first in _CORE:
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _Loader.add_implicit_resolver(_TAG + _name, _whole, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _whole, _first)
_Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)


def to_document(value: Any) -> str:
    """A value as a YAML document of many lines."""
    return yaml.dump(value, Dumper=_Dumper, default_flow_style=False, sort_keys=False)


def to_yaml(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")


def parse_yaml(text: str, place: Callable[[int], str]) -> tuple[Any, dict[KeyPath, int]]:
    """The value of a YAML document, and the line of every value within it, from 1.

    Args:
        text: the document.
        place: what a line is called in errors.

    Raises:
        ConfigError: it is not valid YAML of the core schema, holds a key twice or one that is no name, is nested too
            deeply or holds too many values; names the line.
    """
    line = 0
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines = {} if node is None else dict(_lines(loader, node, (), place, set()))
            return None if node is None else loader.construct_document(node), lines
        finally:
            line = loader.line
    except yaml.MarkedYAMLError as error:
        if error.problem_mark:
            line = error.problem_mark.line
        if isinstance(error, _DoubtfulError):
            raise ConfigError(f"{place(line + 1)}: {error.problem}.") from None
        raise ConfigError(f"{place(line + 1)}: not valid YAML: {error.problem or error.context}.") from None
    except ReaderError as error:
        raise ConfigError(f"{place(line + 1)}: not valid YAML: {error.reason}.") from None
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode
        raise ConfigError(f"{place(line + 1)}: not valid YAML: {error}.") from None


def _lines(
    loader: _Loader, node: yaml.Node, path: KeyPath, place: Callable[[int], str], seen: set[int]
) -> Iterator[tuple[KeyPath, int]]:
    """Path and line of every value; refuses keys that are listed twice in one mapping or are no names."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _lines(loader, item, (*path, index), place, seen)
    if isinstance(node, yaml.MappingNode):
        if id(node) not in seen:
            _check_keys(loader, node, path, place)
            loader.flatten_mapping(node)
            seen.add(id(node))
        for key_node, value in node.value:
            key = loader.construct_object(key_node)
            yield (*path, key), key_node.start_mark.line + 1
            yield from _lines(loader, value, (*path, key), place, seen)


def _check_keys(loader: _Loader, node: yaml.MappingNode, path: KeyPath, place: Callable[[int], str]) -> None:
    first: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{place(line)}: a {NODES[type(key_node)]} is not a key; allowed: names.")
        key = key_node.value if key_node.tag == f"{_TAG}merge" else loader.construct_object(key_node)
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise ConfigError(f"{place(line)}: {key!r} is not a key; allowed: names and whole numbers.")
        if str(key) in first:
            dotted = ".".join(map(str, (*path, key)))
            raise ConfigError(
                f"{place(line)}: {dotted}: stands here and in line {first[str(key)]}; allowed: once. Remove one."
            )
        first[str(key)] = line


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _null(loader: _Loader, node: yaml.ScalarNode) -> None:
    if loader.construct_scalar(node) not in ("~", "null", "Null", "NULL", ""):
        raise _no("null", node)


def _bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    text = loader.construct_scalar(node).lower()
    if text not in ("true", "false"):
        raise _no("true or false", node)
    return text == "true"


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    if not _INT.fullmatch(text):
        raise _no("whole number", node)
    if len(text) > len(str(LARGEST)) + 1 or abs(number := int(text, 0)) > LARGEST:
        raise ConstructorError(None, None, f"a whole number is beyond {LARGEST:,}", node.start_mark)
    return number


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node)
    if not _FLOAT.fullmatch(text):
        raise _no("number", node)
    return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))


def _str(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = loader.construct_scalar(node)
    if not text.isascii() and re.search(r"[\ud800-\udfff]", text):
        message = f"{text!a} holds half of a surrogate pair, which is not a character"
        raise ConstructorError(None, None, message, node.start_mark)
    return text


class _DoubtfulError(ConstructorError):
    """Valid YAML that readers do not agree about."""


def _doubt(loader: _Loader, node: yaml.ScalarNode) -> None:
    text = loader.construct_scalar(node)[:40]
    message = (
        f"{text} is one number in YAML 1.1 and another, or text, in YAML 1.2. Write it in plain digits, or text in "
        "quotes"
    )
    raise _DoubtfulError(None, None, message, node.start_mark)


def _no(kind: str, node: yaml.Node) -> ConstructorError:
    return ConstructorError(None, None, f"{node.value[:40]!r} is no {kind}", node.start_mark)


for _name, _make in (
    ("null", _null),
    ("bool", _bool),
    ("int", _int),
    ("float", _float),
    ("str", _str),
    ("doubt", _doubt),
    ("seq", yaml.SafeLoader.construct_yaml_seq),
    ("map", yaml.SafeLoader.construct_yaml_map),
):
    _Loader.add_constructor(_TAG + _name, _make)
_Loader.add_constructor(None, yaml.SafeLoader.construct_undefined)
