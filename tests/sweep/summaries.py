"""Figures as `metrics.json` and `realism.json` hold them, without an evaluation or synthetic slices."""

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


def realism_report(variant: str, sliced_wasserstein: float, recall: float = 0.8, judge: float = 0.9) -> dict[str, Any]:
    """All that is told of the slices of a source; `recall` of their conditioning boxes, at IoU 0.25 0.1 more.

    `judge`: share of real lesions that the detector which judges them finds.
    """

    def fidelity(conditioned: float) -> dict[str, Any]:
        of_boxes = {"conditioned": conditioned, "random": 0.1, "real": judge}
        return {what: {"recall": found, "interval": [0.0, 1.0]} for what, found in of_boxes.items()}

    compared = {"features": {}, "ms_ssim": None}
    memorisation = {
        "training_patients": 3, "held_out_patients": 3, "nearest_is_training": 0.5, "nearest_interval": [0.3, 0.7],
        "nearest_p": 0.3, "close_share": 0.0, "close_share_held_out": 0.0, "close_p": 0.3, "close_distance": 1.0,
        "copies": 0, "synthetic_slices": 12, "p": 0.6, "splits_alike_p": 0.5, "smallest_p": 0.01, "verdict": "no_sign",
    }  # fmt: skip
    return {
        "compared_slices": 12,
        "real": {**compared, "sliced_wasserstein": 5.0},
        "synthetic": {
            variant: {
                **compared,
                "sliced_wasserstein": sliced_wasserstein,
                "slices": 12,
                "box_fidelity": {"iou50": fidelity(recall), "iou25": fidelity(recall + 0.1)},
                "memorisation": memorisation,
            }
        },
        "notes": [],
    }
