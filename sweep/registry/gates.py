"""The gates before a model becomes champion, each with its figure, its limit and a sentence why.

A gate that fails blocks, and so does an undetermined gate: no evidence is not good evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from sweep.text import count_text
from trainers.evaluation.arms import Arm, Estimate
from trainers.evaluation.bootstrap import LEVEL
from trainers.evaluation.outcome import iou_text
from trainers.evaluation.realism.memorisation import ALPHA, MANY_COPIES
from trainers.evaluation.realism.memorisation import Verdict as Leak
from trainers.evaluation.realism.report import SyntheticFigures

PICKED, GAIN, CHANCE, FALSE_POSITIVES = "picked by validation", "paired gain", "above chance", "FPs per slice"
MEMORISATION, BOXES, LOADS = "memorisation", "box fidelity", "loads and predicts"
"""Names of gates; those of a study's constraints are made of the constraints."""
FPS_CAP = 12.0
"""False positives per slice that a champion may make, where neither the study nor the command says otherwise."""


class Verdict(StrEnum):
    """What became of a gate; the values stand in tags of the registry."""

    PASS = "pass"
    FAIL = "fail"
    UNDETERMINED = "undetermined"

    @classmethod
    def _missing_(cls, value: object) -> Verdict | None:
        """The verdict that older tags have in other words."""
        return cls.UNDETERMINED if value == "cannot tell" else None

    @classmethod
    def of(cls, passed: bool) -> Verdict:
        """Of a gate that could be judged."""
        return cls.PASS if passed else cls.FAIL


@dataclass(frozen=True)
class Gate:
    """One condition, judged."""

    name: str
    figure: float | None
    """What was measured; None if nothing could be."""
    limit: float | None
    """What the figure is compared with; None if there is nothing to compare with."""
    verdict: Verdict
    why: str
    """One sentence."""

    @property
    def passed(self) -> bool:
        """Whether the gate lets the model through."""
        return self.verdict is Verdict.PASS


def constraint_gate(name: str, value: float, bound: float, kept: bool) -> Gate:
    """Does the trial keep to a constraint of the study?"""
    if math.isnan(value):
        return Gate(name, None, bound, Verdict.UNDETERMINED, "The figure is not defined for this trial.")
    why = f"{'Keeps' if kept else 'Does not keep'} to the study's constraint."
    return Gate(name, value, bound, Verdict.of(kept), why)


def chance_gate(sensitivity: Estimate, patients: int, by_chance: float | None, iou: float) -> Gate:
    """Does the detector find lesions at all: more than the same boxes would hit if lesions lay anywhere?

    The lower end of the interval over patients is compared with the mean of `chance`, as for box fidelity: few patients
    make the interval wide, so a high sensitivity on two of them does not pass. Where all patients are alike, the
    jackknife gives no interval; the exact bound of P patients of P (0.025 ** (1 / P), Clopper and Pearson) replaces it.

    Args:
        sensitivity: of the detector that is judged, on the validation split, with its interval over patients.
        patients: those with lesions.
        by_chance: mean sensitivity on shuffled boxes; None if unknown.
        iou: threshold of both.
    """
    mean, low = sensitivity.mean, sensitivity.interval.low
    over = f"{count_text(patients, 'validation patient')} with lesions"
    measured = f"Sensitivity {mean:.3f} at IoU {iou:g}"
    if not mean:
        return Gate(CHANCE, 0.0, by_chance, Verdict.FAIL, f"The detector finds no lesion at IoU {iou:g}.")
    if by_chance is None:
        return Gate(CHANCE, None, None, Verdict.UNDETERMINED, f"{measured}; chance is unknown: a single slice.")
    if math.isnan(low) and patients > 1:
        low = mean * ((1 - LEVEL) / 2) ** (1 / patients)
    if math.isnan(low):
        return Gate(CHANCE, None, by_chance, Verdict.UNDETERMINED, f"{measured}, but no interval over {over}.")
    why = f"{measured}, 95 % interval over {over} from {low:.3f}; by chance, on boxes of other slices, {by_chance:.3f}"
    return Gate(CHANCE, low, by_chance, Verdict.of(low > by_chance), f"{why}.")


