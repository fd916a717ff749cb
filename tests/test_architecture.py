"""The rooms of the repository: what lies where, and who may import whom."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.source_files import ROOT, circle, grouped, imported, imports_of, modules

ROOMS = ("trainers", "search_spaces", "sweep", "dashboards")
"""From the lowest to the highest: each imports only what stands before it, and itself."""
FLOORS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "trainers": (("data",), ("detector",), ("evaluation",), ("gan",), ("pasting",), ("inpainting",)),
    "sweep": (
        ("store",),
        ("stages",),
        ("plan",),
        ("objectives", "studies"),
        ("detect", "models"),
        ("tracking",),
        ("engine",),
        ("report",),
        ("frames", "registry"),
        ("doctor",),
        ("cli",),
    ),
    "dashboards": (("web",), ("reader_study", "review", "slices", "study", "volumes")),
}
"""Room -> its folders and some files, from the lowest: each imports only what stands before it, and its own floor.

Below all of them lie the room's other files.
"""
TOP_LEVEL = {
    "search_spaces", "trainers", "sweep", "infra", "dashboards", "tests",
    "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml",
}  # fmt: skip
BARRED_FROM_TRAINERS = {"ray", "mlflow", "boto3", "botocore", "s3fs", "optuna", "typer"}
WITHOUT_RAY_AND_MLFLOW = """
import importlib, pkgutil, sys
sys.modules["ray"] = sys.modules["mlflow"] = None
for name in ("trainers.gan", "trainers.detector", "trainers.evaluation"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)
        print(module.name)
"""


def roots(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(file)}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    higher = {*ROOMS[ROOMS.index(room) + 1 :], "tests", "infra"}
    wrong = {str(file): sorted(roots(file) & higher) for file in modules(room) if roots(file) & higher}
    assert not wrong


@pytest.mark.parametrize("room", FLOORS)
def test_nothing_imports_upward_within_a_room(room: str) -> None:
    floor_of = {f"{room}.{name}": number for number, names in enumerate(FLOORS[room], 1) for name in names}
    folders = {f"{room}.{file.parent.name}" for file in (ROOT / room).glob("*/*.py")}
    assert folders <= floor_of.keys(), "every folder of a room has a floor"
    graph = grouped(imports_of(modules(room)), depth=2)
    upward = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others - {room}
        if floor_of.get(name, 0) < floor_of.get(other, 0)
    ]
    assert not upward


def test_no_file_imports_a_file_that_imports_it() -> None:
    assert circle(imports_of(file for room in ROOMS for file in modules(room))) == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_folder_imports_a_folder_that_imports_it(room: str) -> None:
    assert circle(grouped(imports_of(modules(room)), depth=2)) == []


def test_tests_import_from_no_other_test() -> None:
    tests = modules("tests")
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in tests
        for name in imported(file)
        if name.startswith("tests.") and name.rpartition(".")[2].startswith("test_")
    ]
    assert not wrong


def test_circles_are_seen() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_trainers_know_neither_the_cluster_nor_the_tracking_nor_the_object_store() -> None:
    files = modules("trainers")
    assert len(files) > 20
    distributed = ROOT / "trainers" / "distributed.py"
    for file in files:
        allowed = {"ray"} if file == distributed else set()
        assert not roots(file) & (BARRED_FROM_TRAINERS - allowed), file
        assert not any(name.startswith(("pyarrow.fs", "ray.tune")) for name in imported(file)), file


def test_import_scan_sees_imports_within_functions(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("import os\n\ndef later():\n    from ray import tune\n    import mlflow.pyfunc\n")
    assert roots(file) == {"os", "ray", "mlflow"}
    assert "ray.tune" in imported(file)


def test_training_and_evaluation_import_without_ray_and_mlflow() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_RAY_AND_MLFLOW], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"trainers.gan.training", "trainers.detector.training", "trainers.evaluation.evaluate"} <= set(
        done.stdout.split()
    )


def test_top_level_holds_the_rooms_and_nothing_else() -> None:
    ignored = [line.strip().strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.strip()]
    there = {
        entry.name
        for entry in ROOT.iterdir()
        if not entry.name.startswith(".") and not any(fnmatch(entry.name, pattern) for pattern in ignored)
    }
    assert there == TOP_LEVEL
