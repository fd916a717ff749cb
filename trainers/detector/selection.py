"""`selection.json`: which weights a training run kept and which slices it saw."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from trainers.documents import parsed
from trainers.exceptions import TrainingError

SELECTION_FILE = "selection.json"


class Selected(BaseModel):
    """The weights kept, with their figures on the validation split, and the slices behind them."""

    model_config = ConfigDict(frozen=True)

    step: int
    steps: int
    sensitivity: float
    fps_per_slice: float
    confidence: float
    iou: float
    slice_size: int | None = None
    """Side of a slice, pixels; this and what follows `synthetic_slices` is missing in the oldest files."""
    real_slices: int
    synthetic_slices: int
    real_slices_seen: int | None = None
    synthetic_slices_seen: int | None = None
    real_passes: float | None = None
    synthetic_passes: float | None = None


def write_selection(folder: Path, selected: Selected) -> None:
    """Write `selection.json` into a detector's folder."""
    (folder / SELECTION_FILE).write_text(json.dumps(selected.model_dump(), indent=2))


def read_selection(folder: Path) -> Selected | None:
    """What `write_selection` wrote, TrainingError if damaged; None without the file, e.g. for a registered model."""
    file = folder / SELECTION_FILE
    if not file.is_file():
        return None
    return parsed(file.read_bytes(), Selected, file, TrainingError, "Copy the whole folder again.")


def trained_slice_size(folder: Path) -> int | None:
    """Side in pixels of the slices that the detector in `folder` was trained on; None where that is not recorded."""
    selected = read_selection(folder)
    return selected and selected.slice_size


def trained_on_synthetic(folder: Path) -> int:
    """How many synthetic slices the detector in `folder` was trained on; 0 where that is not recorded."""
    selected = read_selection(folder)
    return selected.synthetic_slices if selected else 0
