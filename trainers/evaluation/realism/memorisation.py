"""Do synthetic slices give away patients of the training split?

A generator that has only learnt what brains look like does not know which patients it was trained on: its slices lie
as near to patients it has never seen. So the question is put to *patients*. Slices of one GAN are alike, and slices of
one patient are alike, so counting slices as if they were independent would raise false alarms; instead the labels
"training" and "held out" are dealt anew to the patients, and each statistic is compared with what it gives under all
those other divisions, with the same slices and distances. If the slices do not depend on which patients were
trained on, every division is as likely as the true one, and the p value is exact, however few or alike the slices are.

Two statistics, because a generator can leak in two ways: `nearest` sees many slices drawn a little towards the training
patients, `close` sees a few that are nearly copies. p is doubled for having looked twice (Bonferroni).

Distances are those of `registration`, which sees no mirroring left-right, no shift and no zoom: those a generator has
learnt to make. Real slices are measured so among each other too, whichever split they are of, so p remains exact.

What this cannot see: slices of normal subjects (none are held out); copies mirrored top-bottom, turned by more than a
few degrees, bent, of another contrast, or so noisy that real patients are as near to each other; a tumour that is
copied into another brain, for it makes up little of a slice; and a GAN that copies one or two patients only, since such
patients lie in the training split under most divisions. For that `copies` counts the slices that lie at most half as
far from a training slice as the two most alike real patients do from each other. No sign is no proof of anonymity.

The labels may only be dealt anew if the split was made at random. Where one hospital was trained on and another held
out, slices resemble the training patients without giving any of them away (so it is in the demo cohort, whose splits
are made of different heads). Whether real patients resemble those of their own split more than chance allows is
tested in the same way; if they do, the verdict is `UNLIKE_SPLITS`, unless many slices are nearly copies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from trainers.evaluation.bootstrap import Interval

ALPHA = 0.05
CLOSE_PERCENTILE = 1.0
COPY = 0.5
"""Share of the least distance of two real patients below which a slice counts as a copy."""
MANY_COPIES = 0.05
"""Share of copies from which the verdict warns even where patients are too few for a p value."""


class Verdict(StrEnum):
    """The test's result for a GAN's slices; `realism.json` stores the value, messages show the sentence."""

    NO_SIGN = "no_sign"
    LEAK = "leak"
    COPIES = "copies"
    FEW_PATIENTS = "few_patients"
    UNLIKE_SPLITS = "unlike_splits"

    @property
    def sentence(self) -> str:
        """Without a capital letter and a full stop."""
        return _SENTENCES[self]

    @classmethod
    def _missing_(cls, value: object) -> Verdict | None:
        """Artifacts made before hold a sentence in the code's place."""
        return _OLDER.get(value)


_SENTENCES = {
    Verdict.NO_SIGN: "no sign of leak",
    Verdict.LEAK: "slices are closer to training patients than chance allows: do not share them as anonymous",
    Verdict.COPIES: "many slices are nearly copies of training slices: do not share them as anonymous",
    Verdict.FEW_PATIENTS: "undetermined (too few patients)",
    Verdict.UNLIKE_SPLITS: (
        "undetermined (training and held-out patients already differ from each other, so closeness to training "
        "patients proves nothing); few near copies"
    ),
}
_OLDER: dict[object, Verdict] = {
    "no sign of leak": Verdict.NO_SIGN,
    "slices are closer to training patients than chance allows: do not share them as anonymous": Verdict.LEAK,
    "many slices are nearly copies of training slices: do not share them as anonymous": Verdict.COPIES,
    "cannot be told: too few patients": Verdict.FEW_PATIENTS,
    "cannot be told: held-out patients differ from training patients, whatever the GAN does; few near copies": (
        Verdict.UNLIKE_SPLITS
    ),
}


