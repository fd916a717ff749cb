"""Table 1: every arm's sensitivity and false positives, with deviations, intervals and the gain over real slices."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep.report.evidence import Evidence, Gain
from sweep.report.results import Results, Row
from sweep.report.section import MISSING, Line, Section, Value, covers, marked, p_text, signed
from trainers.evaluation.bootstrap import Interval
from trainers.evaluation.measures import SENSITIVITY, TABLE1, Measure
from trainers.evaluation.outcome import name_of
from trainers.variants import REAL_ONLY

if TYPE_CHECKING:
    from sweep.console import TextTable

SPLITS = ("test", "validation")
WIDE = 60 + 30 * len(TABLE1)
"""Columns that both IoU thresholds need on the console."""


@dataclass(frozen=True)
class Cell:
    """A figure with its deviation and interval, as far as they are known."""

    mean: float
    sd: float | None = None
    """Over seeds; None with a single seed."""
    interval: Interval | None = None
    """Of 95%, over what `covers` says; None if unknown."""

    def lines(self, digits: int) -> list[str]:
        """`0.670`, `± 0.020`, `[0.552, 0.711]`, as far as they are known."""
        texts = [f"{self.mean:.{digits}f}"]
        texts += [] if self.sd is None else [f"± {self.sd:.{digits}f}"]
        return texts + (
            [] if self.interval is None else [f"[{self.interval.low:.{digits}f}, {self.interval.high:.{digits}f}]"]
        )


@dataclass(frozen=True)
class Table1:
    """The arms that a study enumerates, on the test split."""

    study: str
    results: Results
    evidence: Evidence | None
    """Of the arms with figures; None: the table has no intervals and no p."""

    @property
    def ious(self) -> Sequence[float]:
        """Thresholds in the study's order."""
        return self.results.plan.study.evaluation.ious

    def cell(self, row: Row, iou: float, measure: Measure) -> Cell | None:
        """A figure on the test split, or None if the arm has no figures."""
        if not row.measured:
            return None
        values = row.values("test", name_of(iou), measure.name)
        sd = statistics.stdev(values) if len(values) > 1 else None
        if self.evidence is None:
            return Cell(statistics.fmean(values), sd)
        bounds = measure.estimate(self.evidence.by_iou[iou][row.arm]).interval
        return Cell(statistics.fmean(values), sd, None if math.isnan(bounds.low) else bounds)

    def gain(self, row: Row, iou: float) -> Gain | None:
        """Over the real-only arm; None for that arm itself, or where either has no figures."""
        return None if self.evidence is None else self.evidence.gains[iou].get(row.arm)

    def difference(self, row: Row, iou: float) -> float | None:
        """Test sensitivity minus that of the real-only arm."""
        base = self.results.baseline
        if base is None or not row.measured or row is base:
            return None
        own, real_only = (arm.mean("test", name_of(iou), SENSITIVITY.name) for arm in (row, base))
        return own - real_only

    def section(self) -> Section:
        """As a table of text, without its picture."""
        columns = ["arm"]
        for iou in self.ious:
            titles = (*(measure.title for measure in TABLE1), f"gain over {REAL_ONLY}", "p (Holm)")
            columns += [f"{title} IoU {iou:g}" for title in titles]
        lines = [
            Line([row.arm, *self._texts(row), row.seeds], self._values(row), row.keys) for row in self.results.arms
        ]
        return marked(
            Section("table1", f"Table 1 of {self.study}", [*columns, "seeds"], lines, self.note), self.results.mark
        )

    @property
    def note(self) -> str:
        """What the figures are, in every format but the console's, which has less room."""
        seeds = len(self.results.seeds)
        return (
            f"{_deviation(seeds)}{covers(seeds, self._folds)} Gain: paired difference in sensitivity from {REAL_ONLY}; "
            f"p adjusted for all arms (Holm). Seeds: {self._counted}."
        )

    @property
    def _folds(self) -> int | None:
        return self.results.plan.study.folds

    @property
    def _counted(self) -> str:
        """What is counted as `2/3`."""
        return "done/planned" if self._folds is None else "detectors done/planned, one per seed and fold"

    def _texts(self, row: Row) -> Iterator[str]:
        for iou in self.ious:
            for measure in TABLE1:
                cell = self.cell(row, iou, measure)
                yield MISSING if cell is None else " ".join(cell.lines(measure.digits))
            yield from self.gain_texts(row, iou)

    def gain_texts(self, row: Row, iou: float) -> tuple[str, str]:
        """Gain with its interval, and p."""
        difference, gain = self.difference(row, iou), self.gain(row, iou)
        if difference is None:
            return MISSING, MISSING
        if gain is None:
            return f"{difference:+.3f}", MISSING
        return signed(gain.plain), p_text(gain.p)

    def table(self, width: int = WIDE) -> TextTable:
        """For a console of so many columns: figures above their deviations and intervals.

        In less than WIDE columns, the first IoU threshold alone.
        """
        from sweep.console import RULED, TextTable

        seeds = len(self.results.seeds)
        meanings = " ".join(f"{measure.short}: {measure.meaning}." for measure in TABLE1)
        caption = (
            f"{meanings} gain: sensitivity over {REAL_ONLY}, Holm-adjusted p. @: IoU. {_deviation(seeds)}"
            f"{covers(seeds, self._folds)} seeds: {self._counted}; key: first digits of the evaluation's stage key."
        )
        shown = self.ious if width >= WIDE else self.ious[:1]
        if left_out := ", ".join(f"{iou:g}" for iou in self.ious[len(shown) :]):
            caption += f" IoU {left_out}: in {WIDE} columns, and in the files."
        titles = (*(measure.short for measure in TABLE1), "gain")
        columns = ("arm", *(f"{title}\n@ {iou:g}" for iou in shown for title in titles), "seeds, key")
        rows = (
            (row.arm, *self._console(row, shown), "\n".join([row.seeds, *Line((), keys=row.keys).short_keys]))
            for row in self.results.arms
        )
        split = f"test split, {self.results.mark}" if self.results.mark else "test split"
        title = f"Table 1 of {self.study} ({split})"
        return TextTable.of(title, columns, rows, left=("arm", "seeds, key"), caption=caption, **RULED)

    def _console(self, row: Row, ious: Sequence[float]) -> Iterator[str]:
        for iou in ious:
            for measure in TABLE1:
                cell = self.cell(row, iou, measure)
                yield MISSING if cell is None else "\n".join(_narrow(cell.lines(measure.digits)))
            gain, p = self.gain_texts(row, iou)
            difference, _, bounds = gain.partition(" ")
            yield "\n".join(
                [difference if p == MISSING else f"{difference} p {p}", *_narrow([bounds] if bounds else [])]
            )

    def _values(self, row: Row) -> dict[str, Value]:
        """Test and validation, unrounded; None where the arm has no figures."""
        first = row.trials[0]
        values: dict[str, Value] = {"variant": first.variant, "count": first.count}
        values |= {} if first.train_patients is None else {"train_patients": first.train_patients}
        values |= {"seeds": len(row.trials), "seeds_complete": len(row.made)}
        values["seeds_compared"] = len(row.compared)
        values["seeds_collapsed"] = len(row.collapsed)
        machines = {str(machine) for _, machine in self.results.machines[row.arm] if machine}
        values["machines"] = "; ".join(sorted(machines)) or None
        values |= means_of(row, self.ious)
        for iou in self.ious:
            for measure in TABLE1:
                cell, name = self.cell(row, iou, measure), f"test_{measure.name}_{name_of(iou)}"
                low, high = (None, None) if cell is None else cell.interval or (None, None)
                values |= {f"{name}_low": low, f"{name}_high": high}
            name, gain = f"test_{SENSITIVITY.name}_{name_of(iou)}_gain_over_{REAL_ONLY}", self.gain(row, iou)
            values[name] = self.difference(row, iou)
            low, high = gain.plain.interval if gain else (None, None)
            values |= {f"{name}_low": low, f"{name}_high": high}
            values |= {f"{name}_p": gain and gain.plain.p, f"{name}_p_holm": gain and gain.p}
        return values


def means_of(row: Row, ious: Sequence[float]) -> dict[str, float | None]:
    """`<split>_<measure>_<IoU>` -> mean over seeds, `..._sd` -> deviation; None without figures."""
    means: dict[str, float | None] = {}
    for split in SPLITS:
        for iou in ious:
            for measure in TABLE1:
                by_seed = row.values(split, name_of(iou), measure.name) if row.measured else []
                name = f"{split}_{measure.name}_{name_of(iou)}"
                means[name] = statistics.fmean(by_seed) if by_seed else None
                means[f"{name}_sd"] = statistics.stdev(by_seed) if len(by_seed) > 1 else None
    return means


def _deviation(seeds: int) -> str:
    return "±: standard deviation over detector seeds. " if seeds > 1 else ""


def _narrow(lines: list[str]) -> list[str]:
    """The interval without its blank, so that the console's table keeps its width."""
    return [line.replace(", ", ",") for line in lines]
