"""The FROC curve of one arm with its band, as figures and pages draw it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trainers.evaluation.bootstrap import bootstrap_weights, froc_band
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.froc import MOST_FPS
from trainers.evaluation.outcome import Outcome


def froc_curve(outcomes: Sequence[Outcome], config: EvaluationConfig) -> tuple[pd.DataFrame, tuple[float, float]]:
    """The mean curve of several detectors, and the point of the config's confidence on it.

    Args:
        outcomes: one per seed, all on the same slices.
        config: number and seed of the resamples, and the confidence.

    Returns:
        `froc_band` up to where the curves end on average, and the point's false positives per slice and sensitivity.
    """
    grid = np.linspace(0, MOST_FPS, 401)
    weights = bootstrap_weights(len(outcomes[0].truth.patients), config.bootstraps, config.seed)
    band = froc_band(outcomes, grid, weights)
    end = np.mean([outcome.fps_per_slice for outcome in outcomes])
    shown = [outcome.at(config.confidence) for outcome in outcomes]
    fps, sensitivity = np.mean([(outcome.fps_per_slice, outcome.found.mean()) for outcome in shown], axis=0)
    return band[band["fps_per_slice"] <= max(end, grid[1])], (float(fps), float(sensitivity))
