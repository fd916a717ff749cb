"""Detectors that learnt nothing: some trainings collapse, and a mean over seeds would hide that."""

from __future__ import annotations

from trainers.evaluation.metrics_file import Metrics


def collapse(metrics: Metrics) -> str | None:
    """Why a detector counts as collapsed, None if it does not; judged on the validation split.

    It has no detection, or its sensitivity at the first IoU threshold is not above the upper end of what the same
    detections find on shuffled boxes (`chance`).
    """
    figures = next(iter(metrics["validation"].values()))
    if figures["true_positives"] + figures["false_positives"] == 0:
        return "no detection on validation"
    sensitivity, chance = figures["sensitivity"], figures["chance"]
    upper = chance["interval"][1] if chance else 0.0
    return f"validation sensitivity {sensitivity:.3f}, by chance up to {upper:.3f}" if sensitivity <= upper else None
