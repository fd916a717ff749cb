"""Applies a trained detector to one volume: boxes in pixels, voxels and millimetres, lesions, and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from pydantic import ValidationError

from sweep.lesions import link, list_lesions, write_lesions
from sweep.stages import DetectorStage, PrepareStage
from sweep.store import Manifest, Store
from trainers.data.slice_set import open_slice_set
from trainers.data.volume import SliceConfig, VolumeSlices, volume_slices
from trainers.data.volume_file import load_image
from trainers.detector.prediction import Detector, load_detector, predict
from trainers.distributed import Placement
from trainers.documents import MIB, read_json, why
from trainers.exceptions import TrainingError
from trainers.weights import check_folder

SLICES_FILE = "slices.json"
"""Beside a detector's weights: the SliceConfig of the slices that it was trained on."""
COLUMNS = (
    "z", "x0", "y0", "x1", "y1",
    "i0", "j0", "k0", "i1", "j1", "k1",
    "mm_x0", "mm_y0", "mm_z0", "mm_x1", "mm_y1", "mm_z1",
    "confidence",
)  # fmt: skip
"""z: canonical slice; x, y: pixels of the prepared slice; i, j, k: voxel edges of the file; mm: world (RAS+)."""
SPACE = "RAS+"
"""The space of the millimetres in each line of `boxes.csv` (column `mm_space`)."""
COORDINATES = {
    "slice": "axial slices from inferior to superior, from 0",
    "pixels": "edges on the prepared slice: x from the patient's right to the left, y from anterior to posterior",
    "voxels": "edges along the axes of the file: voxel i covers i to i + 1",
    "mm": f"{SPACE}, the world of the file's affine (NIfTI, nibabel): x to the right, y to anterior, z to superior; "
    "for LPS+ (DICOM, ITK) turn the signs of x and y and swap their lower and upper",
}
"""Explains the numbers in `boxes.json`."""
MODEL_COLUMNS = ("slice", *COLUMNS[1:])
"""Columns of the detector's MLflow model; `slice` is z, or the position for slices without a volume."""
OVERLAY_SIDE = 512
COLOUR = "#ffd600"
BACKGROUND = "#000000"
LETTERS = "#ffffff"
NUMBER_SIZE = 14
LETTER_SIZE = 20


@dataclass(frozen=True)
class Detections:
    """A detector's boxes in a volume."""

    boxes: pd.DataFrame
    """One row per box, columns COLUMNS; by slice, then by falling confidence."""
    slices: VolumeSlices
    """The slices that the detector saw."""


def detect(
    volume: Path,
    detector_dir: Path,
    config: SliceConfig,
    out: Path,
    *,
    confidence: float,
    model: str,
    quality: Mapping[str, Any] | None = None,
    stripped: bool | None = None,
) -> Detections:
    """Find lesions in a volume and write boxes, lesions and pictures into the existing folder `out`.

    That is `boxes.json`, `boxes.csv` and `overlays/`, and what `sweep.lesions.write_lesions` writes.

    Args:
        volume: NIfTI file, T1 after contrast, with or without skull.
        detector_dir: what `train_detector` wrote.
        config: how the detector's training slices were made; the volume's are made the same way.
        confidence: detections below it are left out.
        model: name of the detector for `boxes.json`.
        quality: validation figures for `boxes.json`; None if unknown.
        stripped: whether the volume shows only the brain; None detects it.

    Raises:
        CohortError: the volume cannot be used.
        TrainingError: `detector_dir` holds no detector.
    """
    detections = find(load_detector(detector_dir, Placement.alone().device), volume, config, confidence, stripped)
    lesion = link(detections.boxes)
    lesions = list_lesions(detections.boxes, lesion, detections.slices.geometry.mm_per_pixel)
    write_lesions(load_image(volume), detections.boxes, lesion, lesions, out)
    linked = detections.boxes.assign(mm_space=SPACE, lesion=lesion)
    linked.to_csv(out / "boxes.csv", index=False)
    about = {
        "volume": str(volume),
        "model": model,
        "detector_on_validation": quality,
        "confidence": confidence,
        "slices": len(detections.slices.images),
        "coordinates": COORDINATES,
    }
    boxes = [_nested(row) for row in linked.to_dict("records")]
    (out / "boxes.json").write_text(json.dumps({**about, "boxes": boxes}, indent=2))
    draw_overlays(detections.slices, detections.boxes, out / "overlays")
    return detections


def find(
    detector: Detector, volume: Path, config: SliceConfig, confidence: float, stripped: bool | None = None
) -> Detections:
    """What `detect` does, with an opened detector and writing nothing; CohortError for a volume that cannot be used."""
    slices = volume_slices(volume, config, stripped)
    return Detections(_located(predict(detector, slices.images, confidence), slices), slices)


