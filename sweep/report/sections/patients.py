"""The learning curve of real patients, and how many of them the synthetic slices of each arm are worth."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sweep.report.evidence import Evidence
from sweep.report.results import Results
from sweep.report.section import MISSING, Line, Section, estimate_text, interval_values
from trainers.data.slice_set import open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.arms import Arm, Estimate
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
        others = {name: arm for name, arm in arms.items() if name not in curve}
        yield Section(
            f"patients_{name_of(iou)}",
            f"Learning curve of real patients, IoU {iou:g}",
            ("arm", "real training patients", "test sensitivity", "worth as many real patients"),
            [
                *(_line(evidence, name, number, arms[name].sensitivity) for name, number in rising.items()),
                *(_worth_line(evidence, iou, name, rising) for name in others),
            ],
            f"Worth: real patients with which {REAL_ONLY} reaches the same sensitivity, by straight lines between the "
            "numbers of patients above; in brackets those of the ends of the interval of the arm's gain, as if the "
            f"curve were known exactly. {evidence.covers} Sensitivity at the confidence of Table 1, where arms "
            "may differ in false positives.",
            partial(_draw, arms, rising, [*others], iou),
        )


def _line(evidence: Evidence, arm: str, patients: int, estimate: Estimate) -> Line:
    values = {"arm": arm, "patients": patients, **interval_values("sensitivity", estimate.mean, estimate.interval)}
    return Line([arm, str(patients), estimate_text(estimate), ""], values, evidence.keys[arm])


def _worth_line(evidence: Evidence, iou: float, arm: str, curve: Mapping[str, int]) -> Line:
    arms = evidence.by_iou[iou]
    estimate, base = arms[arm].sensitivity, arms[REAL_ONLY].sensitivity.mean
    known = {number: arms[name].sensitivity.mean for name, number in curve.items()}
    gain = evidence.gains[iou][arm].plain if arm in evidence.gains[iou] else None
    low, high = (math.nan, math.nan) if gain is None else gain.interval
    worth, least, most = (Worth.of(value, known) for value in (estimate.mean, base + low, base + high))
    line = _line(evidence, arm, curve[REAL_ONLY], estimate)
    bounds = "" if math.isnan(low) else f" [{least.text}, {most.text}]"
    values = {"worth": worth.patients, "worth_low": least.patients, "worth_high": most.patients}
    return Line([*line.cells[:-1], f"{worth.text}{bounds}"], {**line.values, **values}, line.keys)


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