@dataclass(frozen=True)
class RealSlices:
    """Real tumour slices of training and of held-out patients."""

    distances: np.ndarray
    """N x N, of each slice to each."""
    patients: np.ndarray
    """N patient names."""
    held_out: np.ndarray
    """N bool; the same for all slices of a patient."""

    @cached_property
    def order(self) -> np.ndarray:
        """Positions by patient."""
        return np.argsort(self.patients, kind="stable")

    @cached_property
    def starts(self) -> np.ndarray:
        """Where each patient begins in `order`."""
        return np.unique(self.patients[self.order], return_index=True)[1]

    @cached_property
    def patient_held_out(self) -> np.ndarray:
        """P bool, patients by name."""
        return self.held_out[self.order][self.starts]

    def by_patient(self, distances: np.ndarray) -> np.ndarray:
        """Distance to each patient's nearest slice, ... x P, from the distances to all slices, ... x N."""
        return np.minimum.reduceat(distances[..., self.order], self.starts, axis=-1)

    @cached_property
    def to_other_patients(self) -> np.ndarray:
        """Of each real slice, the distance to the nearest slice of each patient, N x P; infinite for its own."""
        distances = self.by_patient(self.distances)
        own = np.unique(self.patients, return_inverse=True)[1]
        distances[np.arange(len(own)), own] = np.inf
        return distances


@dataclass(frozen=True)
class Memorisation:
    """The memorisation test of one set of synthetic slices."""

    training_patients: int
    held_out_patients: int
    nearest_is_training: float
    """How often a synthetic slice's nearest patient is one of the training split, when as many training patients as
    held-out ones are looked at (mean over all ways to choose them): 0.5 without a leak."""
    nearest_interval: Interval
    """By the jackknife over patients of either split, these synthetic slices given."""
    nearest_p: float
    """One-sided, over divisions of the patients."""
    close_share: float
    """Share of synthetic slices closer to a training slice than `close_distance`."""
    close_share_held_out: float
    """The same of real slices of held-out patients: what new patients give."""
    close_p: float
    """One-sided: is the mean training patient close to more synthetic slices than the mean held-out patient?"""
    close_distance: float
    """1st percentile, over real slices, of the distance to the nearest slice of another patient."""
    copies: int
    """Synthetic slices closer to a training slice than half the least distance of two real patients."""
    synthetic_slices: int
    p: float
    """Of both statistics together."""
    splits_alike_p: float
    """Small if real patients resemble those of their own split: `nearest_p`, `close_p` and `p` then say nothing."""
    smallest_p: float
    """Below this p cannot fall with so few patients."""
    verdict: Verdict

    @property
    def leaks(self) -> bool:
        """Whether the verdict warns."""
        return self.verdict in (Verdict.LEAK, Verdict.COPIES)


def examine(real: RealSlices, distances: np.ndarray, permutations: int, seed: int) -> Memorisation:
    """Compare synthetic slices' distances to training patients and to held-out ones.

    Args:
        real: slices of both splits.
        distances: M x N, of each synthetic slice to each real one, measured like those between real ones.
        permutations: random divisions of the patients.
    """
    held_out = real.patient_held_out
    to_patients = real.by_patient(distances)
    nearest_first = np.argsort(to_patients, axis=1, kind="stable")
    between = real.to_other_patients.min(axis=1)
    close_distance = float(np.percentile(between, CLOSE_PERCENTILE))
    close = (to_patients < close_distance).mean(axis=0)

    others_first = np.argsort(real.to_other_patients, axis=1, kind="stable")[:, :-1]  # the last is its own
    own = np.unique(real.patients, return_inverse=True)[1]

    def clumping(held_out: np.ndarray) -> float:
        values, mine = training_nearest(others_first, held_out), held_out[own]
        return float(values[~mine].mean() - values[mine].mean())

    rate = nearest_is_training(nearest_first, held_out)
    excess = close[~held_out].mean() - close[held_out].mean()
    draw = np.random.default_rng([seed, 4])
    rates, excesses, clumps = (np.empty(permutations) for _ in range(3))
    for i in range(permutations):
        dealt = draw.permutation(held_out)
        rates[i] = nearest_is_training(nearest_first, dealt)
        excesses[i] = close[~dealt].mean() - close[dealt].mean()
        clumps[i] = clumping(dealt)
    nearest_p, close_p = (_p(now, then) for now, then in ((rate, rates), (excess, excesses)))
    splits_alike_p = _p(clumping(held_out), clumps)
    p = min(1.0, 2 * min(nearest_p, close_p))
    smallest = 2 * max(1 / math.comb(len(held_out), int(held_out.sum())), 1 / (1 + permutations))
    to_training = to_patients[:, ~held_out].min(axis=1)
    copies = int((to_training < COPY * between.min()).sum())
    return Memorisation(
        training_patients=int((~held_out).sum()),
        held_out_patients=int(held_out.sum()),
        nearest_is_training=rate,
        nearest_interval=_jackknife(nearest_first, held_out),
        nearest_p=nearest_p,
        close_share=float((to_training < close_distance).mean()),
        close_share_held_out=float(
            (real.to_other_patients[real.held_out][:, ~held_out].min(axis=1) < close_distance).mean()
        ),
        close_p=close_p,
        close_distance=close_distance,
        copies=copies,
        synthetic_slices=len(distances),
        p=p,
        splits_alike_p=splits_alike_p,
        smallest_p=smallest,
        verdict=_verdict(p, smallest, splits_alike_p, copies / len(distances)),
    )


