"""The tools that check files of infra, which `make` puts into build/tools."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.source_files import ROOT

INFRA = ROOT / "infra"
TOOLS = ROOT / "build" / "tools"


def tool(name: str) -> str:
    """A tool of build/tools, of the environment or of the system; fails the test if none has it."""
    folders = f"{TOOLS}:{ROOT / '.venv' / 'bin'}"
    program = shutil.which(name, path=folders) or shutil.which(name)
    assert program, f"{name} is missing: run `make build/tools/kubectl build/tools/prometheus`"
    return program


def run_tool(name: str, *arguments: str | Path) -> str:
    """What a tool prints; fails the test if the tool fails."""
    done = subprocess.run([tool(name), *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{name} {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}"
    return done.stdout
