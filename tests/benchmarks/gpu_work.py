"""What one GPU is timed at: training, drawing and predicting with full-width networks, each in a call of its own."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from tests.benchmarks.gan_contenders import our_iteration, synthesis, trained
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import SliceSet, open_slice_set, write_slice_set
from trainers.detector.config import DetectorConfig
from trainers.detector.model import build_model
from trainers.detector.prediction import Detector, predict
from trainers.detector.training import train_detector
from trainers.distributed import Context, Placement
from trainers.flops import count_flops
from trainers.gan.arithmetic import arithmetic
from trainers.gan.checkpoint import build_generator
from trainers.gan.config import GANConfig, SynthesisConfig
from trainers.gan.review import Review
from trainers.gan.synthesis import synthesize

SECONDS, WARM = 4.0, 5
MATRIX, PRODUCTS = 8192, 20
PREDICT_BATCH, CONFIDENCE = 32, 1e-5


class Size(NamedTuple):
    """How large the work is; small for a test."""

    seconds: float = SECONDS
    pixels: int = 256
    """Of the slices that a detector sees."""
    gan: tuple[tuple[str, Any], ...] = ()
    """Changes of every GANConfig."""
    detector: tuple[tuple[str, Any], ...] = ()
    """Changes of every DetectorConfig."""
    matrix: int = MATRIX
    shard: int = 3000
    steps: int = 60
    """Of the detector whose loading is measured."""


class Figures(NamedTuple):
    """What a row found."""

    speed: float
    """In the row's unit."""
    peak_gib: float = 0.0
    """Most memory that tensors held at once, networks and optimisers included; 0 where the device cannot tell."""
    flop_per_second: float = 0.0


Measure = Callable[[dict[str, Any], Size, torch.device], Figures]


