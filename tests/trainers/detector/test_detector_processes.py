"""What a run leaves outside its folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from trainers.data.slice_set import SliceSet

ALONE = """
import sys
from pathlib import Path
from tests.trainers.disc_slices import FolderContext, tiny_config
from trainers.data.slice_set import open_slice_set
from trainers.detector.training import train_detector
import torch
torch.set_num_threads(2)
train_detector(tiny_config(steps=2), open_slice_set(Path(sys.argv[1])), [], 0, Path(sys.argv[2]),
               FolderContext(Path(sys.argv[2]) / "checkpoint"))
assert torch.get_num_threads() == 2
import os
assert "OMP_NUM_THREADS" not in os.environ
"""


def test_a_run_leaves_nothing_behind(tmp_path: Path, discs: SliceSet) -> None:
    for name in ("home", "here", "temporary", "out"):
        (tmp_path / name).mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "WORLD_SIZE")}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "MPLCONFIGDIR": str(tmp_path / "matplotlib"),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    subprocess.run(
        [sys.executable, "-c", ALONE, str(discs.path), str(tmp_path / "out")],
        cwd=tmp_path / "here",
        env=environment,
        check=True,
    )
    left = [path.name for name in ("home", "here", "temporary") for path in (tmp_path / name).iterdir()]
    assert [name for name in left if not name.startswith("torchinductor")] == [], "torch's own cache apart"


def test_a_process_that_is_killed_leaves_no_settings_of_ultralytics(tmp_path: Path) -> None:
    killed = (
        "import os; from trainers.detector.model import prepare_library; prepare_library(); os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    ended = subprocess.run([sys.executable, "-c", killed], cwd=Path(__file__).parents[3], env=environment)
    assert ended.returncode == -9
    assert not [path for path in tmp_path.rglob("*") if "ltralytics" in path.name]
