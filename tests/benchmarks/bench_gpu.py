"""What one GPU does with full-width networks, trained, drawing and predicting: `make bench-gpu`.

    python -m tests.benchmarks.bench_gpu

Every row is timed for SECONDS after a warm-up, so the whole takes under four minutes on a card that holds the networks;
rows are printed as they come. FLOPs are those that our iteration runs, and the card's rate is that of one large bf16
matrix product, measured here. Launched updates are set beside recorded ones (`gan.cuda_graph`).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from tests.benchmarks.gan_contenders import our_iteration, synthesis, trained
from trainers.detector.config import DetectorConfig
from trainers.detector.model import build_model
from trainers.detector.prediction import Detector, predict
from trainers.flops import count_flops
from trainers.gan.arithmetic import arithmetic
from trainers.gan.config import GANConfig

SECONDS, WARM = 4.0, 5
MATRIX, PRODUCTS = 8192, 20


class GANRow(NamedTuple):
    """A GAN to train, and the seconds for 1,000 images that it may take (None: no target)."""

    changes: dict[str, Any]
    most: float | None = None


GAN_ROWS = (
    GANRow({"batch_size": 16, "precision": "fp32"}),
    GANRow({"batch_size": 16, "precision": "tf32"}),
    GANRow({"batch_size": 4, "precision": "bf16"}),
    GANRow({"batch_size": 16, "precision": "bf16"}),
    GANRow({"batch_size": 64, "precision": "bf16"}),
    GANRow({"batch_size": 16, "precision": "tf32", "cuda_graph": True}),
    GANRow({"batch_size": 4, "precision": "bf16", "cuda_graph": True}, 6.0),
    GANRow({"batch_size": 16, "precision": "bf16", "cuda_graph": True}, 3.0),
    GANRow({"batch_size": 64, "precision": "bf16", "cuda_graph": True}, 1.9),
    GANRow({"batch_size": 16, "precision": "bf16", "cuda_graph": True, "deterministic": False}),
    GANRow({"batch_size": 32, "precision": "bf16", "cuda_graph": True, "width": 0.25, "resolution": 128}, 0.4),
)
SYNTHESIS_BATCHES, PREDICT_BATCH = (32, 128), 32
LEAST_DRAWN, LEAST_PREDICTED = 1500.0, 300.0
CONFIDENCE = 1e-5


class Figures(NamedTuple):
    """What training on one device does."""

    sec_per_kimg: float
    peak_gib: float
    """Most memory that tensors held at once, networks and optimisers included; 0 where the device cannot tell."""
    flop_per_second: float


def measure_training(config: GANConfig, device: torch.device, seconds: float = SECONDS) -> Figures:
    """Time updates at the last resolution, after WARM others."""
    with arithmetic(config, device):
        operations = count_flops(our_iteration(trained(config, device), device))
        step = our_iteration(trained(config, device), device)
        for _ in range(WARM):
            step()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        each = seconds_of(step, device, seconds)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return Figures(1000 * each / config.batch_size, peak, operations / each)


def drawn_per_second(config: GANConfig, batch: int, device: torch.device, seconds: float = SECONDS) -> float:
    """Synthetic slices a second, in calls of `batch`."""
    draw = synthesis("ours", config, device)
    for _ in range(WARM):
        draw(batch)
    return batch / seconds_of(lambda: draw(batch), device, seconds)


def predicted_per_second(config: DetectorConfig, size: int, device: torch.device, seconds: float = SECONDS) -> float:
    """Slices of `size` pixels a second, of which an untrained network keeps every box it can."""
    detector = Detector(build_model(config).to(device).eval(), config, device)
    images = np.random.default_rng(0).integers(0, 256, (PREDICT_BATCH, size, size), dtype=np.uint8)
    predict(detector, images, CONFIDENCE, PREDICT_BATCH)
    return PREDICT_BATCH / seconds_of(lambda: predict(detector, images, CONFIDENCE, PREDICT_BATCH), device, seconds)


def learnt_per_second(config: DetectorConfig, device: torch.device, seconds: float = SECONDS) -> float:
    """Slices a second of detector training, forward, backward and Adam, without loading."""
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
    return config.batch / seconds_of(step, device, seconds)


class _Gains:
    def __init__(self, config: DetectorConfig) -> None:
        self.box, self.cls, self.dfl = config.box_gain, config.class_gain, config.distance_gain


def matmul_rate(device: torch.device, side: int = MATRIX) -> float:
    """FLOP a second of bf16 products of two square matrices, the best of three measurements."""
    a, b = torch.randn(2, side, side, device=device).to(torch.bfloat16)
    out = torch.mm(a, b)

    def products() -> None:
        for _ in range(PRODUCTS):
            torch.mm(a, b, out=out)

    fastest = min(seconds_of(products, device, 0.0) for _ in range(3))
    return PRODUCTS * 2 * side**3 / fastest


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


def machine_lines() -> Iterator[str]:
    """Card, driver, torch and Python."""
    yield f"{torch.cuda.get_device_name(0)}; Python {sys.version.split()[0]}, torch {torch.__version__}"
    asked = ["nvidia-smi", "--query-gpu=driver_version,memory.total,power.limit", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    yield f"driver, memory, power: {answer or 'nvidia-smi does not tell'}"


def rows(device: torch.device, scale: dict[str, Any], size: int, seconds: float) -> Iterator[str]:
    """The table, line by line.

    Args:
        scale: what every GAN and its detector are made smaller by: changes of a GANConfig.
        size: of the slices that are predicted, pixels.
    """
    rate = matmul_rate(device, 64 if scale else MATRIX)
    yield f"bf16 matrix products: {rate / 1e12:.3g} TFLOP/s\n"
    yield "| GAN training | sec/kimg | peak GiB | TFLOP/s | share of matrix rate | target sec/kimg | |"
    yield "|---|---|---|---|---|---|---|"
    for row in GAN_ROWS:
        config = GANConfig.model_validate(row.changes | scale)
        name = ", ".join(f"{key} {value}" for key, value in row.changes.items())
        try:
            figures = measure_training(config, device, seconds)
        except torch.OutOfMemoryError:
            yield f"| {name} | out of memory | | | | {row.most or ''} | |"
            continue
        met = "" if row.most is None else "met" if figures.sec_per_kimg <= row.most else "missed"
        share = figures.flop_per_second / rate
        yield (
            f"| {name} | {figures.sec_per_kimg:.2f} | {figures.peak_gib:.1f} | {figures.flop_per_second / 1e12:.3g} | "
            f"{share:.0%} | {row.most or ''} | {met} |"
        )
    yield "\n| slices a second | | target | |\n|---|---|---|---|"
    for batch in SYNTHESIS_BATCHES:
        config = GANConfig.model_validate({"precision": "tf32"} | scale)
        yield _speed(f"synthesis, calls of {batch}", drawn_per_second(config, batch, device, seconds), LEAST_DRAWN)
    detector = DetectorConfig()
    if scale:
        detector = DetectorConfig(width=0.05, depth=0.1, box_bins=4, train_size=64, validation_size=64, batch=4)
    predicted = predicted_per_second(detector, size, device, seconds)
    yield _speed(f"predict at {detector.validation_size} px, confidence {CONFIDENCE:g}", predicted, LEAST_PREDICTED)
    for amp in (True, False):
        learning = detector.model_copy(update={"amp": amp})
        name = f"detector training at {detector.train_size} px, batch {detector.batch}, {'amp' if amp else 'fp32'}"
        yield _speed(name, learnt_per_second(learning, device, seconds), None)


def _speed(name: str, measured: float, least: float | None) -> str:
    met = "" if least is None else "met" if measured >= least else "missed"
    return f"| {name} | {measured:.0f} | {least or ''} | {met} |"


def main() -> None:
    """Print the table of the GPU."""
    if not torch.cuda.is_available():
        sys.exit(f"No GPU: torch {torch.__version__} sees no CUDA device, so nothing was measured.")
    device = torch.device("cuda", 0)
    for line in machine_lines():
        print(line, flush=True)
    for line in rows(device, {}, 256, SECONDS):
        print(line, flush=True)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
