"""What sets settings: two files `metsweep.toml`, the environment and the command line; each value with its origin."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from search_spaces.problems import explain
from sweep.redaction import shown_setting, without_url_paths
from trainers.documents import MIB, read_text
from trainers.exceptions import ConfigError

FILE = "metsweep.toml"


@dataclass(frozen=True)
class Given:
    """A value that some source sets."""

    value: Any
    source: str
    """File and line, variable, or option."""
    folder: Path
    """What a relative path starts from: the file's folder, or the working directory."""


def working_directory() -> Path:
    """Raises ConfigError where it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise ConfigError("The working directory was removed. Change to another one.") from None


def settings_files() -> tuple[Path, ...]:
    """The existing files, the weakest first: the user's, then the project's.

    The project's file lies in the working directory or in the nearest folder above it, as ruff and git search theirs.

    Raises:
        ConfigError: the project's file lies above the working directory and belongs to another user.
    """
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    here = working_directory()
    of_user = Path(home, "metsweep", FILE)
    of_project = next((path for folder in (here, *here.parents) if os.path.exists(path := folder / FILE)), None)
    if of_project is not None and of_project.parent != here and of_project.stat().st_uid not in (0, os.getuid()):
        raise ConfigError(
            f"{of_project} belongs to another user, who could redirect your results. Run metsweep in "
            f"{of_project.parent}, or put a {FILE} of your own into {here}."
        )
    return tuple(path for path in (of_user, of_project) if path is not None and os.path.exists(path))


def from_file(path: Path, model: type[BaseModel]) -> dict[str, Given]:
    """The settings of a file; empty texts count as not set.

    Args:
        path: of a TOML file.
        model: which keys are allowed, and their types.

    Raises:
        ConfigError: the file cannot be read, is not TOML, has an unknown key or a value of a wrong type, or holds a
            secret though others may read the file; names file, line and key.
    """
    text = read_text(path, ConfigError, MIB)
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from None
    lines = {
        key: number
        for number, line in enumerate(text.splitlines(), 1)
        for key in re.findall(r"^\s*\[*\s*[\"']?([\w-]+)", line)
    }
    values = {key: value.strip() if isinstance(value, str) else value for key, value in values.items()}
    values = {key: value for key, value in values.items() if value != ""}
    places = {key: f"{path}:{lines[key]}" if key in lines else str(path) for key in values}
    try:
        model.model_validate(values, strict=True)
    except ValidationError as error:
        raise ConfigError(without_url_paths(explain(lambda key: places[str(key[0])], error, model=model))) from None
    if path.stat().st_mode & 0o077:
        for key, value in values.items():
            if shown_setting(key, value) != str(value):
                raise ConfigError(
                    f"{places[key]}: {key}: holds a password, token or path of a webhook, and other users may read "
                    f"the file. Run `chmod 600 {path}`."
                )
    return {key: Given(value, places[key], path.parent) for key, value in values.items()}


def from_environment(names: Mapping[str, Iterable[str]]) -> dict[str, Given]:
    """The settings that variables set; of a setting's names the first that is set counts, and empty ones do not."""
    found: dict[str, Given] = {}
    for key, of_key in names.items():
        for name in of_key:
            if value := os.environ.get(name, "").strip():
                found[key] = Given(value, name, working_directory())
                break
    return found
