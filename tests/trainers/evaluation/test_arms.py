from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.trainers.evaluation.cases import make_outcome, make_truth, random_case
from trainers.evaluation.arms import Arm, Estimate
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.froc import froc, operating_point
from trainers.evaluation.metrics import counts_by, figures
from trainers.evaluation.outcome import Outcome, Truth, match_outcomes

CONFIG = EvaluationConfig(confidence=0.3, froc_confidence=0, bootstraps=500)


def detector(truth: Truth, detections: pd.DataFrame, seed: int, keep: float = 0.9) -> Outcome:
    """A detector of its own: it overlooks a random tenth of what there is to detect."""
    kept = np.random.default_rng(seed).random(len(detections)) < keep
    return match_outcomes(detections[kept], truth, [0.5])[0.5]


@pytest.fixture(scope="module")
def case() -> tuple[Truth, pd.DataFrame]:
    return random_case(np.random.default_rng(0), patients=15)


def test_figures_are_means_over_seeds_within_their_intervals(case: tuple[Truth, pd.DataFrame]) -> None:
    outcomes = {seed: detector(*case, seed) for seed in range(3)}
    arm = Arm(outcomes, CONFIG)
    alone = [figures(counts_by(outcome.at(0.3))) for outcome in outcomes.values()]
    assert arm.sensitivity.mean == pytest.approx(np.mean([one["sensitivity"] for one in alone]))
    assert arm.fps_per_slice.mean == pytest.approx(np.mean([one["fps_per_slice"] for one in alone]))
    low, high = arm.sensitivity.interval
    assert low < arm.sensitivity.mean < high
    at_one = [operating_point(froc(outcome), 1.0).sensitivity for outcome in outcomes.values()]
    assert arm.at_fps_per_slice[1.0].mean == pytest.approx(np.mean(at_one))


def test_gain_is_paired_by_seed(case: tuple[Truth, pd.DataFrame]) -> None:
    base = Arm({seed: detector(*case, seed, keep=0.6) for seed in (0, 1, 2)}, CONFIG)
    better = Arm({seed: detector(*case, seed, keep=0.9) for seed in (2, 1, 5)}, CONFIG)
    assert better.common(base) == [2, 1]
    gain = better.gain(base)
    assert gain is not None
    one = {
        seed: figures(better.counts[seed])["sensitivity"] - figures(base.counts[seed])["sensitivity"] for seed in (1, 2)
    }
    assert gain.difference == pytest.approx(np.mean(list(one.values())))
    assert (gain.seeds, gain.patients) == (2, 15)
    assert gain.p < 0.05
    assert better.gain(Arm({9: detector(*case, 9)}, CONFIG)) is None


def test_gains_at_given_false_positives_are_those_of_the_froc_curves(case: tuple[Truth, pd.DataFrame]) -> None:
    base = Arm({seed: detector(*case, seed, keep=0.6) for seed in (0, 1)}, CONFIG)
    better = Arm({seed: detector(*case, seed, keep=0.9) for seed in (0, 1)}, CONFIG)
    gains = better.gains_at_fps_per_slice(base)
    assert [*gains] == [1.0, 2.0, 4.0, 8.0]
    for fps, gain in gains.items():
        expected = better.at_fps_per_slice[fps].mean - base.at_fps_per_slice[fps].mean
        assert gain.difference == pytest.approx(expected)
    assert gains[8.0].interval.low > 0
    assert better.gains_at_fps_per_slice(Arm({9: detector(*case, 9)}, CONFIG)) == {}


def test_a_lower_threshold_alone_gains_sensitivity_but_none_at_equal_false_positives(
    case: tuple[Truth, pd.DataFrame],
) -> None:
    """Moving along one FROC curve is not a better detector: what the paper's table cannot tell apart."""
    careful = {seed: detector(*case, seed) for seed in range(3)}
    bold = {
        seed: Outcome(one.truth, one.iou, one.detections.assign(confidence=np.sqrt(one.detections["confidence"])))
        for seed, one in careful.items()
    }
    base, arm = Arm(careful, CONFIG), Arm(bold, CONFIG)
    gain, at_equal_fps = arm.gain(base), arm.gain_at_equal_fps(base)
    assert gain is not None
    assert at_equal_fps is not None
    assert gain.difference > 0.1
    assert arm.fps_per_slice.mean > base.fps_per_slice.mean
    assert at_equal_fps.difference == pytest.approx(0)
    assert at_equal_fps.p == 1


def test_a_curve_that_ends_early_is_compared_at_its_end(case: tuple[Truth, pd.DataFrame]) -> None:
    """Where no detection below the table's confidence was kept, fewer false positives must not look like a loss."""
    careful = detector(*case, 0)
    bold = Outcome(careful.truth, 0.5, careful.detections.assign(confidence=careful.detections["confidence"] ** 2))
    base, arm = Arm({0: careful.at(0.3)}, CONFIG), Arm({0: bold.at(0.3)}, CONFIG)
    assert arm.fps_per_slice.mean < base.fps_per_slice.mean
    gain, at_equal_fps = arm.gain(base), arm.gain_at_equal_fps(base)
    assert gain is not None
    assert at_equal_fps is not None
    assert gain.difference < -0.05
    assert at_equal_fps.difference == pytest.approx(0)


