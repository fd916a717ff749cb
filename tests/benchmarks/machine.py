"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """Processor and number of cores."""
    described = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(": ")[2] for line in described if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores"
