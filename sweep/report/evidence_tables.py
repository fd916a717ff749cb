"""The evidence of a study as tables of text, for the console and for Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.report.evidence import REAL_ONLY, Evidence
from trainers.evaluation.arms import Estimate
from trainers.evaluation.comparison import Comparison, holm, seeds_needed
from trainers.evaluation.froc import FPS_PER_SLICE
from trainers.evaluation.outcome import name_of, with_interval
from trainers.evaluation.summary import few_patients

if TYPE_CHECKING:
    from rich.table import Table

MISSING = "-"
SOUGHT = 0.1
"""The gain that the column of seeds is about unless another is asked for: the paper's ten points of sensitivity."""


@dataclass(frozen=True)
class Section:
    """One table with what must be known to read it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def table(self) -> Table:
        """For the console."""
        from rich import box
        from rich.table import Table

        table = Table(title=self.title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
        table.caption, table.caption_justify = self.note or None, "left"
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="right" if i else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Heading, table and note."""
        lines = [f"## {self.title}", "", markdown_line(self.columns), markdown_line(["---"] * len(self.columns))]
        lines += [markdown_line(row) for row in self.rows]
        return "\n".join([*lines, *(["", self.note] if self.note else [])]) + "\n"


def sections(evidence: Evidence, sought: float = SOUGHT) -> list[Section]:
    """All tables in the order in which they are read; `sought` is the true gain that seeds are counted for."""
    return [
        *_gains(evidence, sought),
        *_at_fps(evidence),
        *_whole_lesions(evidence),
        *_breakdown(evidence, "diameter", "mm"),
        *_breakdown(evidence, "scanner"),
    ]


def _gains(evidence: Evidence, sought: float) -> Iterator[Section]:
    if evidence.baseline is None:
        return
    for iou, arms in evidence.by_iou.items():
        base = evidence.baseline[iou]
        pairs = {name: (arm.gain(base), arm.gain_at_equal_fps(base)) for name, arm in arms.items() if name != REAL_ONLY}
        compared = {name: (gain, equal) for name, (gain, equal) in pairs.items() if gain and equal}
        if not compared:
            continue
        adjusted = [holm([pair[i].p for pair in compared.values()]) for i in range(2)]
        rows = [
            [
                name,
                _signed(gain),
                _p(gain.p),
                _p(p),
                _signed(equal),
                _p(equal_p),
                _decimal(gain.minimum_detectable),
                str(seeds_needed(gain, sought) or MISSING),
            ]
            for (name, (gain, equal)), p, equal_p in zip(compared.items(), *adjusted, strict=True)
        ]
        yield Section(
            f"Gain in sensitivity over {REAL_ONLY}, IoU {iou:g}",
            ("arm", "gain", "p", "p Holm", "gain at equal FPs", "p Holm", "detectable", f"seeds for {sought:g}"),
            rows,
            _gains_note(next(iter(compared.values()))[0], sought) if iou == _last(evidence) else "",
        )


def _gains_note(example: Comparison, sought: float) -> str:
    """How the table was made."""
    seeds = f"{example.seeds} seed{'s' * (example.seeds > 1)}"
    texts = [
        f"Paired over {example.patients} patients with lesions and {seeds}, both taken as drawn at random "
        "(Obuchowski-Rockette); in brackets 95% intervals. p Holm: adjusted for all arms of a column.",
        f"At equal FPs: both detectors of a pair are read where they make no more false positives per slice than "
        f"{REAL_ONLY} at Table 1's confidence, or at the end of the arm's curve if it ends before.",
        "Detectable: the true gain that a study of this size shows (p < 0.05) four times in five. "
        f"Seeds for {sought:g}: how many show a true gain of {sought:g}; {MISSING}: not known, or only more patients "
        "help.",
    ]
    if example.seeds == 1:
        texts.append("One seed: what is compared are these trained detectors, not the arms.")
    if warning := few_patients(example.patients):
        texts.append(warning)
    return " ".join(texts)


