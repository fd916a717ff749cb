"""Our counts against pycocotools', an independent implementation of the same rule."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.trainers.evaluation.cases import make_detections, make_truth, random_case
from trainers.evaluation.coco import detections_json, truth_json
from trainers.evaluation.metrics import counts_by, figures
from trainers.evaluation.outcome import Truth, match_outcomes

IOUS = (0.25, 0.5)
SIZE = 256


def coco_true_positives(truth: Truth, detections: pd.DataFrame) -> list[int]:
    """True positives at IOUS by pycocotools, without its limit of 100 detections an image."""
    if detections.empty:  # which pycocotools cannot load
        return [0] * len(IOUS)
    with contextlib.redirect_stdout(io.StringIO()):
        coco: Any = COCO()
        coco.dataset = truth_json(truth, SIZE)
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(detections_json(detections)), "bbox")
        run.params.iouThrs, run.params.maxDets = np.array(IOUS), [100_000]
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.evaluate()
        run.accumulate()
    recall = np.asarray(run.eval["recall"]).reshape(len(IOUS))
    return np.rint(recall * len(truth.lesions)).astype(int).tolist()


# Boxes on a coarse grid: overlaps of exactly a quarter and a half, duplicates and equal overlaps are frequent.
corner, side = st.integers(0, 6), st.integers(1, 5)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
confidence = st.sampled_from([0.1, 0.2, 0.5, 0.9])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Truth, pd.DataFrame]:
    slices = draw(st.integers(1, 4))
    where = st.integers(0, slices - 1)
    lesions = draw(st.lists(st.tuples(where, box), min_size=1, max_size=10))
    detections = draw(st.lists(st.tuples(where, box, confidence), max_size=25))
    twice = draw(st.lists(st.sampled_from(detections), max_size=5)) if detections else []
    truth = make_truth(
        [(f"p{i % 2}", "scanner", "volume", i) for i in range(slices)],
        [(slice_, *corners, None, np.nan) for slice_, corners in sorted(lesions)],
    )
    return truth, make_detections([(slice_, *corners, sure) for slice_, corners, sure in detections + twice])


@settings(max_examples=500, deadline=None)
@given(cases())
def test_counts_equal_pycocotools(case: tuple[Truth, pd.DataFrame]) -> None:
    truth, detections = case
    outcomes = match_outcomes(detections, truth, IOUS)
    expected = coco_true_positives(truth, detections)
    for (_, outcome), true_positives in zip(outcomes.items(), expected, strict=True):
        found = figures(counts_by(outcome))
        assert found["true_positives"] == true_positives
        assert found["false_positives"] == len(detections) - true_positives
        assert found["sensitivity"] == true_positives / len(truth.lesions)


@pytest.mark.parametrize("seed", range(5))
def test_counts_equal_pycocotools_at_every_confidence(seed: int) -> None:
    truth, detections = random_case(np.random.default_rng(seed))
    detections["confidence"] = detections["confidence"].round(1)
    outcomes = match_outcomes(detections, truth, IOUS)
    for threshold in (0.0, 0.3, 0.8):
        kept = detections[detections["confidence"] >= threshold]
        found = [int(outcome.at(threshold).hit.sum()) for outcome in outcomes.values()]
        assert found == coco_true_positives(truth, kept)


def test_files_are_what_pycocotools_reads() -> None:
    truth, detections = random_case(np.random.default_rng(7), patients=2)
    content = json.loads(json.dumps({"truth": truth_json(truth, SIZE), "detections": detections_json(detections)}))
    assert len(content["truth"]["images"]) == len(truth.slices)
    assert min(row["id"] for row in content["truth"]["annotations"]) == 1, "COCOeval loses the lesion of id 0"
    assert len(content["detections"]) == len(detections)
