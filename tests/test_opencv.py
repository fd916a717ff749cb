"""A machine without a desktop needs no system package: OpenCV is the headless one, and Ultralytics takes it."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

DESKTOP = ("libGL", "libgthread", "libX", "libxcb", "libSM", "libICE", "Qt", "libgtk")

USES = """
import importlib.metadata as metadata
from pathlib import Path
asked = []
for name in ("distribution", "version"):
    of = getattr(metadata, name)
    setattr(metadata, name, lambda package, of=of: asked.append(package) or of(package))
from trainers.detector.config import DetectorConfig
from trainers.detector.model import build_model
build_model(DetectorConfig(width=0.05, depth=0.1))
import cv2, ultralytics
assert cv2.resize(__import__("numpy").zeros((4, 4), "uint8"), (2, 2)).shape == (2, 2)
loaded = Path("/proc/self/maps").read_text()
print("libGL" in loaded, "libgthread" in loaded, "opencv-python" in asked)
"""


def test_the_headless_opencv_is_the_only_one() -> None:
    assert metadata.version("opencv-python-headless")
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("opencv-python")


def test_it_links_nothing_of_a_desktop() -> None:
    files = metadata.files("opencv-python-headless") or []
    libraries = [Path(str(file.locate())) for file in files if ".so" in file.name]
    assert any(library.name.startswith("cv2") for library in libraries)
    for library in libraries:
        linked = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
        assert not [name for name in DESKTOP if name in linked], f"{library}\n{linked}"


def test_ultralytics_builds_a_model_with_it_and_loads_nothing_of_a_desktop() -> None:
    done = subprocess.run([sys.executable, "-c", USES], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False False False"
