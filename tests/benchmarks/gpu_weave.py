"""Do young GANs draw a woven pattern? At 128 pixels, without `gan.blur`, with it, and with `laptop`'s loss as well.

    python -m tests.benchmarks.gpu_weave SLICES OUT [--kimg 100] [--cuda-graph] [--device cpu]

SLICES is a slice set of 128 pixels (a demo cohort will do: `metsweep prepare COHORT --out SLICES --size 128`). The
GANs have the same seed and are written into OUT with their contact sheets; 100 kimg took 260 s each on an H200 when no
update was recorded. Printed is the ratio of the mean energy within a bin of the axes to that well off them, by radius
as a share of the highest frequency (Hann window); a weave has several times that of the real slices.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers.checkpoints import FolderCheckpoints
from trainers.data.conditions import conditioning_images
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.distributed import Context, Placement
from trainers.exceptions import MetsweepError
from trainers.gan.config import GANConfig
from trainers.gan.filling import annotated_slices
from trainers.gan.generator import load_generator
from trainers.gan.sampling import noise
from trainers.gan.training import train_gan

RADII = (0.25, 0.5, 0.75, 1.0)
SAMPLES, CALL, REPORT_S = 128, 32, 20.0
GROWTH = 0.04
"""Of the run: each fade and each stable phase but the last."""


KINDS: dict[str, dict[str, Any]] = {
    "former": {},
    "blur": {"blur": True},
    "blur-relativistic": {"blur": True, "loss": "relativistic", "gradient_penalty": 0.1, "penalty_interval": 8},
}


def settings(kimg: float, side: int) -> dict[str, Any]:
    """As the run that showed the weave (quarter width, batch 32, bf16, mild augmentation)."""
    return {
        "resolution": side, "width": 0.25, "batch_size": 32, "precision": "bf16", "learning_rate": 0.001,
        "ema": 0.99, "augment": "diffaugment", "augment_probability": 0.3, "total_kimg": kimg,
        "fade_kimg": GROWTH * kimg, "stable_kimg": GROWTH * kimg, "checkpoint_kimg": 2 * kimg,
    }  # fmt: skip


def axis_energies(images: np.ndarray) -> list[tuple[float, float]]:
    """Mean energy near the axes of the spectrum and well off them, at each of RADII; of N x S x S grey levels."""
    side = images.shape[-1]
    window = np.outer(*2 * [np.hanning(side)])
    centred = images - images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    energy = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(axis=0)
    frequency = np.abs(np.fft.fftfreq(side, 1 / side))
    near, far = np.minimum.outer(frequency, frequency), np.hypot.outer(frequency, frequency)
    energies = []
    for radius in RADII:
        ring = np.abs(far - radius * side / 2) <= 1.5
        energies.append((energy[ring & (near <= 1)].mean(), energy[ring & (near > radius * side / 8)].mean()))
    return energies


def train(config: GANConfig, slices: SliceSet, out: Path, device: torch.device) -> np.ndarray:
    """Train a GAN; returns SAMPLES of its slices."""
    out.mkdir(parents=True)
    started = said = time.monotonic()

    def on_progress(done: int, total: int, metrics: Mapping[str, float]) -> None:
        nonlocal said
        if time.monotonic() - said > REPORT_S:
            said = time.monotonic()
            speed = metrics["gan/sec_per_kimg"]
            print(
                f"  {said - started:.0f} s: {done} of {total} images, {speed:.2f} s/kimg", file=sys.stderr, flush=True
            )

    train_gan(config, slices, out, Context(Placement(0, 1, device), FolderCheckpoints(out / "kept"), on_progress))
    generator, (_, annotations) = load_generator(out, device), annotated_slices(slices)
    boxes = [annotations[image % len(annotations)] for image in range(SAMPLES)]
    conditions = conditioning_images(boxes, config.resolution)
    latents = np.stack([noise(0, image, generator.latent_shape) for image in range(SAMPLES)])
    calls = [np.s_[first : first + CALL] for first in range(0, SAMPLES, CALL)]
    return np.concatenate([generator.sample(conditions[call], latents[call]) for call in calls])


def main() -> None:
    """Train them and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kimg", type=float, default=100.0)
    parser.add_argument("--cuda-graph", action="store_true")
    parser.add_argument("--device", default="cuda:0")
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        sys.exit(f"No GPU: torch {torch.__version__} sees no CUDA device, so nothing was trained.")
    try:
        slices = open_slice_set(given.slices)
        print("| radius | 1/4 | 1/2 | 3/4 | 1 |\n|---|---|---|---|---|")
        row("real slices", annotated_slices(slices)[0])
        for name, kind in KINDS.items():
            changes = settings(given.kimg, slices.size) | {"cuda_graph": given.cuda_graph} | kind
            row(name, train(GANConfig.model_validate(changes), slices, given.out / name, torch.device(given.device)))
    except MetsweepError as error:
        sys.exit(str(error))
    print(f"\ncontact sheets: {given.out}/*/figures/samples.png")


def row(name: str, images: np.ndarray) -> None:
    """Print a line of the table."""
    print(f"| {name} | {' | '.join(f'{near / far:.1f}' for near, far in axis_energies(images))} |", flush=True)


if __name__ == "__main__":
    main()
