"""Files of a network's weights: read whole or refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from trainers.exceptions import TrainingError

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, UnpicklingError, zipfile.BadZipFile)
"""What zipfile and torch raise on damaged files."""


def restore_weights(network: nn.Module, file: Path, remedy: str) -> None:
    """Load the weights in a file into a network.

    `torch.save` writes a zip archive, whose checksums `torch.load` never reads: one flipped bit gives other weights.

    Args:
        network: what they are for.
        file: what `torch.save` wrote of a state dict.
        remedy: a sentence: what to do if it is damaged or another network's.

    Raises:
        TrainingError: the file is damaged, or holds no weights or another network's.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        weights: Any = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise TrainingError(f"{file} is damaged, or holds no weights ({first_line(error)}). {remedy}") from error
    try:
        network.load_state_dict(weights)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise TrainingError(
            f"{file} holds other weights than those of {file.parent / 'config.json'} ({first_line(error)}); both "
            f"files must come from one training. {remedy}"
        ) from error


def first_line(error: Exception) -> str:
    """Torch's messages go on with advice on loading unsafe files, or list every weight."""
    return str(error).split("\n", 1)[0].rstrip(":") or type(error).__name__
