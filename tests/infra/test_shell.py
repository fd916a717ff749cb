"""Every shell script passes shellcheck."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.source_files import ROOT

SCRIPTS = [
    ROOT / ".ci/run",
    *sorted(path for path in (ROOT / "infra").rglob("*") if path.suffix in (".sh", ".sbatch")),
]

pytestmark = pytest.mark.skipif(shutil.which("shellcheck") is None, reason="apt-get install shellcheck")


def check(script: Path) -> str:
    return subprocess.run(["shellcheck", script], capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_shellcheck_accepts_the_script(script: Path) -> None:
    assert check(script) == ""


def test_shellcheck_sees_a_fault(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\nrm $1\n")
    assert "SC2086" in check(script)
