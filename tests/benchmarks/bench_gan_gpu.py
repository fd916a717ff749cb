"""GAN training at full width on one GPU: seconds for 1,000 images, memory, and the share of the card's matmul rate.

    python -m tests.benchmarks.bench_gan_gpu

Part of `make bench-gan` where there is a GPU. FLOPs are those that our iteration runs, not those of a network without
fused scale, and the card's rate is that of one large bf16 matrix product, measured here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from tests.benchmarks.gan_contenders import iteration
from tests.benchmarks.machine import Verdict
from trainers.flops import count_flops
from trainers.gan.config import GANConfig

RUNS: tuple[tuple[str, int, Literal["fp32", "bf16"]], ...] = (
    ("peer", 16, "fp32"), ("ours", 16, "fp32"), ("ours", 16, "bf16"), ("ours", 64, "fp32"), ("ours", 64, "bf16"),
)  # fmt: skip
"""Contender, batch and precision; the peer knows float32 only."""
RESOLUTION = 256
WARM, STEPS = 3, 10
MATRIX, PRODUCTS = 8192, 20
MOST_SECONDS, LEAST_SHARE, MEMORY_SHARE = 6.0, 0.4, 0.7
PUBLISHED = "StyleGAN2-ADA on an A100, published: 12.5"


class Figures(NamedTuple):
    """What training on one device does."""

    sec_per_kimg: float
    peak_gib: float
    """Most memory that tensors held at once, networks and optimisers included; 0 where the device cannot tell."""
    flop_per_second: float


def measure_training(name: str, config: GANConfig, device: torch.device, steps: int = STEPS) -> Figures:
    """Time `steps` iterations of a contender after WARM others."""
    step = iteration(name, config, device)
    operations = count_flops(step)
    for _ in range(WARM):
        step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds = _seconds(step, steps, device)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
    return Figures(1000 * seconds / config.batch_size, peak, operations / seconds)


def matmul_rate(device: torch.device, side: int = MATRIX) -> float:
    """FLOP a second of bf16 products of two square matrices, the best of three measurements."""
    a, b = torch.randn(2, side, side, device=device).to(torch.bfloat16)
    out = torch.mm(a, b)
    fastest = min(_seconds(lambda: torch.mm(a, b, out=out), PRODUCTS, device) for _ in range(3))
    return 2 * side**3 / fastest


def _seconds(run: Callable[[], object], times: int, device: torch.device) -> float:
    """Wall seconds of one call, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(times):
        run()
    _wait(device)
    return (time.perf_counter() - started) / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare() -> list[Verdict]:
    """Print a table of all RUNS on the GPU."""
    device = torch.device("cuda")
    torch.backends.cudnn.deterministic = True  # as train_gan does
    rate = matmul_rate(device)
    print(f"\n{torch.cuda.get_device_name(device)}, {rate / 1e12:.0f} TFLOP/s in bf16 matrix products; full width, "
          f"{RESOLUTION} px, {STEPS} iterations\n")  # fmt: skip
    print("| | batch | precision | sec/kimg | peak GiB | TFLOP/s | share of the card's rate |")
    print("|---|---|---|---|---|---|---|")
    found: dict[tuple[str, int, str], Figures] = {}
    for run in RUNS:
        name, batch, precision = run
        config = GANConfig(resolution=RESOLUTION, batch_size=batch, precision=precision)
        try:
            seconds, peak, speed = found[run] = measure_training(name, config, device)
        except torch.OutOfMemoryError:
            print(f"| {name} | {batch} | {precision} | out of memory | | | |", flush=True)
            continue
        finally:
            torch.cuda.empty_cache()
        print(f"| {name} | {batch} | {precision} | {seconds:.2f} | {peak:.1f} | {speed / 1e12:.0f} | "
              f"{speed / rate:.0%} |", flush=True)  # fmt: skip
    return _verdicts(found, rate)


def _verdicts(found: dict[tuple[str, int, str], Figures], rate: float) -> list[Verdict]:
    verdicts = []
    at_16 = [found[run] for run in RUNS if run in found and run[:2] == ("ours", 16)]
    if at_16:
        best = min(figures.sec_per_kimg for figures in at_16)
        figure = f"GPU, batch 16, the faster precision, sec/kimg ({PUBLISHED})"
        verdicts.append(Verdict(figure, f"{best:.2f}", f"<= {MOST_SECONDS}", best <= MOST_SECONDS))
    if at_64 := found.get(("ours", 64, "bf16")):
        share = at_64.flop_per_second / rate
        figure = "GPU, batch 64, bf16, share of the card's rate"
        verdicts.append(Verdict(figure, f"{share:.0%}", f">= {LEAST_SHARE:.0%}", share >= LEAST_SHARE))
    peer, ours = found.get(("peer", 16, "fp32")), found.get(("ours", 16, "fp32"))
    if peer and ours:
        share = ours.peak_gib / peer.peak_gib
        figure = "GPU, batch 16, fp32, peak memory, ours / peer"
        verdicts.append(Verdict(figure, f"{share:.2f}", f"<= {MEMORY_SHARE}", share <= MEMORY_SHARE))
    return verdicts


if __name__ == "__main__":
    for verdict in compare():
        print(verdict)
