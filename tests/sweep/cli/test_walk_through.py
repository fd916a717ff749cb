"""From a downloaded public data set to the paper's Table 1: the five commands of trainers/data/README.md."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.source_files import ROOT
from tests.sweep.cli.conftest import Metsweep
from tests.trainers.data import public_sets
from tests.trainers.disc_slices import tiny_config

SIZE = 32
FIDELITY = {
    "prepare": {"size": SIZE},
    "gan": {
        "resolution": SIZE, "initial_resolution": 16, "width": 0.02, "latent_size": 8, "total_kimg": 0.03,
        "fade_kimg": 0.01, "stable_kimg": 0.01, "checkpoint_kimg": 0.006, "batch_size": 2,
    },
    "synthesis": {"shard_size": 4, "batch_size": 4, "curate": False},
    "detector": tiny_config().model_dump(mode="json"),
    "evaluation": {"confidence": 0.5, "froc_confidence": 0.3, "bootstraps": 100},
    "realism": {"slices": 16},
    "count_scale": 0.001,
}  # fmt: skip
"""Every stage takes seconds, and 4,000 synthetic slices are 4."""


def walk_through() -> list[str]:
    """The commands of the README's first block."""
    block = re.search(r"^```bash\n(.*?)^```$", (ROOT / "trainers/data/README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    return block[1].splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arms", "variants"),
    [
        pytest.param("--set 'arms=[{variant: none}]'", {"none": 1}, id="none"),
        pytest.param(
            "", {"none": 1, "cpggan": 3, "cpggan+normal": 3, "image2image": 3}, id="all",
            marks=(pytest.mark.long, pytest.mark.timeout(1500)),
        ),
    ],
)  # fmt: skip
def test_a_downloaded_data_set_becomes_table_1(
    metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arms: str, variants: dict[str, int]
) -> None:
    monkeypatch.chdir(tmp_path)
    public_sets.brats(tmp_path, patients=4)
    public_sets.ixi(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(FIDELITY))
    *first, launch = walk_through()
    assert len(first) == 4
    assert "launch table1 --fidelity gpu" in launch
    for command in first:
        ended = metsweep(*shlex.split(command)[1:])
        assert ended.code == 0, f"{command}\n{ended.err}"
    command = launch.replace("--fidelity gpu", f"--fidelity tiny.yaml --set seeds=[0] {arms}")
    launched = subprocess.run(  # Ray starts and ends with it
        [sys.executable, "-m", "sweep.cli", *shlex.split(command)[1:]],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert launched.returncode == 0, f"{command}\n{launched.stdout}\n{launched.stderr}"
    rows = json.loads(metsweep("report", "table1", "--json").out)["tables"]["table1"]["rows"]
    assert Counter(row["variant"] for row in rows if row["seeds_complete"] == 1) == variants
