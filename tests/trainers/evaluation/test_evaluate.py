from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainers.detector.selected import SELECTED
from tests.trainers.disc_slices import make_slice_set, tiny_config
from trainers.data.slice_set import SliceSet
from trainers.detector.model import build_model
from trainers.detector.prediction import MAX_DETECTIONS, load_detector, predict
from trainers.detector.selection import write_selection
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import evaluate
from trainers.evaluation.outcome_files import read_outcomes
from trainers.exceptions import TrainingError

CPU = torch.device("cpu")


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
    with pytest.raises(TrainingError, match=r"lacks config\.json and model\.pt"):
        load_detector(tmp_path)


def test_evaluation_writes_figures_and_tables_that_agree(untrained: Path, discs: SliceSet, tmp_path: Path) -> None:
    heard = []
    config = EvaluationConfig(froc_confidence=0.1, confidence=0.5, bootstraps=100, batch=4)
    evaluate(untrained, discs, config, tmp_path, lambda *report: heard.append(report), CPU)

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for split in ("validation", "test"):
        assert set(metrics[split]) == {"iou50", "iou25"}
        assert metrics[split]["iou50"]["lesions"] == 8
        assert metrics[split]["iou50"]["slices"] == 9
        for name, outcome in zip(("iou50", "iou25"), read_outcomes(tmp_path, split, config.ious).values(), strict=True):
            found = metrics[split][name]
            shown = outcome.at(config.confidence)
            assert 0 < len(shown.detections) < len(outcome.detections)
            assert found["false_positives"] == (~shown.hit).sum()
            assert found["true_positives"] + found["false_positives"] == len(shown.detections)
            assert found["sensitivity"] == np.isfinite(shown.found_at).mean()
            (read,) = read_outcomes(tmp_path, split, (outcome.iou,), config.confidence).values()
            pd.testing.assert_frame_equal(read.detections, shown.detections.reset_index(drop=True))
    detections = pd.read_parquet(tmp_path / "detections.parquet")
    assert set(detections["slice_id"]) <= set(discs.slices["slice_id"])
    assert detections["confidence"].min() >= 0.1
    assert [report[:2] for report in heard[:3]] == [(4, 18), (8, 18), (9, 18)]
    assert heard[-1][:2] == (18, 18)
    assert {name for *_, told in heard for name in told} == {"validation/sensitivity_iou50"}, (
        "no test figure on the way"
    )
    written = {path.name for path in (tmp_path / "figures").iterdir()}
    assert written == {"froc.png", "detections.png", "confidence.png", "calibration.png"}
    assert min(path.stat().st_size for path in (tmp_path / "figures").iterdir()) > 1000


def test_all_figures_of_a_prepared_set(untrained: Path, tmp_path: Path) -> None:
    """With lesion numbers and diameters, as `metsweep prepare` gives them."""
    slices = make_slice_set(tmp_path / "slices", {"train": 1, "validation": 4, "test": 4})
    boxes = slices.boxes.assign(lesion=1, diameter_mm=7.0)
    config = EvaluationConfig(confidence=0.1)
    evaluate(untrained, replace(slices, boxes=boxes), config, tmp_path / "out", lambda *_: None, CPU)
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]["iou25"]
    assert found["by_diameter"]["5-10"]["lesions"] == 4
    assert found["by_scanner"]["scanner"]["slices"] == 5
    assert found["lesion_level"]["lesions"] == 1
    assert list(found["at_fps_per_slice"]) == ["1", "2", "4", "8"]
    assert found["chance"]["shuffles"] > 0
    assert sum(one["detections"] for one in found["calibration"]["bins"]) == (
        found["true_positives"] + found["false_positives"]
    )
    assert (tmp_path / "out" / "figures" / "missed_by_diameter.png").stat().st_size > 1000


def test_slices_of_another_size_than_in_training_are_refused(untrained: Path, discs: SliceSet, tmp_path: Path) -> None:
    detector = Path(shutil.copytree(untrained, tmp_path / "detector"))
    write_selection(detector, SELECTED.model_copy(update={"slice_size": 64}))
    with pytest.raises(TrainingError, match=rf"{discs.path}: slices are 32 x 32.*{detector} was trained on 64 x 64"):
        evaluate(detector, discs, EvaluationConfig(), tmp_path / "out", lambda *_: None, CPU)
    assert not (tmp_path / "out").exists()


def test_a_split_without_lesions_is_refused_before_anything_is_written(untrained: Path, tmp_path: Path) -> None:
    slices = make_slice_set(tmp_path / "slices", {"train": 2, "validation": 2})
    with pytest.raises(TrainingError, match="no lesion in the test split"):
        evaluate(untrained, slices, EvaluationConfig(), tmp_path / "out", lambda *_: None, CPU)
    assert not (tmp_path / "out").exists()
