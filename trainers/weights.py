"""The folder of a trained network, its config and its weights: read whole or refused."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import nn

from trainers.config import Config
from trainers.documents import why
from trainers.exceptions import TrainingError

NetworkConfig = TypeVar("NetworkConfig", bound=Config)
Network = TypeVar("Network", bound=nn.Module)

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, UnpicklingError, zipfile.BadZipFile)
"""What zipfile and torch raise on damaged files."""


CONFIG_FILE = "config.json"


def check_folder(folder: Path, weights: str, kind: str) -> None:
    """Refuse a folder that holds no trained network.

    Args:
        weights: name of the file of weights.
        kind: `GAN` or `detector`.

    Raises:
        TrainingError: the folder does not exist, or lacks config or weights.
    """
    missing = [name for name in (CONFIG_FILE, weights) if not (folder / name).is_file()]
    if missing:
        lacks = f"it lacks {' and '.join(missing)}" if folder.is_dir() else "there is no such folder"
        raise TrainingError(f"{folder} is not a trained {kind}: {lacks}. `metsweep train {kind.lower()}` makes one.")


def load_network(
    folder: Path, weights: str, model: type[NetworkConfig], build: Callable[[NetworkConfig], Network], remedy: str
) -> tuple[NetworkConfig, Network]:
    """The config in a folder that passed `check_folder`, and the network that `build` makes of it, with its weights.

    Args:
        remedy: a sentence: what to do about damage.

    Raises:
        TrainingError: a file is damaged, of another version or of another network.
    """
    try:
        config = model.model_validate_json((folder / CONFIG_FILE).read_bytes())
    except ValidationError as error:
        raise TrainingError(
            f"{folder / CONFIG_FILE} is damaged, or not of this version of metsweep: {why(error)}. {remedy}"
        ) from error
    network = build(config)
    _restore_weights(network, folder / weights, remedy)
    return config, network


def fingerprint_of(network: nn.Module) -> str:
    """SHA-256 of the weights, hexadecimal."""
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def read_saved(file: Path, kind: str) -> bytes:
    """What `torch.save` wrote into the file of a checkpoint of `kind` ("a GAN"); TrainingError if there is none."""
    if not file.is_file():
        raise TrainingError(
            f"{file.parent} is not a checkpoint of {kind}: it lacks {file.name}. Remove it to start afresh."
        )
    return file.read_bytes()


def load_saved(payload: bytes, file: Path, device: torch.device) -> dict[str, Any]:
    """What `read_saved` read of a file; TrainingError if it is broken."""
    try:
        return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except UNREADABLE as error:
        why_not = first_line(error)
        raise TrainingError(f"{file} cannot be read ({why_not}). Remove the folder to start afresh.") from error


def _restore_weights(network: nn.Module, file: Path, remedy: str) -> None:
    # `torch.save` writes a zip archive, whose checksums `torch.load` never reads: one flipped bit gives other weights.
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
            f"{file} holds other weights than those of {file.parent / CONFIG_FILE} ({first_line(error)}); both "
            f"files must come from one training. {remedy}"
        ) from error


def first_line(error: Exception) -> str:
    """Torch's messages go on with advice on loading unsafe files, or list every weight."""
    return str(error).split("\n", 1)[0].rstrip(":") or type(error).__name__
