"""What must be the same on all machines of a study: code and the libraries that decide its results."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

ROOMS = ("search_spaces", "sweep", "trainers")
"""Packages of metsweep whose code and presets decide what a study does."""


@cache
def versions() -> dict[str, str]:
    """Name -> version on this machine; of Python without the patch level, of torch without its CUDA or CPU build."""
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "Ray": metadata.version("ray"),
        "torch": metadata.version("torch").partition("+")[0],
        "metsweep": f"{metadata.version('metsweep')}, code {_checksum()[:12]}",
    }


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What differs between two machines, in words."""
    pairs = {name: (there.get(name, "unknown"), here.get(name, "unknown")) for name in {**here, **there}}
    return [f"{name} {at} there, {own} here" for name, (at, own) in pairs.items() if at != own]


def _checksum() -> str:
    """Of the code itself: two states of one version differ."""
    root = Path(__file__).resolve().parents[1]
    files = (file for room in ROOMS for pattern in ("*.py", "*.yaml") for file in (root / room).rglob(pattern))
    digest = hashlib.sha256()
    for name, file in sorted((file.relative_to(root).as_posix(), file) for file in files):
        digest.update(f"{name}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
