"""Small volumes and cohorts for the tests of `trainers.data`."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nibabel.loadsave import load
from nibabel.nifti1 import Nifti1Image
from nibabel.orientations import apply_orientation, inv_ornt_aff

SPACING = (3.0, 3.0, 4.0)
SHAPE = (60, 70, 40)
LESION = (slice(20, 24), slice(30, 35), slice(18, 21))


def package_file(package: str, relative: str) -> Path:
    """A data file inside an installed package."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / relative


def voxels(path: Path) -> np.ndarray:
    """A file's voxels, as they lie in it."""
    return np.asarray(load(path).dataobj)  # pyright: ignore[reportAttributeAccessIssue]


def stripped_brain(seed: int = 0, lesion: bool = True) -> np.ndarray:
    """An ellipsoid of brain without skull, X x Y x Z float32, with a bright lesion at LESION."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij"))
    brain = (grid**2 * np.array([1.4, 1.2, 1.3])[:, None, None, None]).sum(axis=0) < 1
    noise = np.random.default_rng(seed).normal(0, 4, SHAPE)
    volume = np.where(brain, 100 + 20 * grid[1] + noise, 0)
    if lesion:
        volume[LESION] = 200
    return volume.astype(np.float32)


def save(path: Path, volume: np.ndarray, axes: str = "RAS", spacing: tuple[float, float, float] = SPACING) -> None:
    """Write a canonical volume with the voxel axes of the file running to `axes`; the same place in the world."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-90, -105, -80]
    ornt = np.array([["RAS".find(a) if a in "RAS" else "LPI".find(a), 1 if a in "RAS" else -1] for a in axes])
    forth = np.empty((3, 2))
    for file_axis, (canonical_axis, flip) in enumerate(ornt):
        forth[canonical_axis] = [file_axis, flip]
    path.parent.mkdir(parents=True, exist_ok=True)
    moved = apply_orientation(volume, forth)
    Nifti1Image(moved, affine @ inv_ornt_aff(forth, volume.shape)).to_filename(path)


def make_cohort(folder: Path, patients: int = 3, normals: int = 1, mask: bool = False, **changes: Any) -> Path:
    """A cohort of stripped phantoms; `changes` goes into the first subject."""
    subjects: list[dict[str, Any]] = []
    for number in range(patients + normals):
        tumour = number < patients
        name = f"P{number:03d}"
        save(folder / name / "t1c.nii.gz", stripped_brain(number, lesion=tumour))
        kind = "tumour" if tumour else "normal"
        subjects.append({"patient_id": name, "kind": kind, "scanner": "S", "volume": f"{name}/t1c.nii.gz"})
        if tumour and mask:
            found = np.zeros(SHAPE, dtype=np.uint8)
            found[LESION] = 10 + number
            save(folder / name / "mask.nii.gz", found)
            subjects[-1]["mask"] = f"{name}/mask.nii.gz"
        elif tumour:
            x, y, z = LESION
            rows = [(k, x.start, y.start, x.stop, y.stop) for k in range(z.start, z.stop)]
            boxes = pd.DataFrame(rows, columns=["z", "x0", "y0", "x1", "y1"]).assign(patient=name)
            boxes.to_csv(folder / name / "boxes.csv", index=False)
            subjects[-1]["boxes"] = f"{name}/boxes.csv"
        subjects[-1]["stripped"] = True
    subjects[0].update(changes)
    write_manifest(folder, subjects)
    return folder


def write_manifest(folder: Path, subjects: list[dict[str, Any]], **more: Any) -> None:
    """Write cohort.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cohort.json").write_text(json.dumps({"name": "phantom", "subjects": subjects, **more}))


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The subjects of cohort.json."""
    return json.loads((folder / "cohort.json").read_text())["subjects"]