def slice_config(detector_dir: Path) -> SliceConfig:
    """How the slices were made that a detector was trained on.

    The config lies beside the weights, or is that of the `prepare` artifact that the detector's manifest names.

    Raises:
        TrainingError: the config is unknown, or `detector_dir` holds no detector.
    """
    check_folder(detector_dir, "model.pt", "detector")
    beside = detector_dir / SLICES_FILE
    if beside.is_file():
        return _slice_config(read_json(beside, TrainingError, MIB), beside)
    made = Manifest.beside(detector_dir)
    if made is not None and made.stage == DetectorStage.name:
        key = made.identity["inputs"]["slices"]
        prepared = Store(detector_dir.absolute().parent.parent).find(PrepareStage.name, key)
        if prepared is not None:
            return _slice_config(prepared.manifest.identity["config"], prepared.path)
    raise TrainingError(
        f"{detector_dir} does not record how its training slices were made: {SLICES_FILE} is missing. "
        "Name the slice set that the detector was trained on with --slices."
    )


def slice_config_of_set(slices: Path) -> SliceConfig:
    """How the slices of a set were made; SliceSetError if it is none, TrainingError if `meta.json` does not say."""
    return _slice_config(open_slice_set(slices).prepared_with, slices / "meta.json")


def _slice_config(fields: Mapping[str, Any], where: Path) -> SliceConfig:
    try:
        needed = {name for name, field in SliceConfig.model_fields.items() if field.exclude_if is None}
        known = {name: fields[name] for name in SliceConfig.model_fields if name in needed or name in fields}
        return SliceConfig.model_validate(known)
    except (KeyError, TypeError, ValidationError) as error:
        reason = why(error) if isinstance(error, ValidationError) else f"{error} is missing"
        raise TrainingError(f"{where} does not record how slices are made: {reason}. Prepare and train anew.") from None


def _located(detections: pd.DataFrame, slices: VolumeSlices) -> pd.DataFrame:
    z = slices.z[detections["slice"].to_numpy()]
    pixels = detections[["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64)
    voxels = slices.geometry.to_file(pixels, z).reshape(len(z), 6)
    world = slices.geometry.to_world(pixels, z).reshape(len(z), 6)
    values = np.column_stack([z, pixels, voxels, world, detections["confidence"].to_numpy()])
    return pd.DataFrame(values, columns=list(COLUMNS)).astype({"z": np.int64})


def _nested(row: Mapping[Any, Any]) -> dict[str, Any]:
    def pick(*names: str) -> list[float]:
        return [round(float(row[name]), 3) for name in names]

    return {
        "slice": int(row["z"]),
        "pixels": {"lower": pick("x0", "y0"), "upper": pick("x1", "y1")},
        "voxels": {"lower": pick("i0", "j0", "k0"), "upper": pick("i1", "j1", "k1")},
        "mm": {"lower": pick("mm_x0", "mm_y0", "mm_z0"), "upper": pick("mm_x1", "mm_y1", "mm_z1")},
        "confidence": round(float(row["confidence"]), 4),
        "lesion": int(row["lesion"]),
    }


def draw_overlays(slices: VolumeSlices, boxes: pd.DataFrame, folder: Path) -> None:
    """One PNG for each slice with a detection: the slice enlarged, boxes with confidence, its number, R and L."""
    folder.mkdir()
    size = slices.images.shape[1]
    factor = max(1, OVERLAY_SIDE // size)
    position = {int(z): i for i, z in enumerate(slices.z)}
    for z, on_slice in boxes.groupby("z"):
        image = Image.fromarray(slices.images[position[int(str(z))]]).convert("RGB")
        image = image.resize((size * factor, size * factor), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(image)
        for x0, y0, x1, y1 in on_slice[["x0", "y0", "x1", "y1"]].to_numpy():
            pen.rectangle((x0 * factor, y0 * factor, x1 * factor, y1 * factor), outline=COLOUR, width=2)
        # Above all boxes, so that none runs through a number.
        for x0, y0, confidence in on_slice[["x0", "y0", "confidence"]].to_numpy():
            _number(pen, (x0 * factor, y0 * factor), f"{confidence:.2f}")
        _label(pen, int(str(z)), size * factor)
        image.save(folder / f"z{int(str(z)):03d}.png")


def _number(pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str) -> None:
    """A text on black, legible on any tissue: above a box, or within it at the upper border of the picture."""
    font = ImageFont.load_default(NUMBER_SIZE)
    x, y = corner
    left, _, right, _ = pen.textbbox((x, 0), text, font=font)
    top = y - NUMBER_SIZE - 2 if y > NUMBER_SIZE + 2 else y + 2
    pen.rectangle((left - 1, top, right + 1, top + NUMBER_SIZE), fill=BACKGROUND)
    pen.text((x, top + NUMBER_SIZE / 2), text, fill=COLOUR, font=font, anchor="lm")


def _label(pen: ImageDraw.ImageDraw, z: int, side: int) -> None:
    """The slice's number, and the patient's sides: prepared slices show the right on the left (radiological)."""
    font = ImageFont.load_default(LETTER_SIZE)
    pen.text((4, side / 2), "R", fill=LETTERS, font=font, anchor="lm")
    pen.text((side - 4, side / 2), "L", fill=LETTERS, font=font, anchor="rm")
    pen.text((4, side - 4), f"slice {z}", fill=LETTERS, font=font, anchor="ls")
