"""The tools that check files of infra, which `make` puts into build/tools."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.source_files import ROOT

INFRA = ROOT / "infra"
TOOLS = ROOT / "build" / "tools"


def run_tool(name: str, *arguments: str | Path) -> str:
    """What a tool of build/tools, of the environment or of the system prints; fails the test if the tool fails."""
    folders = f"{TOOLS}:{ROOT / '.venv' / 'bin'}"
    tool = shutil.which(name, path=folders) or shutil.which(name)
    assert tool, f"{name} is missing: run `make build/tools/{name}`"
    done = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{name} {' '.join(map(str, arguments))}:\n{done.stdout}{done.stderr}"
    return done.stdout
