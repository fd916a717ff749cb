"""The scores of a reader study, from answers whose figures were computed by hand."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dashboards.reader_study.answers import Answer, Mark, readers_of
from dashboards.reader_study.scores import LesionScore, TuringScore, score
from dashboards.reader_study.study import Item
from tests.dashboards.reader_studies import lesion_test, reader_who, run, said, study, turing_test


def test_table_2_from_answers(tmp_path: Path) -> None:
    """Two readers with the cells of physicians 1 and 2 in the paper's test 2."""
    folder = tmp_path / "s"
    definition = study(folder, partial(turing_test, count=50))
    for name, (wrong_real, wrong_synthetic) in {"Ann": (11, 8), "Ben": (7, 10)}.items():
        reader_who(folder, definition, name, partial(_with_cells, wrong_real, wrong_synthetic))
    (scored,) = score(definition, readers_of(folder, definition))
    assert isinstance(scored, TuringScore)
    ann, ben = scored.readers
    assert ann.cells is not None
    assert ben.cells is not None
    assert list(vars(ann.cells).values()) == [39, 11, 8, 42]
    assert list(vars(ben.cells).values()) == [43, 7, 10, 40]
    assert (ann.accuracy.value, ben.accuracy.value) == (0.81, 0.83)
    assert ann.right_by_confidence == {1: (0, 0), 2: (0, 19), 3: (0, 0), 4: (81, 81), 5: (0, 0)}
    # Wrong answers are unsure: by confidence, real images rank 4 (39), -2 (11), synthetic ones 2 (8), -4 (42).
    by_hand = (39 * 50 + 11 * 42) / 2500
    assert ann.area_under_roc is not None
    assert ann.area_under_roc.value == pytest.approx(by_hand)
    pooled = scored.pooled
    assert pooled is not None
    assert (pooled.readers, pooled.accuracy.value, pooled.p < 1e-9) == (2, 0.82, True)
    # Both wrong on 7 real and 8 synthetic images, Ann alone on 4 real, Ben alone on 2 synthetic: they agree on 94.
    called_real = (39 + 8 + 43 + 10) / 200
    by_chance = called_real**2 + (1 - called_real) ** 2
    assert pooled.kappa.value == pytest.approx((0.94 - by_chance) / (1 - by_chance))


def _with_cells(wrong_real: int, wrong_synthetic: int, item: Item, position: int) -> Answer:
    """Wrong on the first images of either kind, and unsure there."""
    kind = item.pictures[0].kind
    wrong = position // 2 < (wrong_real if kind == "real" else wrong_synthetic)
    return said({"real": "synthetic", "synthetic": "real"}[kind] if wrong else kind, 2 if wrong else 4)


def test_unfinished_readers_count_for_themselves_alone(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    definition = study(folder, partial(turing_test, count=5))
    reader_who(folder, definition, "Ann", lambda item, _: said(item.pictures[0].kind))
    reader_who(folder, definition, "Ben", lambda *_: said("real"), most=3)
    (scored,) = score(definition, readers_of(folder, definition))
    assert isinstance(scored, TuringScore)
    assert [reader.answered for reader in scored.readers] == [10, 3]
    assert scored.pooled is not None
    assert scored.pooled.readers == 1
    assert math.isnan(scored.pooled.kappa.value)
    assert "Ben has answered 3 of 10" in run("score", folder)[1]


def test_pairs_are_right_or_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    definition = study(folder, partial(turing_test, count=10, form="pairs"))
    reader_who(folder, definition, "Ann", lambda _, position: said("real" if position < 8 else "synthetic"))
    (scored,) = score(definition, readers_of(folder, definition))
    assert isinstance(scored, TuringScore)
    assert scored.readers[0].accuracy.value == 0.8
    assert scored.pooled is not None
    assert scored.pooled.p == pytest.approx(0.109375), "of the binomial test"
    left = [definition.real_is_left(0, reader) for reader in range(100)]
    assert np.mean(left) == pytest.approx(0.5, abs=0.05)


def test_lesions_with_and_without_marks_by_hand(tmp_path: Path) -> None:
    """Four slices of a lesion each. Ann finds two and marks one false positive; with marks she finds all."""
    folder = tmp_path / "s"
    definition = study(folder, partial(lesion_test, count=4), partial(lesion_test, count=4, marked=True))
    reader_who(folder, definition, "Ann", _marks)
    without, helped = score(definition, readers_of(folder, definition))
    assert isinstance(without, LesionScore)
    assert isinstance(helped, LesionScore)
    loose, tight = without.summaries["Ann"]["iou25"], without.summaries["Ann"]["iou50"]
    assert (loose["sensitivity"], loose["fps_per_slice"]) == (0.5, 0.25)
    # Of the two hits one is loose: 8 of 24 pixels overlap, an IoU of 1/3, which is none at 0.5.
    assert (tight["sensitivity"], tight["fps_per_slice"]) == (0.25, 0.5)
    assert loose["patients"] == 4
    curve = without.outcomes["Ann"][0.25].detections.sort_values("confidence")["confidence"].tolist()
    assert curve == pytest.approx([0.2, 0.6, 1.0])
    assert helped.summaries["Ann"]["iou50"]["sensitivity"] == 1
    assert helped.gain[0.5].difference == pytest.approx(0.75)
    assert helped.gain[0.25].difference == pytest.approx(0.5)
    assert without.gain == {}


def _marks(item: Item, position: int) -> Answer:
    assert item.truth is not None
    exact, loose, wrong = ((4, 4, 8, 8), 5), ((4, 6, 8, 10), 3), ((11, 11, 14, 14), 1)
    given = {0: [exact], 1: [loose], 2: [wrong], 3: []}[position] if not item.truth.marks else [exact]
    marks = tuple(Mark(box=box, confidence=confidence) for box, confidence in given)
    return Answer(test=0, item=0, marks=marks, time=0)


def test_score_writes_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # headings are not broken
    folder, out = tmp_path / "s", tmp_path / "scores"
    definition = study(folder, partial(turing_test, count=4), partial(lesion_test, count=2))
    reader_who(folder, definition, "Ann", lambda item, _: _marks(item, 0) if item.truth else said("real"))
    code, text = run("score", folder, "--out", out)
    assert code == 0
    assert "real as real" in text
    assert sorted(file.name for file in out.iterdir()) == [
        "answers.csv", "froc_test2.png", "roc_test1.png", "scores.json"
    ]  # fmt: skip
    lines = (out / "answers.csv").read_text().splitlines()
    assert len(lines) == 1 + 8 + 2
    turing, lesions = json.loads((out / "scores.json").read_text())
    assert turing["readers"][0]["cells"]["synthetic_as_real"] == 4
    assert turing["readers"][0]["accuracy"]["value"] == 0.5
    assert lesions["readers"]["Ann"]["iou50"]["sensitivity"] == 1
    assert json.loads(run("score", folder, "--json")[1]) == [turing, lesions]
