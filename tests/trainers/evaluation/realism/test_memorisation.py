"""The memorisation test finds copies, and raises no alarm about slices of new patients."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.metrics.pairwise import euclidean_distances

from trainers.evaluation.realism.memorisation import (
    Memorisation,
    RealSlices,
    Verdict,
    examine,
    nearest_is_training,
    nearest_training_slices,
)

FEATURES = 6


class Cohort(NamedTuple):
    """Real slices in features."""

    features: np.ndarray
    patients: np.ndarray
    held_out: np.ndarray

    def real(self) -> RealSlices:
        return RealSlices(euclidean_distances(self.features), self.patients, self.held_out)

    def examine(self, synthetic: np.ndarray, permutations: int, seed: int) -> Memorisation:
        return examine(self.real(), euclidean_distances(synthetic, self.features), permutations, seed)


def people(patients: int, slices: int, draw: np.random.Generator) -> np.ndarray:
    """Features of patients x slices: slices of a patient are alike."""
    return (draw.normal(size=(patients, 1, FEATURES)) + 0.4 * draw.normal(size=(patients, slices, FEATURES))).reshape(
        -1, FEATURES
    )


def cohort(draw: np.random.Generator, training: int = 20, held_out: int = 10, slices: int = 6) -> Cohort:
    patients = np.repeat([f"P{i:03d}" for i in range(training + held_out)], slices)
    return Cohort(people(training + held_out, slices, draw), patients, patients >= f"P{training:03d}")


def noisy_copies(real: Cohort, count: int, noise: float, draw: np.random.Generator) -> np.ndarray:
    training = real.features[~real.held_out]
    return training[draw.integers(len(training), size=count)] + noise * draw.normal(size=(count, FEATURES))


def test_noisy_copies_are_flagged() -> None:
    for seed in range(10):
        draw = np.random.default_rng(seed)
        real = cohort(draw)
        found = real.examine(noisy_copies(real, 100, 0.2, draw), 200, seed)
        assert found.verdict == Verdict.LEAK
        assert found.nearest_is_training > 0.65
        assert found.nearest_interval.low > 0.5
        assert found.close_share > 0.3 > 0.1 > found.close_share_held_out


def test_a_few_copies_among_new_slices_are_flagged() -> None:
    flagged, shown = [], []
    for seed in range(20):
        draw = np.random.default_rng(seed)
        real = cohort(draw, training=40, held_out=20)
        fresh = people(40, 5, draw)
        fresh[:16] = noisy_copies(real, 16, 0.01, draw)
        found = real.examine(fresh, 200, seed)
        flagged.append(found.leaks)
        shown.append(found.close_p < 0.05)
        assert 10 <= found.copies <= 16
    assert np.mean(flagged) > 0.9
    assert np.mean(shown) > 0.7


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Slices of few new patients, many of each: as dependent on each other as a collapsed GAN's are."""
    alarms, rates = [], []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        found = cohort(draw, 12, 6, 3).examine(people(4, 15, draw), 100, seed)
        alarms.append(found.leaks)
        rates.append(found.nearest_is_training)
    assert np.mean(alarms) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(rates) == pytest.approx(0.5, abs=3 * np.std(rates) / np.sqrt(200))


def test_splits_of_different_people_are_told_from_a_leak() -> None:
    draw = np.random.default_rng(0)
    real = cohort(draw)
    real.features[~real.held_out] += 2  # another hospital
    found = real.examine(people(20, 5, draw) + 2, 200, 0)
    assert found.p < 0.05
    assert found.splits_alike_p < 0.05
    assert found.verdict == Verdict.UNLIKE_SPLITS
    copied = real.examine(noisy_copies(real, 100, 0.01, draw), 200, 0)
    assert copied.verdict == Verdict.COPIES
    assert copied.leaks


def test_two_patients_cannot_tell() -> None:
    draw = np.random.default_rng(0)
    real = cohort(draw, 2, 1)
    found = real.examine(people(4, 10, draw), 100, 0)
    assert found.verdict == Verdict.FEW_PATIENTS
    assert found.smallest_p == pytest.approx(2 / 3)


def test_new_slices_of_alike_splits_show_no_sign() -> None:
    draw = np.random.default_rng(1)
    found = cohort(draw).examine(people(20, 5, draw), 200, 0)
    assert found.verdict == Verdict.NO_SIGN
    assert found.p == pytest.approx(2 * min(found.nearest_p, found.close_p))


@pytest.mark.parametrize(("training", "held_out"), [(5, 2), (3, 3), (2, 4)])
def test_rate_is_the_mean_over_all_choices_of_equally_many_patients(training: int, held_out: int) -> None:
    draw = np.random.default_rng(0)
    order = np.array([draw.permutation(training + held_out) for _ in range(30)])
    mark = np.arange(training + held_out) >= training
    fewer = min(training, held_out)
    rates = []
    for some in itertools.combinations(np.flatnonzero(~mark), fewer):
        for others in itertools.combinations(np.flatnonzero(mark), fewer):
            looked_at = [*some, *others]
            nearest = [next(patient for patient in row if patient in looked_at) for row in order]
            rates.append(np.mean(~mark[nearest]))
    assert nearest_is_training(order, mark) == pytest.approx(np.mean(rates))


def test_nearest_training_slice_is_found() -> None:
    draw = np.random.default_rng(0)
    real = cohort(draw)
    training = np.flatnonzero(~real.held_out)
    positions, distances = nearest_training_slices(
        real.real(), euclidean_distances(real.features[training] + 1e-6, real.features)
    )
    assert (positions == training).all()
    assert distances.max() < 1e-4