def test_equal_false_positives_by_hand() -> None:
    """Base finds 1 of 4 at 0.5 FPs a slice; there the arm finds 3, and 4 only at twice as many."""
    boxes = [(0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9), (60, 0, 69, 9)]
    slices = [("a", "s", "v", 0), ("a", "s", "v", 1), ("b", "s", "w", 0), ("b", "s", "w", 1)]
    truth = make_truth(slices, [(2 * (i // 2), *box, i, 9.0) for i, box in enumerate(boxes)])
    false = [(1, 90, 90, 99, 99), (3, 90, 90, 99, 99), (1, 70, 70, 79, 79), (3, 70, 70, 79, 79)]
    base = [(0, *boxes[0], 0.9), (*false[0], 0.8), (*false[1], 0.7)]
    better = [
        (0, *boxes[0], 0.9), (*false[0], 0.85), (0, *boxes[1], 0.8), (2, *boxes[2], 0.75), (*false[1], 0.7),
        (*false[2], 0.6), (*false[3], 0.5), (2, *boxes[3], 0.4),
    ]  # fmt: skip
    arms = [Arm({0: make_outcome(truth, rows)}, CONFIG) for rows in (base, better)]
    assert arms[0].fps_per_slice.mean == 0.5
    gain, at_equal_fps = arms[1].gain(arms[0]), arms[1].gain_at_equal_fps(arms[0])
    assert gain is not None
    assert at_equal_fps is not None
    assert gain.difference == 3 / 4
    assert at_equal_fps.difference == 2 / 4


def test_patients_without_lesions_do_not_make_a_study_larger(case: tuple[Truth, pd.DataFrame]) -> None:
    truth, detections = case
    healthy = truth.slices.assign(patient_id="healthy-" + truth.slices["patient_id"])
    larger = Truth(pd.concat([truth.slices, healthy], ignore_index=True), truth.lesions)
    small, large = (
        Arm({0: detector(one, detections, 1)}, CONFIG).gain(Arm({0: detector(one, detections, 0, 0.6)}, CONFIG))
        for one in (truth, larger)
    )
    assert small is not None
    assert large is not None
    assert (large.patients, large.p) == (small.patients, pytest.approx(small.p))


def test_a_seed_that_detects_nothing_is_named(case: tuple[Truth, pd.DataFrame]) -> None:
    outcome = detector(*case, 0)
    mute = Outcome(outcome.truth, 0.5, outcome.detections[outcome.detections["confidence"] < 0.1])
    assert Arm({3: outcome, 4: mute}, CONFIG).silent == [4]


def test_an_arm_never_gains_over_itself(case: tuple[Truth, pd.DataFrame]) -> None:
    arm = Arm({0: detector(*case, 0)}, CONFIG)
    gain = arm.gain(arm)
    assert gain is not None
    assert (gain.difference, gain.p) == (0, 1)


def test_interval_of_several_seeds_is_wider_than_that_of_any_alone(case: tuple[Truth, pd.DataFrame]) -> None:
    """These seeds overlook very different shares, so patients alone tell too little."""
    outcomes = {seed: detector(*case, seed, keep) for seed, keep in enumerate((0.4, 0.7, 0.95))}
    arm = Arm(outcomes, CONFIG)
    for name in ("sensitivity", "fps_per_slice"):
        both: Estimate = getattr(arm, name)
        alone: list[Estimate] = [getattr(Arm({0: outcome}, CONFIG), name) for outcome in outcomes.values()]
        assert both.mean == pytest.approx(np.mean([one.mean for one in alone]))
        low, high = both.interval
        assert low < both.mean < high
        assert high - low > max(one.interval.high - one.interval.low for one in alone)
    assert arm.sensitivity.interval.high <= 1
    assert arm.fps_per_slice.interval.low >= 0
    at_two = arm.at_fps_per_slice[2.0]
    assert at_two.interval.low < at_two.mean < at_two.interval.high


def test_two_patients_tell_little_and_the_interval_says_so() -> None:
    """Resampling two patients gives only what lies between their own figures; t of one degree of freedom does not."""
    box = (0, 0, 9, 9)
    slices = [(name, "s", name, z) for name in "ab" for z in range(4)]
    truth = make_truth(slices, [(i, *box, i, 9.0) for i in range(8)])
    arm = Arm({0: make_outcome(truth, [(i, *box, 0.9) for i in (0, 1, 4)])}, CONFIG)  # 2 of 4, and 1 of 4
    low, high = arm.sensitivity.interval
    assert low == 0
    assert high == 1
    assert arm.patients_with_lesions == 2


def test_patients_without_lesions_count_for_false_positives_only(case: tuple[Truth, pd.DataFrame]) -> None:
    truth, detections = case
    healthy = truth.slices.assign(patient_id="healthy-" + truth.slices["patient_id"])
    larger = Truth(pd.concat([truth.slices, healthy], ignore_index=True), truth.lesions)
    small, large = (Arm({0: detector(one, detections, 1)}, CONFIG) for one in (truth, larger))
    assert large.sensitivity.interval == pytest.approx(small.sensitivity.interval)
    assert large.fps_per_slice.mean == pytest.approx(small.fps_per_slice.mean / 2)