def training(changes: dict[str, Any], size: Size, device: torch.device) -> Figures:
    """Seconds for 1,000 images of updates at the last resolution, after WARM others, of which one is recorded."""
    config = GANConfig.model_validate(changes | dict(size.gan))
    with arithmetic(config, device):
        operations = count_flops(our_iteration(trained(config, device), device))
        gc.collect()
        step = our_iteration(trained(config, device), device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        for _ in range(WARM):
            step()
        each = seconds_of(step, device, size.seconds)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return Figures(1000 * each / config.batch_size, peak, operations / each)


def drawing(changes: dict[str, Any], size: Size, device: torch.device) -> Figures:
    """Synthetic slices a second of a generator, in calls of `batch`."""
    batch = changes["batch"]
    draw = synthesis("ours", GANConfig.model_validate({"precision": changes["precision"]} | dict(size.gan)), device)
    for _ in range(WARM):
        draw(batch)
    return Figures(batch / seconds_of(lambda: draw(batch), device, size.seconds))


def shard(changes: dict[str, Any], size: Size, device: torch.device) -> Figures:
    """Slices a second of the stage `synthesize`, of one shard: boxes, noise, network, scores and files."""
    config = GANConfig.model_validate(changes | dict(size.gan))
    with tempfile.TemporaryDirectory() as scratch:
        gan = Path(scratch) / "gan"
        gan.mkdir()
        torch.save(build_generator(config).state_dict(), gan / "generator.pt")
        (gan / "config.json").write_text(config.model_dump_json())
        slices = discs(Path(scratch) / "slices", config.resolution, 64)
        drawn = SynthesisConfig(shard_size=size.shard, curate=False)

        def run() -> None:
            context = Context(Placement(0, 1, device), FolderCheckpoints(Path(scratch) / "kept"), lambda *_: None)
            synthesize(gan, slices, drawn, 1, Review(), Path(scratch) / "shard", context)

        return Figures(size.shard / seconds_of(run, device, 0.0))


def prediction(changes: dict[str, Any], size: Size, device: torch.device) -> Figures:
    """Slices a second, of which an untrained network keeps every box it can."""
    config = DetectorConfig.model_validate(changes | dict(size.detector))
    detector = Detector(build_model(config).to(device).eval(), config, device)
    images = np.random.default_rng(0).integers(0, 256, (PREDICT_BATCH, size.pixels, size.pixels), dtype=np.uint8)
    predict(detector, images, CONFIDENCE, PREDICT_BATCH)
    each = seconds_of(lambda: predict(detector, images, CONFIDENCE, PREDICT_BATCH), device, size.seconds)
    return Figures(PREDICT_BATCH / each)


def learning(changes: dict[str, Any], size: Size, device: torch.device) -> Figures:
    """Slices a second of detector training, forward, backward and Adam, without loading."""
    config = DetectorConfig.model_validate(changes | dict(size.detector))
    model: Any = build_model(config)
    model.to(device, memory_format=torch.channels_last).train()
    model.args = _Gains(config)
    optimiser = torch.optim.Adam(model.parameters(), config.learning_rate, foreach=True)
    side = config.train_size
    batch = {
        "img": torch.rand(config.batch, 1, side, side, device=device).contiguous(memory_format=torch.channels_last),
        "batch_idx": torch.arange(config.batch, device=device).float(),
        "cls": torch.zeros(config.batch, 1, device=device),
        "bboxes": torch.full((config.batch, 4), 0.25, device=device),
    }

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
            loss, _ = model(batch)
        loss.sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    for _ in range(WARM):
        step()
    return Figures(config.batch / seconds_of(step, device, size.seconds))


class _Gains:
    def __init__(self, config: DetectorConfig) -> None:
        self.box, self.cls, self.dfl = config.box_gain, config.class_gain, config.distance_gain


def loading(changes: dict[str, Any], size: Size, device: torch.device) -> Figures:
    """Slices a second of `train_detector`, which loads and augments them, after the first sixth of its steps."""
    config = DetectorConfig.model_validate(
        changes | dict(size.detector) | {"steps": size.steps, "evaluate_every": size.steps}
    )
    ends: list[float] = []

    def on_progress(_done: int, _total: int, metrics: Mapping[str, float]) -> None:
        if "detector/loss" in metrics:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as scratch:
        slices = discs(Path(scratch) / "slices", size.pixels, max(64, config.batch))
        context = Context(Placement(0, 1, device), FolderCheckpoints(Path(scratch) / "kept"), on_progress)
        train_detector(config, slices, [], 0, Path(scratch) / "out", context)
    first, last = ends[size.steps // 6], ends[size.steps - 1]
    return Figures(config.batch * (size.steps - 1 - size.steps // 6) / (last - first))


def discs(folder: Path, side: int, count: int) -> SliceSet:
    """Noise with a bright square in each of `count` training slices and one validation slice."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 90, (count + 1, side, side), dtype=np.uint8)
    wide = side // 8
    corners = draw.integers(0, side - wide, (count + 1, 2))
    for image, (x, y) in zip(images, corners, strict=True):
        image[y : y + wide, x : x + wide] = 200
    slices = pd.DataFrame({"slice_id": [f"{row:05}" for row in range(count + 1)]}).assign(
        patient_id="p", split=["train"] * count + ["validation"], scanner="s", kind="tumour", volume="v", z=0
    )
    slices.loc[count, "patient_id"] = "q"
    boxes = pd.DataFrame(np.hstack([corners, corners + wide]), columns=["x0", "y0", "x1", "y1"])
    boxes.insert(0, "slice_id", slices["slice_id"])
    write_slice_set(folder, images, slices, boxes, {})
    return open_slice_set(folder)


def matrix_products(_: dict[str, Any], size: Size, device: torch.device) -> Figures:
    """TFLOP a second of bf16 products of two square matrices, the best of three measurements."""
    a, b = torch.randn(2, size.matrix, size.matrix, device=device).to(torch.bfloat16)
    out = torch.mm(a, b)

    def products() -> None:
        for _ in range(PRODUCTS):
            torch.mm(a, b, out=out)

    products()
    rate = PRODUCTS * 2 * size.matrix**3 / min(seconds_of(products, device, 0.0) for _ in range(3))
    return Figures(rate / 1e12, flop_per_second=rate)


def seconds_of(run: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Wall seconds of one call, the device's work included, over calls for `seconds`, at least one."""
    _wait(device)
    started, calls = time.perf_counter(), 0
    while True:
        run()
        calls += 1
        if time.perf_counter() - started >= seconds:
            break
    _wait(device)
    return (time.perf_counter() - started) / calls


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
