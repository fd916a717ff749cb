"""What a detector would seem to find if lesions lay anywhere: boxes shuffled between slices."""

from __future__ import annotations

import numpy as np

from trainers.evaluation.bootstrap import interval
from trainers.evaluation.metrics_file import Chance
from trainers.evaluation.outcome import Outcome, Truth, match_outcomes

SHUFFLES = 50


def chance(outcome: Outcome, seed: int = 0, shuffles: int = SHUFFLES) -> Chance | None:
    """Sensitivity of an outcome's detections when every slice has the boxes of another slice; None for a single slice.

    The other slice is of another patient (where no patient has more than half of the slices), because neighbouring
    slices show the same lesion at nearly the same place. Boxes keep their size and number, and their place in the slice
    changes as lesions' places do.
    """
    if len(outcome.truth.slices) < 2:
        return None
    draw = np.random.default_rng(seed)
    detections = outcome.detections.drop(columns="lesion_row")
    values = []
    for _ in range(shuffles):
        shuffled = shuffle_boxes(outcome.truth, draw)
        by_chance = match_outcomes(detections, shuffled, [outcome.iou])[outcome.iou]
        values.append(float(by_chance.found.mean()))
    return Chance(sensitivity=float(np.mean(values)), interval=list(interval(np.array(values))), shuffles=shuffles)


def shuffle_boxes(truth: Truth, draw: np.random.Generator) -> Truth:
    """The same slices, each with the boxes of another one: patients one after another, rolled on by a random number."""
    slices = len(truth.slices)
    order = np.lexsort((draw.random(slices), truth.patient_of_slice))
    longest = int(np.bincount(truth.patient_of_slice).max())
    low = longest if 2 * longest <= slices else 1
    moves_to = np.empty(slices, dtype=np.int64)
    moves_to[order] = np.roll(order, int(draw.integers(low, slices - low + 1)))
    lesions = truth.lesions.assign(slice=moves_to[truth.lesions["slice"].to_numpy(dtype=np.int64)])
    return Truth(truth.slices, lesions.sort_values("slice", kind="stable", ignore_index=True))
