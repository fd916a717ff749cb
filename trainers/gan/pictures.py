"""Pictures of what a trained GAN makes: samples, walks through its noise and along its conditions, refused slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainers.data.conditions import conditioning_images, whole_pixels
from trainers.gan.curation import Attempt
from trainers.gan.figures import contact_sheet
from trainers.gan.generator import TrainedGenerator
from trainers.gan.sampling import noise

COLUMNS = 8
SAMPLES = 16
PAIRS = 4
LATENTS = 3


def draw_samples(made: Sequence[Attempt], folder: Path) -> None:
    """Write `samples.png`: the first slices with their boxes."""
    folder.mkdir(exist_ok=True)
    _sheet(folder / "samples.png", made[:SAMPLES], scores=False)


def draw_walks(
    generator: TrainedGenerator,
    annotations: Sequence[np.ndarray],
    made: Sequence[Attempt],
    refused: Sequence[Attempt],
    seed: int,
    folder: Path,
) -> None:
    """Write `interpolation.png`, `moving_box.png` and, if the curation refused any slice, `discarded.png`.

    Args:
        annotations: boxes of real slices, n x 4 each, which decide size and path of the moving box.
        made: synthetic slices; the first lend their conditions to the interpolations.
        refused: attempts that the curation refused.
        seed: decides the noise, as in synthesis.
    """
    latents = [noise(seed, image, generator.latent_shape) for image in range(2 * PAIRS)]
    conditions = [made[row % len(made)].boxes for row in range(PAIRS)]
    names = [f"noise {2 * row} to {2 * row + 1}" for row in range(PAIRS)]
    rows = {
        name: _at(generator, COLUMNS * [boxes], interpolate(first, last))
        for name, boxes, first, last in zip(names, conditions, latents[::2], latents[1::2], strict=True)
    }
    contact_sheet(
        folder / "interpolation.png", rows, {name: [boxes] for name, boxes in zip(rows, conditions, strict=True)}
    )

    size = generator.config.resolution
    path = moving_box(annotations, size)
    rows = {"condition": conditioning_images(path, size)}
    rows |= {
        f"noise {number}": _at(generator, path, np.stack([latents[number]] * COLUMNS)) for number in range(LATENTS)
    }
    contact_sheet(folder / "moving_box.png", rows, {})
    if refused:
        _sheet(folder / "discarded.png", refused, scores=True)


def interpolate(first: np.ndarray, last: np.ndarray, steps: int = COLUMNS) -> np.ndarray:
    """Noise from `first` to `last` along the great circle, where standard normal noise lies; steps x their shape.

    Source: Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985.
    """
    cosine = np.vdot(first, last) / (np.linalg.norm(first) * np.linalg.norm(last))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    shares = np.linspace(0.0, 1.0, steps)
    weights = np.stack([np.sin((1 - shares) * angle), np.sin(shares * angle)], axis=1) / np.sin(angle)
    return np.tensordot(weights, np.stack([first, last]), axes=1).astype(np.float32)


def moving_box(annotations: Sequence[np.ndarray], size: int, steps: int = COLUMNS) -> list[np.ndarray]:
    """No box, then one of the usual size that goes from left to right where annotated boxes lie; each n x 4 float32."""
    boxes = np.concatenate(annotations)
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    half = np.median(sides, axis=0) / 2
    left, right = np.quantile(centres[:, 0], [0.1, 0.9])
    path = [(x, np.median(centres[:, 1])) for x in np.linspace(left, right, steps - 1)]
    return [
        np.zeros((0, 4), dtype=np.float32),
        *(whole_pixels(np.concatenate([centre - half, centre + half])[None], size) for centre in path),
    ]


def _at(generator: TrainedGenerator, boxes: Sequence[np.ndarray], latents: np.ndarray) -> np.ndarray:
    return generator.sample(conditioning_images(boxes, generator.config.resolution), latents)


def _sheet(path: Path, attempts: Sequence[Attempt], *, scores: bool) -> None:
    """Rows of slices with their boxes, named by the first slice's id; with each slice's id and score, if wanted."""
    starts = range(0, len(attempts), COLUMNS)
    lines = {attempts[start].short_id: attempts[start : start + COLUMNS] for start in starts}
    captions = {
        name: [f"{attempt.short_id}: {attempt.visibility:.2f}" for attempt in line] for name, line in lines.items()
    }
    contact_sheet(
        path,
        {name: np.stack([attempt.pixels for attempt in line]) for name, line in lines.items()},
        {name: [attempt.boxes for attempt in line] for name, line in lines.items()},
        captions if scores else None,
    )
