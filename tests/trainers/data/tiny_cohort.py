"""Cohorts of many subjects whose volumes are so small that each takes milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image

from tests.trainers.data.phantom import write_manifest
from trainers.data.demo.lesions import draw_count
from trainers.data.demo.patient import split_of

SHAPE = (14, 16, 10)
AFFINE = np.diag([10.0, 10.0, 12.0, 1.0])
LESIONS_MEDIAN = 6.0


def tiny_brain(seed: int) -> np.ndarray:
    """A stripped ellipsoid of a litre."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1.1, 1.1, n) for n in SHAPE), indexing="ij"))
    noise = np.random.default_rng(seed).normal(100, 5, SHAPE)
    return np.where((grid**2).sum(axis=0) < 1, noise, 0).astype(np.float32)


def boxes_of(number: int, seed: int = 0) -> list[tuple[int, int, int, int, int]]:
    """As many boxes of one voxel as the demo cohort's patient has lesions, which touch nowhere."""
    places = [(x, y, z) for z in (3, 5, 7) for x in (4, 6, 8) for y in (5, 7, 9)]
    return [(z, x, y, x + 1, y + 1) for x, y, z in places[: draw_count(LESIONS_MEDIAN, number, seed)]]


def make_tiny_cohort(folder: Path, patients: int, normals: int = 0, **manifest: Any) -> Path:
    """Subjects named and split as those of the demo cohort."""
    subjects: list[dict[str, Any]] = []
    for kind, count in (("tumour", patients), ("normal", normals)):
        for number in range(1, count + 1):
            name = f"{'P' if kind == 'tumour' else 'N'}{number:03d}"
            (folder / name).mkdir(parents=True)
            volume = tiny_brain(number + (1000 if kind == "normal" else 0))
            subject = {"patient_id": name, "kind": kind, "volume": f"{name}/t1c.nii.gz", "stripped": True}
            subject["split"] = split_of(number) if kind == "tumour" else "train"
            subject["scanner"] = f"{1.5 * (1 + number % 2)}T"
            if kind == "tumour":
                for z, x, y, _, _ in boxes_of(number):
                    volume[x, y, z] = 200
                lines = [",".join(map(str, box)) for box in boxes_of(number)]
                subject["boxes"] = f"{name}/boxes.csv"
                (folder / name / "boxes.csv").write_text(
                    "\n".join(["z,x0,y0,x1,y1,patient", *(f"{line},{name}" for line in lines)])
                )
            Nifti1Image(volume, AFFINE).to_filename(folder / str(subject["volume"]))
            subjects.append(subject)
    write_manifest(folder, subjects, **manifest)
    return folder
