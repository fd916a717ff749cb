"""The learning curve of real patients, and how many of them the synthetic slices of each arm are worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sweep.report.evidence import Evidence
from sweep.report.results import Results
from sweep.report.section import MISSING, Line, Section, estimate_text, interval_values, signed
from trainers.data.slice_set import open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.arms import Arm, Estimate
from trainers.evaluation.comparison import Comparison
from trainers.evaluation.outcome import name_of
from trainers.palette import colour, marker
from trainers.variants import REAL_ONLY

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Worth(NamedTuple):
    """Real training patients with which the real-only arm reaches some sensitivity."""

    patients: float
    """NaN beyond the ends of the curve."""
    text: str

    @staticmethod
    def of(sensitivity: float, curve: Mapping[int, float]) -> Worth:
        """By straight lines between the curve's points: number of patients, rising -> sensitivity.

        Where more patients did not help, the curve stays at the highest sensitivity so far, and the fewest patients
        that reach it count.
        """
        reached, first = np.unique(np.maximum.accumulate([*curve.values()]), return_index=True)
        numbers = np.array([*curve])
        if math.isnan(sensitivity) or sensitivity < reached[0]:
            return Worth(math.nan, MISSING if math.isnan(sensitivity) else f"<{numbers[0]}")
        if sensitivity > reached[-1]:
            return Worth(math.nan, f">{numbers[-1]}")
        patients = float(np.interp(sensitivity, reached, numbers[first]))
        return Worth(patients, f"{patients:.0f}")


@dataclass(frozen=True)
class LearningCurve:
    """Sensitivity of the real-only arm by its number of training patients, at one IoU threshold."""

    base: float
    """Sensitivity of the real-only arm, to which gains are added: arms of a race differ in their seeds."""
    gains: Mapping[str, Comparison]
    """Arm -> its gain over the real-only arm, on the seeds that both have."""
    patients: Mapping[str, int]
    """Real-only arm and those with other numbers of training patients -> the number, rising."""

    @property
    def end(self) -> str:
        """The arm with the most patients; if that is the real-only arm itself, the one with the fewest."""
        fewest, *_, most = self.patients
        return fewest if most == REAL_ONLY else most

    @property
    def rises(self) -> bool:
        """Whether the gain of more patients is shown: the 95% interval between `end` and the real-only arm is not 0."""
        if self.end not in self.gains:
            return False
        low, high = self.gains[self.end].interval
        return low > 0 if self.patients[self.end] > self.patients[REAL_ONLY] else high < 0

    def worth(self, arm: str) -> tuple[Worth, Worth, Worth] | None:
        """Of an arm, and of the ends of its gain's interval; None if the curve is not shown to rise, or without gain.

        The intervals leave out that the curve itself is uncertain.
        """
        if not self.rises or arm not in self.gains:
            return None
        gains = {name: gain.difference for name, gain in self.gains.items()} | {REAL_ONLY: 0.0}
        known = {number: self.base + gains[name] for name, number in self.patients.items() if name in gains}
        low, high = (Worth.of(self.base + end, known) for end in self.gains[arm].interval)
        return Worth.of(self.base + gains[arm], known), low, high

    @property
    def note(self) -> str:
        """How `worth` is read, or why it cannot be."""
        if self.rises:
            return (
                f"Worth: real patients with which {REAL_ONLY} reaches the same sensitivity, by straight lines between "
                f"the numbers of patients above; every sensitivity is that of {REAL_ONLY} plus the gain over it on "
                "common seeds. Its brackets are of the ends of the gain's interval; they leave out that the curve "
                "itself is uncertain."
            )
        gain = f" ({self.end} over {REAL_ONLY}: {signed(self.gains[self.end])})" if self.end in self.gains else ""
        return f"The curve is not shown to rise{gain}, so slices cannot be expressed in real patients."


def patients_sections(results: Results, evidence: Evidence) -> Iterator[Section]:
    """One per IoU threshold; none unless the real-only arm was trained with several numbers of patients."""
    numbers = {row.arm: row.trials[0].train_patients for row in results.arms if row.measured}
    if REAL_ONLY not in numbers or not any(numbers.values()):
        return
    sets = [open_slice_set(made.path_to_read("slices.parquet")) for made in evidence.slices]
    trained = [slices.slices["patient_id"].iloc[detector_rows(slices, "train")].nunique() for slices in sets]
    own = round(statistics.fmean(trained))  # of folds, which differ by one patient or two
    curve = {name: number for name, number in numbers.items() if number} | {REAL_ONLY: own}
    rising = dict(sorted(curve.items(), key=lambda pair: pair[1]))
    for iou, arms in evidence.by_iou.items():
        others = [name for name in arms if name not in rising]
        gains = {name: gain.plain for name, gain in evidence.gains[iou].items()}
        learning = LearningCurve(arms[REAL_ONLY].sensitivity.mean, gains, rising)
        yield Section(
            f"patients_{name_of(iou)}",
            f"Learning curve of real patients, IoU {iou:g}",
            ("arm", "real training patients", "test sensitivity", "worth as many real patients"),
            [
                *(_line(evidence, name, number, arms[name].sensitivity) for name, number in rising.items()),
                *(_worth_line(evidence, name, arms[name].sensitivity, learning) for name in others),
            ],
            f"{learning.note} {evidence.covers} Sensitivity at the confidence of Table 1, where arms may differ in "
            "false positives.",
            partial(_draw, arms, rising, others, iou),
        )


def _line(evidence: Evidence, arm: str, patients: int, estimate: Estimate) -> Line:
    values = {"arm": arm, "patients": patients, **interval_values("sensitivity", estimate.mean, estimate.interval)}
    return Line([arm, str(patients), estimate_text(estimate), ""], values, evidence.keys[arm])


def _worth_line(evidence: Evidence, arm: str, estimate: Estimate, learning: LearningCurve) -> Line:
    line = _line(evidence, arm, learning.patients[REAL_ONLY], estimate)
    if (worth := learning.worth(arm)) is None:
        return Line([*line.cells[:-1], MISSING], line.values, line.keys)
    at, least, most = worth
    bounds = "" if least.text == MISSING else f" [{least.text}, {most.text}]"
    values = {"worth": at.patients, "worth_low": least.patients, "worth_high": most.patients}
    return Line([*line.cells[:-1], f"{at.text}{bounds}"], {**line.values, **values}, line.keys)


def _draw(arms: Mapping[str, Arm], curve: Mapping[str, int], others: Sequence[str], iou: float) -> Figure:
    """The curve, and the other arms at the number of patients that they share with the real-only arm."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    series = {REAL_ONLY: [*curve], **{name: [name] for name in others}}
    for place, (label, names) in enumerate(series.items()):
        estimates = [arms[name].sensitivity for name in names]
        means = [estimate.mean for estimate in estimates]
        reach = [
            [0.0 if math.isnan(end) else abs(end - estimate.mean) for end in ends]
            for estimate, ends in zip(estimates, [estimate.interval for estimate in estimates], strict=True)
        ]
        beside = place * 0.015 * (max(curve.values()) - min(curve.values()))  # or markers would cover each other
        patients = [curve.get(name, curve[REAL_ONLY]) + beside for name in names]
        axes.errorbar(
            patients, means, np.transpose(reach), capsize=3, ms=6, label=label, color=colour(place),
            marker=marker(place), ls="-" if place == 0 else "",
        )  # fmt: skip
    axes.set(xlabel="real training patients", ylabel=f"test sensitivity, IoU {iou:g}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, frameon=False, loc="outside right upper")
    return figure