def _at_fps(evidence: Evidence) -> Iterator[Section]:
    for iou, arms in evidence.by_iou.items():
        rows, short = [], []
        for name, arm in arms.items():
            rows.append([name, *(_estimate(arm.at_fps_per_slice[fps]) for fps in FPS_PER_SLICE)])
            if arm.most_fps_per_slice < FPS_PER_SLICE[-1]:
                short.append(f"{name} at {arm.most_fps_per_slice:.2f}")
        yield Section(
            f"Sensitivity at given false positives per slice, IoU {iou:g}",
            ("arm", *(f"at {fps:g}" for fps in FPS_PER_SLICE)),
            rows,
            f"Curves that end before: {', '.join(short)}; their last point stands." if short else "",
        )


def _whole_lesions(evidence: Evidence) -> Iterator[Section]:
    for iou, arms in evidence.by_iou.items():
        rows = [
            [
                name,
                _estimate(arm.sensitivity),
                _estimate(arm.fps_per_slice, 2),
                _decimal(_mean(evidence, name, iou, "lesion_level", "sensitivity")),
                _decimal(_mean(evidence, name, iou, "lesion_level", "fps_per_volume"), 2),
                _decimal(_mean(evidence, name, iou, "chance", "sensitivity")),
                _decimal(_mean(evidence, name, iou, "calibration", "error")),
            ]
            for name, arm in arms.items()
        ]
        yield Section(
            f"Slices, whole lesions and chance, IoU {iou:g}",
            ("arm", "sensitivity", "FPs/slice", "whole lesions", "FPs/volume", "by chance", "calibration error"),
            rows,
            _whole_note(evidence) if iou == _last(evidence) else "",
        )


def _whole_note(evidence: Evidence) -> str:
    """How the table was made, and which detectors detect nothing."""
    text = (
        "Intervals over patients, for these trained detectors: seeds vary besides. Whole lesions: found on any of "
        "their slices; FPs/volume: linked from slice to slice. By chance: the same detections on boxes shuffled "
        "between slices."
    )
    arms = next(iter(evidence.by_iou.values()))
    silent = [f"{name} seed {seed}" for name, arm in arms.items() for seed in arm.silent]
    if silent:
        text += f" Detect nothing at {evidence.config.confidence:.2%} confidence: {', '.join(silent)}."
    return text


def _breakdown(evidence: Evidence, by: str, unit: str = "") -> Iterator[Section]:
    for iou in evidence.by_iou:
        groups = evidence.metrics[evidence.arms[0]][0][name_of(iou)][f"by_{by}"]
        if len(groups) < 2:
            continue
        rows = [
            [
                f"{group} {unit}".strip(),
                str(found["lesions"]),
                *(_decimal(_mean(evidence, arm, iou, f"by_{by}", group, "sensitivity")) for arm in evidence.arms),
            ]
            for group, found in groups.items()
        ]
        yield Section(f"Sensitivity by {by}, IoU {iou:g}", (by, "boxes", *evidence.arms), rows)


def _last(evidence: Evidence) -> float:
    """The IoU threshold whose table carries the note."""
    return tuple(evidence.by_iou)[-1]


def _mean(evidence: Evidence, arm: str, iou: float, *path: str) -> float:
    """A figure of the evaluations, mean over the seeds of an arm that have it; NaN if none has."""
    values = []
    for by_iou in evidence.metrics[arm]:
        value: Any = by_iou[name_of(iou)]
        for key in path:
            value = value[key] if value else None
        if value is not None:
            values.append(value)
    return statistics.fmean(values) if values else math.nan


def _signed(comparison: Comparison) -> str:
    low, high = comparison.interval
    bounds = "" if math.isnan(low) else f" [{low:+.3f}, {high:+.3f}]"
    return f"{comparison.difference:+.3f}{bounds}"


def _estimate(estimate: Estimate, digits: int = 3) -> str:
    return with_interval(estimate.mean, estimate.interval, digits)


def _p(p: float) -> str:
    if math.isnan(p):
        return MISSING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _decimal(value: float, digits: int = 3) -> str:
    return MISSING if math.isnan(value) else f"{value:.{digits}f}"


def markdown_line(cells: Iterable[str]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
