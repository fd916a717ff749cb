"""Studies as YAML text: a new one to edit, and a resolved one with where each value comes from."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from search_spaces.layers import Layers, merged
from search_spaces.problems import KeyPath
from search_spaces.schema import Study
from search_spaces.study import Resolved, read_study, shipped
from search_spaces.values import LONGEST_NAME, NAME
from trainers.documents import shown
from trainers.exceptions import ConfigError
from trainers.yaml_text import to_yaml

WIDTH = 110
BLOCKS = {"variants", "resources"}
"""Keys whose mappings hold mappings of several lines."""
EXAMPLES: dict[str, Any] = {
    "space": {
        "variant": {"choice": ["cpggan", "image2image"]},
        "count": {"int": [400, 12000], "step": 400},
        "gan.learning_rate": {"float": [1e-4, 3e-3], "log": True},
        "gan.augment": {"choice": ["none", "diffaugment"], "when": {"variant": ["cpggan"]}},
        "detector.box_gain": {"float": [2.5, 10], "step": 2.5},
    },
    "search": {"method": "tpe", "trials": 20, "pruning": "asha"},
    "objectives": [{"metric": "sensitivity", "iou": 0.5, "direction": "maximize"}],
    "constraints": [{"metric": "fps_per_slice", "iou": 0.5, "at_most": 12}],
    "budget": {"gpu_hours": 100, "wall_hours": 24},
    "prices": {"gpu_hour": 2.5, "cpu_hour": 0.05, "currency": "USD"},
    "gan": {"drift": 0.01},
    "variants": {"image2image": {"learning_rate": 5e-4}},
    "synthesis": {"max_attempts": 8},
    "detector": {"box_gain": 5},
    "evaluation": {"bootstraps": 5000},
    "resources": {"gan": {"workers": 2, "min_workers": 1}, "detector": {"cpus_per_worker": 2}},
}
"""What the keys that a new study does not set could hold."""


def new_study(name: str, like: str) -> str:
    """A study file to edit: the values of the study `like`, a sentence over each key, and examples of other keys.

    Args:
        like: name of a shipped study, or the path of a YAML file.

    Raises:
        ConfigError: `name` is not allowed or a shipped study's, or the study `like` is unknown.
    """
    if not re.fullmatch(NAME, name) or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"name: got {shown(name)}; allowed: up to {LONGEST_NAME} letters, digits, _ . and -, beginning with a "
            "letter or digit."
        )
    if name in shipped("studies"):
        raise ConfigError(
            f"name: {name!r} is a shipped study, and studies of the same name share one record. Choose "
            f"another name, e.g. my_{name}."
        )
    own = read_study(like).values | {"name": name}
    examples = dict(EXAMPLES)
    if isinstance(search := own.get("search"), dict) and search.get("method") == "race":
        del examples["space"]  # from which a race draws nothing
    lines = [
        "# yaml-language-server: $schema=study.schema.json",
        "## (metsweep study schema --out study.schema.json writes that file; editors then complete and check keys.)",
        f"## Begun as {like}. Lines that begin with a single # are examples: remove the # to use them.",
    ]
    for key, described in Study.model_fields.items():
        if key in own or key in examples:
            sentence = described.description or ""
            lines += ["", *textwrap.wrap(sentence, WIDTH, initial_indent="## ", subsequent_indent="## ")]
        if key in own:
            lines += _block(key, own[key])
        elif key in examples:
            lines += [f"# {line}" for line in _block(key, examples[key])]
    return "\n".join(lines) + "\n"


def show_study(resolved: Resolved, everything: bool = False) -> str:
    """A resolved study as YAML, each value with where it comes from; `everything`: the defaults, too."""
    values = resolved.layers.values
    if everything:
        values = merged(resolved.study.model_dump(), values)
    lines: list[str] = []
    for key in Study.model_fields:
        if key in values:
            lines += _block(key, values[key], comment=lambda path: _origin(resolved.layers, path))
    return "\n".join(lines) + "\n"


def _origin(layers: Layers, path: KeyPath) -> str:
    if (origin := layers.origin(path)) is None:
        return "default"
    layer, where = origin
    if not layer.lines:
        return " ".join(where.split())
    return ("fidelity " if layer is layers.all[0] else "study ") + Path(where).name


def _block(key: str, value: Any, path: KeyPath = (), comment: Callable[[KeyPath], str] = lambda _: "") -> Iterator[str]:
    """The lines of one key: sections and lists of mappings spread out, all else in one line."""
    path = (*path, key)

    def commented(text: str, at: KeyPath) -> str:
        note = comment(at)
        return f"{text}  # {note}" if note else text

    if isinstance(value, Mapping) and value and (len(path) == 1 or (len(path) == 2 and path[0] in BLOCKS)):
        yield f"{key}:"
        for inner, nested in value.items():
            yield from (f"  {line}" for line in _block(inner, nested, path, comment))
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        yield f"{key}:"
        for index, item in enumerate(value):
            yield commented(f"  - {to_yaml(item)}", (*path, index))
    else:
        yield commented(f"{to_yaml(key)}: {to_yaml(value)}", path)
