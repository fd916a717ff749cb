"""What versions.env and constraints.txt pin."""

from __future__ import annotations

from tests.source_files import ROOT


def versions() -> dict[str, str]:
    """Key -> version or image of versions.env."""
    lines = (ROOT / "infra/versions.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def pinned() -> dict[str, str]:
    """Python package -> version."""
    return dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
