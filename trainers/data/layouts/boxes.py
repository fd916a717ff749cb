"""NIfTI volumes with boxes drawn on their axial slices: COCO JSON, YOLO text, Pascal VOC, or CSV.

A picture is named after its volume and slice: `sub-01_z045`, `sub-01-45` or `sub-01_slice45` is slice 45 (from the
lowest, from 0) of `sub-01.nii.gz`; of volumes that all have one name, the folder counts. Pictures show anterior at the
top and the patient's right on the left, as axial DICOM images do.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from nibabel.orientations import io_orientation

from trainers.data.drawn import READERS, Drawn, OneCategory, looks_like_coco
from trainers.data.layouts.contract import NIFTI, Layout, Scan, Tree, patient_of, stem_of
from trainers.data.volume_file import load_image
from trainers.documents import shown
from trainers.exceptions import CohortError

_SLICE = re.compile(r"[-_. ]?(?:z|slice|s)?[-_]?(\d{1,4})", re.IGNORECASE)
COLUMNS = ["z", "x0", "y0", "x1", "y1"]
NO_PICTURES = {"classes", "readme", "requirements", "notes", "labels", "train", "val", "test"}
"""Text files beside YOLO's labels."""


def _volumes(tree: Tree) -> dict[str, Path]:
    """Name -> volume."""
    files = [file for file in tree.files if NIFTI.search(file.name)]
    named = Counter(stem_of(file) for file in files)
    volumes: dict[str, Path] = {}
    for file in files:
        name = stem_of(file) if named[stem_of(file)] == 1 else file.parent.name
        if name in volumes:
            raise CohortError(f"{volumes[name]} and {file} are both called {name}; allowed: one. Rename the other.")
        volumes[name] = file
    return volumes


def _annotations(tree: Tree, form: str) -> list[Path]:
    ending, _ = READERS[form]
    files = [file for file in tree.files if file.suffix.lower() == ending]
    if form == "yolo":
        return [file for file in files if file.stem.lower() not in NO_PICTURES]
    if form == "coco":
        return [file for file in files if looks_like_coco(file)]
    return files


def _place(drawn: Drawn, names: list[str]) -> tuple[str, int]:
    """Volume and slice of a picture; `names` begins with the longest."""
    for name in names:
        match = _SLICE.fullmatch(drawn.image[len(name) :]) if drawn.image.startswith(name) else None
        if match:
            return name, int(match[1])
    raise CohortError(
        f"{drawn.where}: the picture {shown(drawn.image)} is named after no volume; allowed: a volume's name and the "
        f"number of a slice, such as {names[-1]}_z045."
    )


def _scans(form: str) -> Callable[[Tree], Iterator[Scan]]:
    def scans(tree: Tree) -> Iterator[Scan]:
        volumes = _volumes(tree)
        if not volumes:
            raise CohortError(f"{tree.root}: holds no volume (.nii, .nii.gz), only boxes; needed: both.")
        names = sorted(volumes, key=lambda name: (-len(name), name))
        rows: dict[str, list[np.ndarray]] = defaultdict(list)
        shapes: dict[str, tuple[int, ...]] = {}
        seen: dict[tuple[str, int], Drawn] = {}
        category = OneCategory(CohortError)
        for file in _annotations(tree, form):
            for drawn in READERS[form][1](file, CohortError):
                category.add(drawn)
                name, z = _place(drawn, names)
                if (earlier := seen.setdefault((name, z), drawn)) is not drawn:
                    raise CohortError(f"{earlier.where} and {drawn.where}: both are slice {z} of {name}; allowed: one.")
                if name not in shapes:
                    shapes[name] = _canonical_shape(volumes[name])
                rows[name].append(_voxels(drawn, z, shapes[name]))
        for name, volume in volumes.items():
            boxes = np.concatenate(rows[name]) if name in rows else np.zeros((0, 5), dtype=np.int64)
            table = pd.DataFrame(np.unique(boxes, axis=0), columns=COLUMNS) if len(boxes) else None
            yield Scan(patient_of(name), name, volume, boxes=table)

    return scans


def _canonical_shape(volume: Path) -> tuple[int, ...]:
    image = load_image(volume)
    shape = np.empty(3, dtype=int)
    shape[io_orientation(image.affine)[:, 0].astype(int)] = image.shape
    return tuple(shape.tolist())


def _voxels(drawn: Drawn, z: int, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of COLUMNS in canonical voxels: x runs against the picture's columns, y against its rows."""
    if z >= shape[2]:
        raise CohortError(f"{drawn.where}: slice {z} of a volume with {shape[2]} slices; allowed: from 0.")
    x0, y0, x1, y1 = drawn.pixels(shape[0], shape[1], CohortError).T
    low = np.rint(np.stack([shape[0] - x1, shape[1] - y1], axis=1)).clip(0, np.array(shape[:2]) - 1)
    high = np.maximum(np.rint(np.stack([shape[0] - x0, shape[1] - y0], axis=1)), low + 1)
    return np.column_stack([np.full(len(low), z), low, high]).astype(np.int64)


def _layout(form: str, expects: str) -> Layout:
    return Layout(
        form,
        f"CASE.nii.gz, and boxes on its slices CASE_z045 in {expects}",
        lambda tree: any(NIFTI.search(file.name) for file in tree.files) and bool(_annotations(tree, form)),
        _scans(form),
        "Boxes were read as drawn on slices that show anterior at the top and the patient's right on the left, "
        "numbered from the lowest, from 0. Compare a few with the volumes before you train.",
    )


COCO = _layout("coco", "a COCO .json")
YOLO = _layout("yolo", "CASE_z045.txt")
VOC = _layout("voc", "CASE_z045.xml")
CSV = _layout("csv", "a .csv with image, x0, y0, x1, y1, or CASE_z045.csv")
