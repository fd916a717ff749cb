"""Scores of a reader study for people and for programs."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dashboards.reader_study.answers import Reader
from dashboards.reader_study.figures import roc_figure
from dashboards.reader_study.scores import (
    CONFIG,
    LesionScore,
    Pooled,
    TuringScore,
    is_real,
)
from dashboards.reader_study.statistics import Figure
from dashboards.reader_study.study import Definition
from sweep.cli import talk
from sweep.console import RULED, TextConsole, TextTable
from sweep.report.section import p_text
from sweep.text import count_text
from trainers.evaluation.comparison import Comparison
from trainers.evaluation.figures import froc_figure
from trainers.evaluation.metrics_file import rate
from trainers.evaluation.outcome import with_interval

Scores = Sequence[TuringScore | LesionScore]
CELLS = ("real as real", "real as synt.", "synt. as real", "synt. as synt.")


def show(scores: Scores, readers: Sequence[Reader], console: TextConsole) -> None:
    """Print a table for each test."""
    for number, score in enumerate(scores, start=1):
        title, count = f"Test {number}: {score.test.title}", len(score.test.items)
        for reader in readers:
            answered = sum(scores[answer.test] is score for answer in reader.answers)
            if answered < count:
                console.say(f"{title}: {reader.name} has answered {answered} of {count}.")
        if isinstance(score, LesionScore):
            _show_lesions(title, score, console)
        else:
            _show_turing(title, score, console)


def as_json(scores: Scores) -> list[dict[str, Any]]:
    """All figures of every test."""
    tests = []
    for score in scores:
        test = {"test": score.test.title, "sources": score.test.origin, "form": score.test.form}
        if isinstance(score, LesionScore):
            gain = {str(iou): asdict(comparison) for iou, comparison in score.gain.items()}
            tests.append(test | {"readers": score.summaries, "gain_with_marks": gain})
        else:
            pooled = None if score.pooled is None else asdict(score.pooled)
            tests.append(test | {"readers": [asdict(reader) for reader in score.readers], "pooled": pooled})
    return tests


def write(folder: Path, definition: Definition, readers: Sequence[Reader], scores: Scores) -> None:
    """Write `scores.json`, `answers.csv` (one line an answer with the truth) and curves into a folder."""
    (folder / "scores.json").write_text(talk.json_text(as_json(scores)))
    with (folder / "answers.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["reader", "test", "item", "truth", "answer", "confidence", "marks", "time", "origin"])
        for reader in readers:
            for answer in reader.answers:
                pictures = definition.tests[answer.test].items[answer.item].pictures
                marks = " ".join(f"{mark.box}:{mark.confidence}" for mark in answer.marks)
                origin = " | ".join(picture.origin for picture in pictures)
                given = [answer.test + 1, answer.item, pictures[0].kind, answer.kind, answer.confidence, marks]
                table.writerow([reader.name, *given, answer.time, origin])
    for number, score in enumerate(scores):
        if isinstance(score, LesionScore):
            if score.outcomes:
                _froc(score).savefig(folder / f"froc_test{number + 1}.png", dpi=120)
        elif score.test.form == "single":
            given = {reader.name: [a for a in reader.answers if a.test == number] for reader in readers}
            both = {name: answers for name, answers in given.items() if len({*is_real(score.test, answers)}) == 2}
            if both:
                roc_figure(score.test, both).savefig(folder / f"roc_test{number + 1}.png", dpi=120)


def _froc(score: LesionScore) -> Any:
    loosest = min(CONFIG.ious)
    return froc_figure({name: [by_iou[loosest]] for name, by_iou in score.outcomes.items()}, CONFIG)


def _show_turing(title: str, score: TuringScore, console: TextConsole) -> None:
    pairs = score.test.form == "pairs"
    columns = ["reader", "accuracy", *(() if pairs else CELLS), "d'", *(() if pairs else ("area under ROC",))]
    rows = []
    for reader in score.readers:
        cells = [] if reader.cells is None else [str(value) for value in asdict(reader.cells).values()]
        area = [] if reader.area_under_roc is None else [_text(reader.area_under_roc)]
        rows.append([reader.reader, _text(reader.accuracy), *cells, _text(reader.d_prime), *area])
    note = _pooled_text(score.pooled) if score.pooled else "No reader has finished this test yet."
    console.print(TextTable.of(f"{title} ({score.test.origin})", columns, rows, caption=note, **RULED))


def _pooled_text(pooled: Pooled) -> str:
    kappa = f"; Fleiss' kappa {_text(pooled.kappa)}" if pooled.readers > 1 else ""
    return (
        f"{count_text(pooled.readers, 'reader')} who finished: accuracy {_text(pooled.accuracy)}, "
        f"p {p_text(pooled.p)} against 50 %{kappa}. Brackets: 95 % intervals over images."
    )


def _show_lesions(title: str, score: LesionScore, console: TextConsole) -> None:
    columns = ["reader", *(f"{what}, IoU {iou:g}" for iou in CONFIG.ious for what in ("sensitivity", "FPs/slice"))]
    rows = []
    for name, summary in score.summaries.items():
        cells = [
            with_interval(rate(figures, measure), figures["intervals"][measure], digits)
            for figures in summary.values()
            for measure, digits in (("sensitivity", 3), ("fps_per_slice", 2))
        ]
        rows.append([name, *cells])
    note = " ".join(_gain_text(iou, gain) for iou, gain in score.gain.items())
    console.print(TextTable.of(f"{title} ({score.test.origin})", columns, rows, caption=note or None, **RULED))


def _gain_text(iou: float, gain: Comparison) -> str:
    certain = "" if math.isnan(gain.p) else f" [{gain.interval.low:+.3f}, {gain.interval.high:+.3f}], p {gain.p:.3f}"
    readers = count_text(gain.seeds, "reader")
    return f"Gain in sensitivity with marks at IoU {iou:g}: {gain.difference:+.3f}{certain} ({readers})."


def _text(figure: Figure) -> str:
    if math.isnan(figure.value):
        return "-"
    return f"{figure.value:.2f}" if math.isnan(figure.interval.low) else with_interval(figure.value, figure.interval, 2)
