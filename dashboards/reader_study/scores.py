"""The scores of a reader study: the paper's Table 2 with intervals, and readers as detectors of lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboards.reader_study.answers import Answer, Reader
from dashboards.reader_study.statistics import (
    Cells,
    Figure,
    area_under_roc,
    d_prime_of_pairs,
    fleiss_kappa,
    p_of_labels,
    p_of_pairs,
    pooled_accuracy,
    share,
)
from dashboards.reader_study.study import Definition, ReadingTest, SliceTruth
from trainers.evaluation.arms import Arm
from trainers.evaluation.comparison import Comparison
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.metrics_file import Summary
from trainers.evaluation.outcome import BOX, LESION_COLUMNS, SLICE_COLUMNS, Outcome, Truth, match_outcomes
from trainers.evaluation.summary import summarise

CONFIG = EvaluationConfig(confidence=0, froc_confidence=0)
"""All marks count; their confidences, 0.2 to 1, order them on the FROC curve."""


@dataclass(frozen=True)
class ReaderScore:
    """One reader in one test of real against synthetic images."""

    reader: str
    answered: int
    accuracy: Figure
    cells: Cells | None
    """None for pairs, where an answer is right or wrong."""
    d_prime: Figure
    area_under_roc: Figure | None
    """None for pairs, whose share of right answers is that area."""
    right_by_confidence: dict[int, tuple[int, int]]
    """Confidence -> right answers, answers."""


@dataclass(frozen=True)
class Pooled:
    """All readers who answered the whole test."""

    readers: int
    accuracy: Figure
    p: float
    """Two-sided, of the hypothesis that real and synthetic images appear alike (an accuracy of 50 %)."""
    kappa: Figure
    """Fleiss'; of pairs, agreement on which of two images is the real one."""


@dataclass(frozen=True)
class TuringScore:
    """One test of real against synthetic images."""

    test: ReadingTest
    readers: tuple[ReaderScore, ...]
    pooled: Pooled | None
    """None before a reader has answered all of it."""


@dataclass(frozen=True)
class LesionScore:
    """One test of finding lesions."""

    test: ReadingTest
    outcomes: dict[str, dict[float, Outcome]]
    """Reader -> IoU threshold -> what the reader found, of all who have answered on a slice with a lesion."""
    summaries: dict[str, dict[str, Summary]]
    """The same as `metsweep score` gives a detector's."""
    gain: dict[float, Comparison]
    """IoU threshold -> gain in sensitivity over the test without marks, with readers in the place of seeds."""


def score(definition: Definition, readers: Sequence[Reader]) -> list[TuringScore | LesionScore]:
    """The scores of every test, from the answers given so far."""
    scores: list[TuringScore | LesionScore] = []
    for number, test in enumerate(definition.tests):
        by_reader = {reader.name: [answer for answer in reader.answers if answer.test == number] for reader in readers}
        if test.form == "lesions":
            scores.append(_lesion_score(test, by_reader, [made for made in scores if isinstance(made, LesionScore)]))
        else:
            scores.append(_turing_score(test, by_reader))
    return scores


def signed_confidence(answers: Sequence[Answer]) -> np.ndarray:
    """How surely images were called real: 5 (certainly real) to -5 (certainly synthetic)."""
    return np.array([(answer.confidence or 0) * (1 if answer.kind == "real" else -1) for answer in answers])


def is_real(test: ReadingTest, answers: Sequence[Answer]) -> np.ndarray:
    """Whether the image of each answer is real; bool."""
    return np.array([test.items[answer.item].pictures[0].kind == "real" for answer in answers], dtype=bool)


def _turing_score(test: ReadingTest, by_reader: dict[str, list[Answer]]) -> TuringScore:
    scored = tuple(_reader_score(test, name, answers) for name, answers in by_reader.items() if answers)
    complete = [answers for answers in by_reader.values() if len(answers) == len(test.items)]
    return TuringScore(test, scored, _pooled(test, complete) if complete else None)