def nearest_is_training(nearest_first: np.ndarray, held_out: np.ndarray) -> float:
    """How often the nearest patient is of the training split, the mean of `training_nearest`."""
    return float(training_nearest(nearest_first, held_out).mean())


def training_nearest(nearest_first: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Probability that a slice's nearest patient is of the training split, when equally many of either are looked at.

    Over all ways to choose the patients of the larger split, in closed form: of M training and H <= M held-out
    patients, r training patients nearer than the first held-out one are all missed with probability
    C(M - r, H) / C(M, H).

    Args:
        nearest_first: N x P, for each slice the patients by rising distance.
        held_out: P bool.

    Returns:
        N float64.
    """
    more, fewer = int((~held_out).sum()), int(held_out.sum())
    if fewer > more:
        return 1 - training_nearest(nearest_first, ~held_out)
    missed = np.array([math.comb(more - r, fewer) / math.comb(more, fewer) for r in range(more + 1)])
    return 1 - missed[held_out[nearest_first].argmax(axis=1)]


def nearest_training_slices(real: RealSlices, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each synthetic slice, its nearest training slice.

    Args:
        distances: M x N, to the real slices.

    Returns:
        M positions in `real`, and M distances.
    """
    training = np.flatnonzero(~real.held_out)
    nearest = training[distances[:, training].argmin(axis=1)]
    return nearest, distances[np.arange(len(nearest)), nearest]


def _p(observed: float, dealt: np.ndarray) -> float:
    """Share of divisions that give at least what was observed, the true one included."""
    return float((1 + (dealt >= observed - 1e-12).sum()) / (1 + len(dealt)))


def _jackknife(nearest_first: np.ndarray, held_out: np.ndarray) -> Interval:
    """Normal interval from leaving out each patient in turn, the two splits apart.

    The bootstrap is not consistent for nearest neighbours (Abadie and Imbens 2008): a patient drawn twice is no second
    neighbour.
    """
    slices, patients = nearest_first.shape
    rate, variance = nearest_is_training(nearest_first, held_out), 0.0
    for split in (True, False):
        members = np.flatnonzero(held_out == split)
        if len(members) < 2:
            return Interval(0.0, 1.0)
        without = []
        for patient in members:
            kept = nearest_first[nearest_first != patient].reshape(slices, patients - 1)
            without.append(nearest_is_training(kept - (kept > patient), np.delete(held_out, patient)))
        variance += (len(members) - 1) * float(np.var(without))
    reach = 1.96 * math.sqrt(variance)
    return Interval(max(0.0, rate - reach), min(1.0, rate + reach))


def _verdict(p: float, smallest: float, splits_alike_p: float, copied: float) -> Verdict:
    if splits_alike_p >= ALPHA and p < ALPHA:
        return Verdict.LEAK
    if copied > MANY_COPIES:
        return Verdict.COPIES
    if smallest >= ALPHA:
        return Verdict.FEW_PATIENTS
    return Verdict.NO_SIGN if splits_alike_p >= ALPHA else Verdict.UNLIKE_SPLITS
