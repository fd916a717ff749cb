from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.disc_slices import make_slice_set, tiny_config
from trainers.data.slice_set import SliceSet
from trainers.detector.model import build_model
from trainers.detector.prediction import MAX_DETECTIONS, load_detector, predict
from trainers.evaluation.evaluate import EvaluationConfig, evaluate
from trainers.exceptions import TrainingError


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector with random weights that finds something everywhere."""
    folder = tmp_path_factory.mktemp("untrained")
    config = tiny_config(initial_confidence=0.5, nms_iou=0.9)
    (folder / "config.json").write_text(config.model_dump_json())
    torch.save(build_model(config).state_dict(), folder / "model.pt")
    return folder


def test_detections_are_ordered_capped_and_inside_the_slice(untrained: Path, discs: SliceSet) -> None:
    found = predict(load_detector(untrained), np.array(discs.images[:5]), confidence=0.0, batch=2)
    assert found["slice"].is_monotonic_increasing
    assert found["slice"].max() == 4
    for _, here in found.groupby("slice"):
        assert here["confidence"].is_monotonic_decreasing
        assert len(here) <= MAX_DETECTIONS
    assert found[["x0", "y0"]].to_numpy().min() >= 0
    assert found[["x1", "y1"]].to_numpy().max() <= discs.size
    assert found["confidence"].between(0, 1).all()


def test_the_batch_does_not_matter(untrained: Path, discs: SliceSet) -> None:
    detector = load_detector(untrained)
    alone, together = (predict(detector, np.array(discs.images[:5]), 0.01, batch) for batch in (1, 5))
    pd.testing.assert_frame_equal(alone, together, rtol=1e-3, atol=1e-3)


def test_no_slices_give_no_detections(untrained: Path) -> None:
    assert predict(load_detector(untrained), np.zeros((0, 32, 32), np.uint8)).empty


def test_a_folder_without_detector_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"lacks config\.json, model\.pt"):
        load_detector(tmp_path)


def test_evaluation_writes_figures_detections_and_counts(untrained: Path, discs: SliceSet, tmp_path: Path) -> None:
    heard = []
    evaluate(untrained, discs, EvaluationConfig(), tmp_path, lambda *report: heard.append(report))

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    patients = pd.read_parquet(tmp_path / "patients.parquet")
    detections = pd.read_parquet(tmp_path / "detections.parquet")
    for split in ("validation", "test"):
        assert set(metrics[split]) == {"iou50", "iou25"}
        assert metrics[split]["iou50"]["lesions"] == 8
        assert metrics[split]["iou50"]["slices"] == 9
        for name, iou in (("iou50", 0.5), ("iou25", 0.25)):
            mine = patients[(patients["split"] == split) & (patients["iou"] == iou)]
            found = metrics[split][name]
            assert mine["false_positives"].sum() == found["false_positives"]
            assert found["true_positives"] + found["false_positives"] == (detections["split"] == split).sum()
    assert set(detections["slice_id"]) <= set(discs.slices["slice_id"])
    assert [report[:2] for report in heard] == [(1, 2), (2, 2)]
    for name in ("froc.png", "detections.png"):
        assert (tmp_path / "figures" / name).stat().st_size > 1000


def test_a_split_without_lesions_is_refused_before_anything_is_written(untrained: Path, tmp_path: Path) -> None:
    slices = make_slice_set(tmp_path / "slices", {"train": 2, "validation": 2})
    with pytest.raises(TrainingError, match="no lesion in the test split"):
        evaluate(untrained, slices, EvaluationConfig(), tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "out").exists()