def _reader_score(test: ReadingTest, name: str, answers: list[Answer]) -> ReaderScore:
    called_real, real = np.array([answer.kind == "real" for answer in answers]), is_real(test, answers)
    right = called_real == real
    confidence = np.array([answer.confidence for answer in answers])
    by_confidence = {
        level: (int(right[confidence == level].sum()), int((confidence == level).sum())) for level in range(1, 6)
    }
    if test.form == "pairs":
        correct = int(right.sum())
        d_prime = d_prime_of_pairs(correct, len(answers))
        return ReaderScore(name, len(answers), share(correct, len(answers)), None, d_prime, None, by_confidence)
    cells, area = Cells.of(real, called_real), area_under_roc(real, signed_confidence(answers))
    return ReaderScore(name, len(answers), cells.accuracy, cells, cells.d_prime, area, by_confidence)


def _pooled(test: ReadingTest, complete: list[list[Answer]]) -> Pooled:
    called_real = np.zeros((len(test.items), len(complete)), dtype=bool)
    for column, answers in enumerate(complete):
        for answer in answers:
            called_real[answer.item, column] = answer.kind == "real"
    if test.form == "pairs":
        accuracy, p = pooled_accuracy(called_real), p_of_pairs(called_real)
    else:
        real = np.array([item.pictures[0].kind == "real" for item in test.items])
        accuracy, p = pooled_accuracy(called_real == real[:, None], real), p_of_labels(real, called_real)
    return Pooled(len(complete), accuracy, p, fleiss_kappa(called_real))


def _lesion_score(test: ReadingTest, by_reader: dict[str, list[Answer]], before: Sequence[LesionScore]) -> LesionScore:
    outcomes = {}
    for name, answers in by_reader.items():
        ordered = sorted(answers, key=lambda answer: answer.item)
        truth = truth_of([test.items[answer.item].truth for answer in ordered])
        if len(truth.lesions):
            outcomes[name] = match_outcomes(_marks(ordered), truth, CONFIG.ious)
    summaries = {name: summarise(by_iou, CONFIG) for name, by_iou in outcomes.items()}
    unmarked = next((made for made in before if test.marked and not made.test.marked), None)
    both = [
        name for name in outcomes if unmarked and len(by_reader[name]) == len(test.items) and _finished(unmarked, name)
    ]
    gain = {}
    if unmarked and both:
        for iou in CONFIG.ious:
            arms = [
                Arm({number: made[name][iou] for number, name in enumerate(both)}, CONFIG)
                for made in (outcomes, unmarked.outcomes)
            ]
            gain[iou] = arms[0].gain(arms[1])
    return LesionScore(test, outcomes, summaries, gain)


def _finished(score: LesionScore, reader: str) -> bool:
    outcomes = score.outcomes.get(reader)
    return outcomes is not None and all(
        len(outcome.truth.slices) == len(score.test.items) for outcome in outcomes.values()
    )


def truth_of(slices: Sequence[SliceTruth | None]) -> Truth:
    """The slices of some items with their lesions, as detectors are judged on."""
    known = [truth for truth in slices if truth is not None]
    rows = [(truth.slice_id, truth.patient_id, truth.scanner, truth.volume, truth.z) for truth in known]
    lesions = [
        (place, *lesion.box, lesion.lesion, lesion.diameter_mm)
        for place, truth in enumerate(known)
        for lesion in truth.lesions
    ]
    table = pd.DataFrame(lesions, columns=list(LESION_COLUMNS))
    types = {"slice": np.int64, "lesion": float, "diameter_mm": float}
    return Truth(pd.DataFrame(rows, columns=list(SLICE_COLUMNS)), table.astype(types))


def _marks(answers: Sequence[Answer]) -> pd.DataFrame:
    rows = [(place, *mark.box, mark.confidence / 5) for place, answer in enumerate(answers) for mark in answer.marks]
    table = pd.DataFrame(rows, columns=["slice", *BOX, "confidence"])
    return table.astype({"slice": np.int64, **dict.fromkeys((*BOX, "confidence"), float)})
