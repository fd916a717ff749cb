"""Figures of an evaluation as `metrics.json` holds them, without an evaluation."""

from __future__ import annotations

from typing import Any


def summary(sensitivity: float, fps_per_slice: float = 2.0, **changes: Any) -> dict[str, Any]:
    """All figures at one IoU threshold; those of the curve are the detector's own."""
    point = {"sensitivity": sensitivity, "interval": [0.0, 1.0], "confidence": 0.5, "fps_per_slice": fps_per_slice}
    return {
        "sensitivity": sensitivity,
        "fps_per_slice": fps_per_slice,
        "true_positives": 1,
        "false_positives": 2,
        "lesions": 2,
        "slices": 1,
        "patients": 1,
        "patients_with_lesions": 1,
        "intervals": {"level": 0.95, "sensitivity": [0.0, 1.0], "fps_per_slice": [0.0, 4.0]},
        "at_fps_per_slice": {f"{fps}": {**point, "ends_before": False} for fps in (1, 2, 4, 8)},
        "by_diameter": {},
        "by_scanner": {},
        "lesion_level": None,
        "chance": None,
        "calibration": None,
        **changes,
    }
