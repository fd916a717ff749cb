"""Gains where one figure hides them: by the size of whole lesions, and at given false positives per slice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sweep.report.evidence import Evidence
from sweep.report.section import MISSING, Line, Section, Value, interval_values, signed
from sweep.text import count_text
from trainers.evaluation.comparison import Comparison
from trainers.evaluation.froc import FPS_PER_SLICE
from trainers.evaluation.lesion_level import WholeLesions
from trainers.evaluation.outcome import name_of
from trainers.evaluation.whole_lesions import ALL, gains_by_size, size_classes
from trainers.variants import REAL_ONLY

FEWEST = 10
"""Lesions of a class of sizes that a gain is shown for."""
EXPLORATORY = "Exploratory: intervals, and p in the CSV file, are not adjusted for the number of comparisons."


def finer_gain_sections(evidence: Evidence) -> Iterator[Section]:
    """Both tables for every IoU threshold; none without the real-only arm or an arm to compare with it."""
    for iou, arms in evidence.by_iou.items():
        others = {name: arm for name, arm in arms.items() if name != REAL_ONLY}
        if REAL_ONLY not in arms or not others:
            return
        base = arms[REAL_ONLY]
        lesions = WholeLesions.of(next(iter(base.outcomes.values())).truth)
        if lesions is not None:
            counts = {name: int(which.sum()) for name, which in size_classes(lesions).items()}
            few = {
                name: f"{count_text(count, 'lesion')}: too few"
                for name, count in counts.items()
                if name != ALL and count < FEWEST
            }
            by_size = {
                name: {of: gain for of, gain in gains_by_size(lesions, arm, base).items() if of not in few}
                for name, arm in others.items()
            }
            yield Section(
                f"gain_by_size_{name_of(iou)}",
                f"Gain in 3D lesion sensitivity by size, IoU {iou:g}",
                ("arm", *(f"{name}{'' if name == ALL else ' mm'} ({count})" for name, count in counts.items())),
                _lines(evidence, by_size, {**dict.fromkeys(counts, MISSING), **few}),
                "A 3D lesion counts as found if any of its slices is hit at the confidence of Table 1: a gain may come "
                "with false positives. Size: the largest diameter over its slices; parentheses: lesions of the test "
                f"split. {evidence.covers} {EXPLORATORY}",
            )
        at_fps = {name: arm.gains_at_fps_per_slice(base) for name, arm in others.items()}
        yield Section(
            f"gain_at_fps_{name_of(iou)}",
            f"Gain at given false positives per slice, IoU {iou:g}",
            ("arm", *(f"at {fps:g}" for fps in FPS_PER_SLICE)),
            _lines(
                evidence,
                {name: {f"at {fps:g}": gain for fps, gain in gains.items()} for name, gains in at_fps.items()},
                {f"at {fps:g}": MISSING for fps in FPS_PER_SLICE},
            ),
            "Both detectors are thresholded to so many false positives per slice, or to the end of their FROC curves. "
            f"{evidence.covers} {EXPLORATORY}",
        )


def _lines(evidence: Evidence, gains: Mapping[str, Mapping[str, Comparison]], columns: Mapping[str, str]) -> list[Line]:
    """One per arm that shares a seed with the real-only arm; `columns`: column -> what it shows without a gain."""
    return [
        Line(
            [arm, *(signed(row[column]) if column in row else empty for column, empty in columns.items())],
            _values(arm, row),
            evidence.keys[arm] + evidence.keys[REAL_ONLY],
        )
        for arm, row in gains.items()
        if row
    ]


def _values(arm: str, gains: Mapping[str, Comparison]) -> dict[str, Value]:
    values: dict[str, Value] = {"arm": arm}
    for column, gain in gains.items():
        name = f"gain {column}"
        values |= {**interval_values(name, gain.difference, gain.interval), f"{name} p": gain.p}
    return values
