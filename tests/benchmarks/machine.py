"""What a benchmark ran on, and how it came off."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import NamedTuple


def machine() -> str:
    """Processor and number of cores."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in described if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"


class Verdict(NamedTuple):
    """A figure as printed, and whether it reached its target."""

    figure: str
    measured: str
    target: str
    met: bool
