"""What a training run would write into `selection.json`."""

from __future__ import annotations

from trainers.detector.selection import Selected

SELECTED = Selected(
    step=10,
    steps=10,
    sensitivity=0.5,
    fps_per_slice=2.0,
    confidence=0.001,
    iou=0.5,
    slice_size=32,
    real_slices=10,
    synthetic_slices=5,
)
