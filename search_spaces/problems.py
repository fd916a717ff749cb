"""What is wrong with a study, said to the person who wrote it: file and line, dotted key, what was got, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from trainers.documents import shown
from trainers.yaml_text import KeyPath

MOST_REPORTED = 20
"""Complaints that are reported at once."""
FORMS = {"choice", "int", "float"}
"""The forms in which a key of `space` is written."""


@dataclass(frozen=True)
class Problem:
    """One complaint."""

    path: KeyPath
    """Where, counted from the config that complains."""
    message: str


class MisfitError(ValueError):
    """Values that are allowed one by one but not together; raised by config validators."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


def explain(
    where: str | Callable[[KeyPath], str],
    error: ValidationError,
    section: str | None = None,
    model: type[BaseModel] | None = None,
) -> str:
    """Pydantic's complaints as lines of: where, dotted key, what is wrong, what was got.

    Args:
        where: name of the source, or what names the source of one value (`Layers.where`).
        section: key that the dotted keys begin with.
        model: class that was validated; with it, the complaint about an unknown key names the nearest known key.
    """
    start: KeyPath = (section,) if section else ()
    lines = []
    collected = complaints(error, model)
    for path, message in collected[:MOST_REPORTED]:
        path = start + path
        key = ".".join(str(part) if str(part).isprintable() else shown(part) for part in path) or "the study"
        source = where if isinstance(where, str) else where(_about(path, message))
        lines.append(f"{source}: {key}: {message}" + ("" if message.endswith(("?", ".")) else "."))
    if len(collected) > MOST_REPORTED:
        lines.append(f"And {len(collected) - MOST_REPORTED} more.")
    return "\n".join(lines)


def first_message(error: ValidationError) -> str:
    """The first complaint without its place."""
    path, message = complaints(error)[0]
    return ": ".join([*map(str, path), message])


def complaints(error: ValidationError, model: type[BaseModel] | None = None) -> list[tuple[KeyPath, str]]:
    """Path and message of each of pydantic's complaints; `model` as in `explain`."""
    collected: list[tuple[KeyPath, str]] = []
    for problem in error.errors():
        path = _path(problem["loc"])
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, MisfitError):
            collected += [(path + part.path, part.message) for part in cause.problems]
        elif problem["type"] == "missing":
            collected.append((path, "is missing"))
        elif problem["type"] == "too_short" and any(seen[: len(path)] == path for seen, _ in collected):
            continue  # Pydantic does not count the items that it has refused.
        else:
            unknown = problem["type"] == "extra_forbidden"
            message = "unknown key" if unknown else _in_terms_of_yaml(problem["type"], path, problem["input"])
            message = message or problem["msg"].removeprefix("Value error, ")
            if not isinstance(problem["input"], dict) and "got " not in message:
                message += f"; got {shown(problem['input'])}"
            collected.append((path, message + (_known_keys(model, path) if unknown and model else "")))
    return collected


def _in_terms_of_yaml(error_type: str, path: KeyPath, got: Any) -> str | None:
    """What to write where a value is no list or no mapping, which pydantic calls by the names of Python; else None."""
    if error_type in {"tuple_type", "too_long"} and path[:1] == ("space",) and path[-1] in FORMS - {"choice"}:
        return "allowed is a list of two, [low, high]"
    if error_type == "tuple_type":
        item, got_mapping = ("{...}", "; got a mapping") if isinstance(got, Mapping) else (shown(got), "")
        return f"allowed is a list, e.g. [{item}]{got_mapping}"
    if error_type in {"dict_type", "model_type"}:
        return "allowed is a mapping, {key: value}"
    return None


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` or nothing."""
    close = difflib.get_close_matches(word, list(allowed), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _path(loc: Sequence[str | int]) -> KeyPath:
    """Pydantic's location, without the marks that it adds for unions and mapping keys."""
    return tuple(
        part
        for position, part in enumerate(loc)
        if part != "[key]" and not (position == 2 and loc[0] == "space" and part in FORMS)
    )


def _about(path: KeyPath, message: str) -> KeyPath:
    """The value that a message is about: validators of a whole config begin with the name of the field."""
    named = re.match(r"([a-z_0-9]+)(:| is )", message)
    return (*path, named[1]) if named else path


def _known_keys(model: type[BaseModel], path: KeyPath) -> str:
    keys = _keys_at(model, path[:-1])
    return "." + (did_you_mean(str(path[-1]), keys) or f" Allowed: {', '.join(sorted(keys))}")


def _keys_at(model: type[BaseModel], path: KeyPath) -> set[str]:
    """Keys of the config that stands at `path` within `model`."""
    models = [model]
    for part in path:
        annotations = [
            field.annotation
            for config in models
            for name, field in config.model_fields.items()
            if part in (name, field.alias)
        ]
        # Positions of lists and keys of mappings lead to the same config.
        models = [inner for annotation in annotations for inner in _models_in(annotation)] or models
    return {field.alias or name for config in models for name, field in config.model_fields.items()}


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]
