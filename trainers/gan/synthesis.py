"""Synthetic slices at conditions drawn from training annotation (paper section 2.2, "during testing")."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import Field, ValidationError

from trainers.data.conditions import ConditionConfig, box_contrast, conditioning_images, draw_condition
from trainers.data.slice_set import SliceSet, write_slice_set
from trainers.distributed import OnProgress
from trainers.exceptions import TrainingError
from trainers.gan import figures
from trainers.gan.checkpoint import build_generator
from trainers.gan.config import GANConfig
from trainers.gan.networks import Generator
from trainers.gan.sampling import noise, sample, unit
from trainers.gan.schedule import Phase

EXAMPLES = 16
COLUMNS = 8


class SynthesisConfig(ConditionConfig):
    """How synthetic slices are drawn from a GAN."""

    shard_size: int = Field(default=1000, ge=1)
    """Slices in a shard; a count of slices is a prefix of the shards."""
    batch_size: int = Field(default=32, ge=1)
    """Slices made at once; it may change an image's grey levels by rounding, never its boxes."""
    seed: int = Field(default=0, ge=0)
    """Decides noise and conditions."""


class TrainedGenerator:
    """A trained GAN's averaged generator, ready to make slices."""

    def __init__(self, config: GANConfig, network: Generator, device: torch.device) -> None:
        self.config = config
        self._network = network.to(device).eval()
        self._device = device

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one image's noise."""
        return self._network.latent_shape

    def sample(self, conditions: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """Make one slice for each conditioning image.

        Args:
            conditions: N x H x W uint8, 255 within boxes, H = W = `config.resolution`.
            latents: N x `latent_shape` float32, standard normal.

        Returns:
            N x H x W uint8.

        Raises:
            TrainingError: the conditioning images have another size.
        """
        size = self.config.resolution
        if conditions.shape[1:] != (size, size):
            raise TrainingError(f"Conditioning images are {conditions.shape[1:]}; allowed: {(size, size)} pixels.")
        return sample(self._network, unit(conditions, self._device), latents, Phase(size, 1.0))


def load_generator(gan_dir: Path, device: torch.device) -> TrainedGenerator:
    """Open what `train_gan` wrote into `gan_dir`.

    Raises:
        TrainingError: the folder holds no trained GAN.
    """
    try:
        config = GANConfig.model_validate_json((gan_dir / "config.json").read_text())
        weights = torch.load(gan_dir / "generator.pt", map_location="cpu", weights_only=True)
    except (FileNotFoundError, ValidationError) as error:
        raise TrainingError(f"{gan_dir} holds no trained GAN ({error}); `metsweep train gan` makes one.") from error
    network = build_generator(config)
    network.load_state_dict(weights)
    return TrainedGenerator(config, network.requires_grad_(False), device)


def synthesize(
    gan_dir: Path, slices: SliceSet, config: SynthesisConfig, shard: int, out: Path, on_progress: OnProgress
) -> None:
    """Write shard number `shard` of a GAN's synthetic slices as a slice set into the folder `out`.

    The shard holds the images `shard * shard_size` to `(shard + 1) * shard_size - 1`. Image i depends on the GAN, the
    training annotation, the config's seed and i alone: its noise and its boxes come from a generator seeded with
    (seed, i), and it is always computed in the batch that starts at the multiple of `batch_size` below it, so that
    shards of any size hold the same grey levels on the same machine.

    Args:
        gan_dir: folder that `train_gan` wrote.
        slices: the slice set that the GAN was trained on; only the training split's annotation is read.
        config: how to draw.
        shard: 0, 1, 2, ...
        out: folder, made if needed. Extra column `image_index` in `slices.parquet`; `box_contrast` (grey levels, mean
            over the boxes) and `box_contrast_real` (the same for the training annotation) in `meta.json`; a contact
            sheet in `figures/samples.png`.
        on_progress: called after each batch with images made and images in all.

    Raises:
        TrainingError: no trained GAN in `gan_dir`, another resolution, or no annotated training slice.
    """
    generator = load_generator(gan_dir, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    annotations = _annotations(slices, generator.config.resolution)
    first, last = shard * config.shard_size, (shard + 1) * config.shard_size
    boxes: list[np.ndarray] = []
    images: list[np.ndarray] = []
    for start in range(first // config.batch_size * config.batch_size, last, config.batch_size):
        indices = range(start, start + config.batch_size)
        drawn = [_boxes_of(index, annotations, slices.size, config) for index in indices]
        latents = np.stack([noise(config.seed, index, generator.latent_shape) for index in indices])
        made = generator.sample(conditioning_images(drawn, slices.size), latents)
        mine = slice(max(first - start, 0), last - start)
        boxes += drawn[mine]
        images.append(made[mine])
        on_progress(len(boxes), config.shard_size, {})
    _write(out, np.concatenate(images), boxes, first, slices, generator.config, config)


def _annotations(slices: SliceSet, resolution: int) -> list[np.ndarray]:
    if slices.size != resolution:
        raise TrainingError(
            f"{slices.path}: slices are {slices.size} pixels wide, but the GAN makes {resolution}; allowed: equal."
        )
    boxes = slices.boxes_by_slice()
    annotated = [boxes[row] for row in slices.indices("train", "tumour") if len(boxes[row])]
    if not annotated:
        raise TrainingError(f"{slices.path}: no slice of the training split has a box to draw conditions from.")
    return annotated


def _boxes_of(index: int, annotations: list[np.ndarray], size: int, config: SynthesisConfig) -> np.ndarray:
    rng = np.random.default_rng([config.seed, 5, index])
    return draw_condition(annotations[rng.integers(len(annotations))], size, config, rng)


def _write(
    out: Path,
    images: np.ndarray,
    boxes: list[np.ndarray],
    first: int,
    slices: SliceSet,
    gan: GANConfig,
    config: SynthesisConfig,
) -> None:
    indices = np.arange(first, first + len(images))
    ids = [f"synthetic-{index:06d}" for index in indices]
    frame = pd.DataFrame(
        {
            "slice_id": ids,
            "patient_id": "synthetic",
            "split": "train",
            "scanner": "synthetic",
            "kind": "tumour",
            "volume": "",
            "z": -1,
            "image_index": indices,
        }
    )
    corners = pd.DataFrame(np.concatenate(boxes), columns=["x0", "y0", "x1", "y1"])
    corners.insert(0, "slice_id", np.repeat(ids, [len(found) for found in boxes]))
    annotated = slices.indices("train", "tumour")
    real_boxes = slices.boxes_by_slice()
    meta = {
        "gan": gan.model_dump(mode="json"),
        "synthesis": config.model_dump(mode="json"),
        "first_image": first,
        "box_contrast": float(np.nanmean(box_contrast(images, boxes))),
        "box_contrast_real": float(
            np.nanmean(box_contrast(slices.images[annotated], [real_boxes[row] for row in annotated]))
        ),
    }
    write_slice_set(out, images, frame, corners, meta)
    (out / "figures").mkdir(exist_ok=True)
    starts = range(0, min(len(images), EXAMPLES), COLUMNS)
    figures.contact_sheet(
        out / "figures" / "samples.png",
        {ids[start]: images[start : start + COLUMNS] for start in starts},
        {ids[start]: boxes[start : start + COLUMNS] for start in starts},
    )
