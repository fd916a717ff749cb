"""Which program strips skulls here, in which version: another one finds another brain, so it decides results."""

from __future__ import annotations

import os
from importlib.metadata import distributions, version
from pathlib import Path

from trainers.data.strip_command import COMMANDS, find_command
from trainers.data.strip_config import StripConfig
from trainers.data.volume_file import file_digest

MODELS = "FREESURFER_HOME"
"""Variable with the folder above SynthStrip's weights."""
DIGITS = 12
"""Of a digest, hexadecimal."""


def strip_program(config: StripConfig) -> str:
    """What strips skulls here, such as `deepbet 1.0.2`; nothing is run to find out.

    A command has the version of the Python package that installed it. One that no package did, such as FreeSurfer's or
    the wrapper of a container, is known by the digest of its file; so are SynthStrip's weights in `FREESURFER_HOME`.

    Raises:
        CohortError: the command is not installed, or one of these files cannot be read.
    """
    if config.method not in COMMANDS:
        return f"{config.method} {version(config.method)}"
    command = Path(find_command(config.method))
    parts = [_package_of(command) or _by_digest(command)]
    if config.method == "synthstrip" and MODELS in os.environ:
        parts += map(_by_digest, sorted(Path(os.environ[MODELS]).glob("models/synthstrip*.pt")))
    return ", ".join(parts)


def command_program(config: StripConfig) -> str | None:
    """As `strip_program`, of a command; None for deepbet, which is installed with metsweep as torch is."""
    return strip_program(config) if config.method in COMMANDS else None


def _package_of(command: Path) -> str | None:
    """Name and version of the Python package whose command this is, in the environment where it lies."""
    environment = command.resolve().parent.parent
    folders = [str(folder) for folder in environment.glob("lib*/python3*/*-packages")]
    for package in distributions(path=folders):
        if package.entry_points.select(group="console_scripts", name=command.name):
            return f"{package.name} {package.version}"
    return None


def _by_digest(file: Path) -> str:
    return f"{file.name} {file_digest(file, volume=False).file.hex()[:DIGITS]}"
