"""The detector as a variable: every family trains and predicts by the same code; files become part of the config."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

from tests.trainers.disc_slices import SIZE, FolderContext, tiny_config
from trainers.data.slice_set import SliceSet
from trainers.detector.buildable import why_not_buildable
from trainers.detector.config import DetectorConfig
from trainers.detector.flops import forward_flops, parameters
from trainers.detector.model import backbone_maps, build_model
from trainers.detector.prediction import load_detector, predict
from trainers.detector.training import train_detector
from trainers.exceptions import TrainingError
from trainers.gan.feedback import DetectorFeedback

SMALL: dict[str, Any] = {
    "scales": {"n": [0.5, 0.25, 1024], "s": [0.5, 0.5, 1024]},
    "backbone": [[-1, 1, "Conv", [64, 3, 4]], [-1, 2, "C2f", [64, True]], [0, 1, "Conv", [128, 3, 2]],
                 [-1, 1, "Conv", [128, 3, 4]]],
    "head": [[[1, 2, 3], 1, "Detect", ["nc"]]],
}  # fmt: skip
"""A detector of four layers with strides 4, 8 and 32, whose backbone is no plain chain."""


def write(folder: Path, name: str = "small-1n.yaml", **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(yaml.safe_dump(SMALL | changes))
    return path


def trained(config: DetectorConfig, slices: SliceSet, folder: Path, **context: Any) -> Path:
    train_detector(config, slices, [], 0, folder / "out", FolderContext(folder / "checkpoint", **context))
    return folder / "out"


def end_to_end(folder: Path) -> Path:
    return write(folder, head=[[[1, 2, 3], 1, "v10Detect", ["nc"]]])


@pytest.mark.parametrize(
    "model",
    [
        "yolov3-tiny",
        "yolo11n",
        "rtdetr-l",
        pytest.param(write, id="file"),
        pytest.param(end_to_end, id="end to end", marks=pytest.mark.slow),
        pytest.param("yolo11x", marks=pytest.mark.slow),
    ],
)
def test_every_family_trains_and_predicts(model: str | Callable[[Path], Path], discs: SliceSet, tmp_path: Path) -> None:
    named = model if isinstance(model, str) else str(model(tmp_path))
    out = trained(tiny_config(model=named, steps=2), discs, tmp_path)
    if not isinstance(model, str):
        Path(named).unlink()  # the config holds what it said
    detector = load_detector(out)
    assert detector.config.model_name == Path(named).name
    found = predict(detector, np.array(discs.images[:3]))
    assert set(found["slice"]) == {0, 1, 2}
    boxes = found[["x0", "y0", "x1", "y1"]].to_numpy()
    assert boxes.min() >= 0
    assert boxes.max() <= SIZE
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    assert found["confidence"].between(0, 1).all()
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert {"detector/loss", "validation/sensitivity"} <= set().union(*history)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rtdetr-l", end_to_end], ids=["queries", "end to end"])
def test_a_killed_run_continues_exactly(model: str | Callable[[Path], Path], discs: SliceSet, tmp_path: Path) -> None:
    """RT-DETR draws noisy boxes in training; end-to-end losses are weighted by the epoch."""
    config = tiny_config(model=model if isinstance(model, str) else str(model(tmp_path)), steps=4, evaluate_every=2)
    straight = trained(config, discs, tmp_path / "straight")
    with pytest.raises(InterruptedError):
        trained(config, discs, tmp_path / "killed", dies_at=3)
    weights = [torch.load(out / "model.pt") for out in (straight, trained(config, discs, tmp_path / "killed"))]
    assert all(torch.allclose(value, weights[1][name], rtol=0, atol=1e-6) for name, value in weights[0].items())


def test_the_papers_model_has_the_same_key_as_before() -> None:
    assert "model" not in DetectorConfig().model_dump_json()
    assert DetectorConfig(model="yolov3").model_dump_json() == DetectorConfig().model_dump_json()
    assert '"model":"rtdetr-l"' in DetectorConfig(model="rtdetr-l").model_dump_json()


def test_a_files_content_decides_not_its_place(tmp_path: Path) -> None:
    here, there = (DetectorConfig(model=str(write(tmp_path / name))) for name in ("here", "there"))
    assert here.model_dump_json() == there.model_dump_json() == DetectorConfig(**dict(here)).model_dump_json()
    assert DetectorConfig.model_validate_json(here.model_dump_json()) == here
    other = DetectorConfig(model=str(write(tmp_path / "there", activation="nn.ReLU()")))
    assert other.model_dump_json() != here.model_dump_json()
    wider = DetectorConfig(model=str(write(tmp_path / "here", "small-1s.yaml")))
    assert parameters(wider) > 1.5 * parameters(here), "the name says which of its scales"


@pytest.mark.parametrize("model", ["yolov3", "yolov3-tiny", "yolo11l", "rtdetr-l"])
def test_width_and_depth_scale_every_family(model: str) -> None:
    wide, narrow = (DetectorConfig(model=model, width=width, depth=0.34) for width in (0.5, 0.25))
    assert parameters(narrow) < 0.4 * parameters(wide), "about a quarter"
    assert forward_flops(narrow, 64) < 0.5 * forward_flops(wide, 64)
    deep = narrow.model_copy(update={"depth": 1.0})
    assert (parameters(narrow) < parameters(deep)) == (model != "yolov3-tiny"), "which repeats nothing"


def test_features_of_a_backbone_that_is_no_chain(tmp_path: Path) -> None:
    model: Any = build_model(DetectorConfig(model=str(write(tmp_path)))).eval()
    seen: list[torch.Tensor] = []
    model.model[3].register_forward_hook(lambda *call: seen.append(call[2]))
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        model(images)
        assert torch.equal(backbone_maps(model, images), seen[0])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("yolov4", r"allowed: yolov3, yolov3-tiny, yolo11n, .*rtdetr-l, or the path of .*; got 'yolov4'"),
        ("yolo11n.pt", r"allowed: yolov3.*got 'yolo11n\.pt'"),
        ("nowhere.yaml", r"nowhere\.yaml cannot be read \(No such file or directory\); allowed: yolov3"),
        ("https://example.org/net.yaml", "cannot be read"),
    ],
)
def test_unknown_models_are_refused_with_what_is_allowed(model: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorConfig(model=model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": [[[1], 1, "Segment", ["nc", 32, 256]]]}, "last layer is 'Segment', which detects no boxes; allowed"),
        ({"head": []}, "head is missing or no list"),
        ({"head": [[1, 2]]}, r"layer 0 of head is \[1, 2\]; allowed: \[from, repeats, module, arguments\]"),
        ({"classes": 3}, "classes: unknown key; allowed: backbone, head, activation"),
        ({"activation": "__import__('os').abort()"}, r"activation is .*; allowed: the form of nn\.SiLU\(\)"),
        ({"backbone": [[-1, 1, "Conv", [10**9, 3, 2]]]}, "the network is too large"),
        ({"scale": "x"}, "scales has no 'x'"),
    ],
)
def test_files_that_describe_no_detector_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=message):
        DetectorConfig(model=str(write(tmp_path, **changes)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nc: 02000", r":4: 02000 is one number in YAML 1\.1 and another"),
        ("nc: 1:04", r":4: 1:04 is one number"),
        ("nc: 6_4", r":4: 6_4 is one number"),
        ("nc: 1\nnc: 80", r":5: .*nc"),
        ("nc: [1", r":\d+: not valid YAML"),
        ("reg_max: [" + ",".join(["1"] * 300_000) + "]", "larger than 64 KiB"),
        ("reg_max: " + "[" * 400 + "]" * 400, ":4: not valid YAML: nested deeper than 20 levels"),
        ("reg_max: !!set {a}", ":4: not valid YAML"),
    ],
)  # fmt: skip
def test_files_are_read_as_studies_are(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "small-1n.yaml"
    path.write_text(f"# three\n# lines\n# of comment\n{line}\n{yaml.safe_dump(SMALL)}")
    with pytest.raises(ValidationError, match=rf"small-1n\.yaml.*{message}"):
        DetectorConfig(model=str(path))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("TorchVision", "'TorchVision' is no layer"),  # downloads weights
        ("torch_safe_load", "'torch_safe_load' is no layer"),
        ("nn.Nowhere", "'nn.Nowhere' is no layer"),
        ("DetectionModel", "'DetectionModel' is no layer"),
    ],
)
def test_files_call_nothing_but_layers(layer: str, message: str, tmp_path: Path) -> None:
    config = DetectorConfig(model=str(write(tmp_path, backbone=[*SMALL["backbone"][:3], [-1, 1, layer, ["x"]]])))
    with pytest.raises(TrainingError, match=message):
        build_model(config)


def test_files_that_the_library_cannot_build_are_refused_before_work(discs: SliceSet, tmp_path: Path) -> None:
    three_channels = write(tmp_path, backbone=[[-1, 1, "nn.Conv2d", [3, 64, 3, 4]], *SMALL["backbone"][1:]])
    config = tiny_config(model=str(three_channels))
    assert "cannot build this network for slices of one channel" in (why_not_buildable(config) or "")
    with pytest.raises(TrainingError, match=r"detector\.model: small-1n\.yaml: the library cannot build"):
        trained(config, discs, tmp_path)
    coarse = write(tmp_path, backbone=[*SMALL["backbone"][:3], [-1, 1, "Conv", [128, 3, 8]]])
    assert why_not_buildable(tiny_config(model=str(coarse), train_size=96)) == (
        "train_size is 96; allowed for this network: multiples of 64"
    )


def test_what_needs_yolos_loss_refuses_other_models(discs: SliceSet, tmp_path: Path) -> None:
    config = tiny_config(model="rtdetr-l", steps=1)
    with pytest.raises(
        TrainingError, match=r"detector\.model is rtdetr-l, which trains with one worker; got 2 workers"
    ):
        trained(config, discs, tmp_path, world_size=2)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    torch.save(build_model(config).state_dict(), tmp_path / "model.pt")
    with pytest.raises(TrainingError, match="is a rtdetr-l, whose loss no GAN can learn from; allowed"):
        DetectorFeedback(tmp_path, SIZE, torch.device("cpu"))
