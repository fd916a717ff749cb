"""The network's boxes become the same detections as by Ultralytics' own NMS, without importing torchvision."""

from __future__ import annotations

import subprocess
import sys
from typing import cast

import pytest
import torch

from tests.trainers.disc_slices import tiny_config
from trainers.detector.model import build_model, prepare_library
from trainers.detector.prediction import MAX_DETECTIONS, detections
from trainers.torchvision_kernels import load_kernels


def predictions(coarse: bool, boxes: int, draw: torch.Generator) -> torch.Tensor:
    """Random output of a network, 4 x 5 x `boxes`; if `coarse`, of few values: overlaps and confidences are alike."""

    def values(parts: int, most: int) -> torch.Tensor:
        if coarse:
            return torch.randint(1, most, (4, parts, boxes), generator=draw).float()
        return most * torch.rand(4, parts, boxes, generator=draw)

    return torch.cat([values(2, 40), values(2, 12), values(1, 12) / 12], dim=1)


@pytest.mark.parametrize("coarse", [False, True], ids=["no ties", "ties"])
def test_detections_are_those_of_the_librarys_own_nms(coarse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_library()
    from ultralytics.utils.nms import non_max_suppression

    monkeypatch.delitem(sys.modules, "torchvision", raising=False)  # else it takes the same kernel
    load_kernels()
    draw = torch.Generator().manual_seed(0)
    suppressed = 0
    for boxes in (0, 1, 10, 100, 1000):
        for iou in (0.3, 0.45, 0.5, 0.7):
            raw = predictions(coarse, boxes, draw)
            found = detections(raw, 0.1, iou)
            kept = non_max_suppression(raw.clone(), 0.1, iou, max_det=MAX_DETECTIONS, nc=1, max_time_img=3600.0)
            for position, expected in enumerate(cast("list[torch.Tensor]", kept)):
                assert torch.equal(found[found[:, 0] == position, 1:], expected[:, :5])
            suppressed += int((raw[:, 4] > 0.1).sum()) - len(found)
    assert suppressed > 1000


def test_predicting_imports_no_torchvision() -> None:
    """Its import takes 2 s of every process that predicts."""
    code = """
import sys
import numpy as np
import torch
from tests.trainers.disc_slices import tiny_config
from trainers.detector.model import build_model
from trainers.detector.prediction import Detector, predict
from trainers.evaluation.realism.embedding import tumour_crops
config = tiny_config(initial_confidence=0.5)
detector = Detector(build_model(config).eval(), config, torch.device("cpu"))
assert len(predict(detector, np.zeros((2, 32, 32), np.uint8), 0.01))
tumour_crops(np.zeros((1, 32, 32), np.uint8), [np.array([[1, 1, 9, 9]])], 8)
print({"torchvision", "torch._dynamo"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "set()", done.stdout


def test_an_untrained_head_predicts_its_initial_values_everywhere_as_far_as_asked() -> None:
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))

    def logits(variation: float) -> torch.Tensor:
        model = build_model(tiny_config(initial_confidence=0.02, initial_variation=variation)).train()
        maps = cast("dict[str, torch.Tensor]", model(images))
        return torch.cat([maps["scores"], maps["boxes"]], dim=1).detach()

    usual, steady, everywhere_alike = logits(1.0), logits(0.1), logits(0.0)
    assert (usual - everywhere_alike).std() > 0.1
    torch.testing.assert_close(steady - everywhere_alike, 0.1 * (usual - everywhere_alike), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(everywhere_alike, everywhere_alike[:1, :, :1].expand_as(usual))
    assert everywhere_alike[0, 0, 0].sigmoid().item() == pytest.approx(0.02)