def gain_gate(own: Arm, base: Arm, over: str, picked_from: int, margin: float) -> Gate:
    """Is the candidate's cell more sensitive than another, beyond chance of seeds and of patients?

    Args:
        own: the candidate's cell on the validation split.
        base: the other cell on the same slices.
        over: what to call it.
        picked_from: how many cells the candidate is the best of; the interval is widened accordingly.
        margin: what the interval's lower end must exceed.
    """
    gain = own.gain(base)
    if gain is None:
        return unknown_gain(margin, f"No seed in common with {over}, so nothing is paired.")
    low, high = gain.simultaneous(picked_from)
    over_what = f"{count_text(gain.seeds, 'seed')} and {count_text(gain.patients, 'validation patient')}"
    measured = f"Gain of {gain.difference:+.3f} in sensitivity over {over}"
    if math.isnan(low):
        return unknown_gain(margin, f"{measured}, but {over_what} are too few for an interval.")
    adjusted = f", adjusted for the best of {picked_from} cells (Bonferroni)" if picked_from > 1 else ""
    why = f"{measured}, 95 % interval [{low:+.3f}, {high:+.3f}] over {over_what}{adjusted}"
    if low <= margin:
        return Gate(GAIN, low, margin, Verdict.FAIL, f"{why}: its lower end is not above {margin:g}.")
    if gain.seeds == 1:
        why = f"{why}, but with one seed the variation between trainings is unknown."
        return Gate(GAIN, low, margin, Verdict.UNDETERMINED, why)
    return Gate(GAIN, low, margin, Verdict.PASS, f"{why}.")


def unknown_gain(margin: float, why: str) -> Gate:
    """A gain that is unknown, or that has nothing to be measured against: nothing to compare with is no evidence."""
    return Gate(GAIN, None, margin, Verdict.UNDETERMINED, why)


def fps_gate(fps_per_slice: float, detections: int, cap: float, iou: float) -> Gate:
    """Does the candidate stay under the cap of false positives per slice?

    Args:
        detections: how many the detector makes, right and wrong ones.
    """
    if math.isnan(fps_per_slice):
        return Gate(FALSE_POSITIVES, None, cap, Verdict.UNDETERMINED, "The figure is not defined on validation.")
    if not detections:
        return Gate(FALSE_POSITIVES, 0.0, cap, Verdict.UNDETERMINED, "The detector detects nothing.")
    verdict = Verdict.of(fps_per_slice <= cap)
    side = "at most" if verdict is Verdict.PASS else "more than"
    why = f"{fps_per_slice:.2f} false positives per validation slice at IoU {iou:g}, {side} {cap:g}."
    return Gate(FALSE_POSITIVES, fps_per_slice, cap, verdict, why)


def memorisation_gate(realism: SyntheticFigures | None) -> Gate:
    """Do the generator's slices give away patients of the training split? None: the store lacks its realism."""
    if realism is None:
        return Gate(MEMORISATION, None, ALPHA, Verdict.UNDETERMINED, _UNKNOWN_REALISM)
    test = realism.memorisation
    why = f"{test.verdict.sentence[0].upper()}{test.verdict.sentence[1:]}."
    if test.verdict == Leak.COPIES:
        return Gate(MEMORISATION, test.copies / test.synthetic_slices, MANY_COPIES, Verdict.FAIL, why)
    determined = test.leaks or test.verdict == Leak.NO_SIGN
    verdict = Verdict.of(not test.leaks) if determined else Verdict.UNDETERMINED
    return Gate(MEMORISATION, test.p, ALPHA, verdict, why)


def box_gate(realism: SyntheticFigures | None) -> Gate:
    """Does the generator draw tumours at their boxes, rather than anywhere? None: the store lacks its realism."""
    if realism is None:
        return Gate(BOXES, None, None, Verdict.UNDETERMINED, _UNKNOWN_REALISM)
    iou, fidelity = next(iter(realism.box_fidelity.items()))
    recall, low = fidelity.conditioned.recall, fidelity.conditioned.interval.low
    chance, real = fidelity.random.recall, fidelity.real.recall
    why = (
        f"At IoU {iou_text(iou)} a detector of real slices finds {recall:.3f} of the boxes (95 % interval over slices "
        f"from {low:.3f}), {chance:.3f} of boxes at random places, {real:.3f} of real lesions"
    )
    if real <= chance:
        return Gate(BOXES, low, chance, Verdict.UNDETERMINED, f"{why}, so that detector cannot judge.")
    return Gate(BOXES, low, chance, Verdict.of(low > chance), f"{why}.")


_UNKNOWN_REALISM = "The store has no realism of this GAN; `metsweep launch` of its study makes it."
