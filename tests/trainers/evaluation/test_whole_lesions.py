from __future__ import annotations

import numpy as np
import pytest

from tests.trainers.evaluation.cases import make_outcome, make_truth, random_case
from trainers.evaluation.arms import Arm
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.lesion_level import WholeLesions, lesion_figures
from trainers.evaluation.outcome import Truth, match_outcomes
from trainers.evaluation.whole_lesions import gains_by_size, size_classes

CONFIG = EvaluationConfig(confidence=0.3, froc_confidence=0, bootstraps=500)
A, B, C = (0, 0, 10, 10), (50, 50, 60, 60), (80, 80, 90, 90)
SLICES = [(patient, "s", f"v{patient}", z) for patient in ("a", "b", "c") for z in (1, 2)]
LESIONS = [
    (0, *A, 1, 3.0), (0, *C, 3, 4.0), (1, *A, 1, 4.9), (1, *C, 3, 10.0), (2, *A, 1, 4.0), (3, *B, 2, 5.0),
    (4, *A, 1, 2.0),
]  # fmt: skip


def known(truth: Truth) -> WholeLesions:
    lesions = WholeLesions.of(truth)
    assert lesions is not None
    return lesions


def test_lesions_are_sized_by_their_largest_slice() -> None:
    classes = size_classes(known(make_truth(SLICES, LESIONS)))
    assert {name: int(which.sum()) for name, which in classes.items()} == {"all": 5, "<5": 3, "5-10": 1, ">=10": 1}


def test_a_gain_in_small_lesions_shows_beside_a_loss_of_large_ones() -> None:
    truth = make_truth(SLICES, LESIONS)
    base = Arm({seed: make_outcome(truth, [(1, *C, 0.9), (3, *B, 0.9), (2, *A, 0.2)]) for seed in (0, 1)}, CONFIG)
    arm = Arm({seed: make_outcome(truth, [(1, *A, 0.9), (4, *A, 0.4), (3, *B, 0.5)]) for seed in (1, 2)}, CONFIG)
    gains = gains_by_size(known(truth), arm, base)
    assert {name: gain.difference for name, gain in gains.items()} == pytest.approx(
        {"all": 1 / 5, "<5": 2 / 3, "5-10": 0.0, ">=10": -1.0}
    )
    assert {name: (gain.seeds, gain.patients) for name, gain in gains.items()} == {
        "all": (1, 3), "<5": (1, 3), "5-10": (1, 1), ">=10": (1, 1),
    }  # fmt: skip
    assert gains_by_size(known(truth), arm, Arm({7: make_outcome(truth, [])}, CONFIG)) == {}


def test_gains_are_differences_of_the_lesion_sensitivities() -> None:
    rng = np.random.default_rng(0)
    truth, detections = random_case(rng)
    weaker = {seed: match_outcomes(detections[rng.random(len(detections)) < 0.6], truth, [0.5])[0.5] for seed in (0, 1)}
    base, arm = Arm(weaker, CONFIG), Arm(dict.fromkeys((0, 1), match_outcomes(detections, truth, [0.5])[0.5]), CONFIG)

    def mean(of: Arm) -> float:
        figures = [lesion_figures(outcome) for outcome in of.shown.values()]
        return float(np.mean([one["sensitivity"] for one in figures if one]))

    gain = gains_by_size(known(truth), arm, base)["all"]
    assert gain.difference == pytest.approx(mean(arm) - mean(base))
    assert gain.interval.low > 0


def test_slices_without_a_place_have_no_whole_lesions() -> None:
    truth = make_truth(SLICES, LESIONS)
    assert WholeLesions.of(Truth(truth.slices.assign(z=np.nan), truth.lesions)) is None
