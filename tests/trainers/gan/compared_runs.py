"""How the results of two GAN runs differ: each weight and each line of the history, told apart and in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

CLOCK = {"time": 0, "gan/sec_per_kimg": 0, "gan/peak_memory_gib": 0}
"""What differs between equal runs."""


def weights(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "generator.pt", weights_only=True)


def history(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) | CLOCK for line in (out / "history.jsonl").read_text().splitlines()]


def differences(one: Path, other: Path) -> str:
    """A line for each weight and each figure that is not equal bit for bit; empty where none is."""
    lines = []
    others = weights(other)
    for name, value in weights(one).items():
        if not torch.equal(value, others[name]):
            most = (value - others[name]).abs().max()
            lines.append(f"weights {name}: differ by up to {most:.3g}, largest {value.abs().max():.3g}")
    first, second = history(one), history(other)
    if len(first) != len(second):
        lines.append(f"history: {len(first)} and {len(second)} lines")
    for a, b in zip(first, second, strict=False):
        for key in sorted(a | b):
            if a.get(key) != b.get(key):
                lines.append(f"history at {a['images']} images, {key}: {a.get(key)} and {b.get(key)}")
    return "\n".join(lines)
