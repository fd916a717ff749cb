"""A process that is killed while it writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.source_files import ROOT


def killed_writer(code: str, path: Path, lines: int) -> int:
    """Run code that prints a line for everything it has written to `path`, and kill it after so many `lines`.

    Returns:
        The number of lines that it printed in all.
    """
    process = subprocess.Popen([sys.executable, "-c", code, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    process.kill()
    printed = lines + len(process.stdout.read().split())
    process.wait()
    return printed
