"""What turns slices into features. Nothing is downloaded: a distance says how slices differ *to this extractor*.

Published FIDs come from an ImageNet network and cannot be compared with these, nor can those of two extractors, or of
two detectors, with each other.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch.nn import functional

from trainers.detector.model import backbone_maps
from trainers.detector.prediction import Detector
from trainers.exceptions import ConfigError

Extractor = Callable[[np.ndarray], np.ndarray]
"""N x S x S uint8 -> N x D float32."""
PACKET_LEVELS = 3
PIXELS = 32


def make_extractor(name: str, detector: Detector, batch: int) -> Extractor:
    """The extractor that a config names.

    Args:
        name: `detector`, `wavelet`, `pixels`, or `package.module:function`, a function of the form of `Extractor`;
            modules in the working directory are found too.
        detector: for `detector`.
        batch: slices that it sees at once.

    Returns:
        A function that also refuses (ConfigError) what is not one row of finite numbers per slice.

    Raises:
        ConfigError: no such extractor.
    """
    built_in: dict[str, Extractor] = {
        "detector": lambda images: detector_features(detector, images, batch),
        "wavelet": wavelet_energies,
        "pixels": shrunk_pixels,
    }
    extract = built_in.get(name) or _imported(name, [*built_in])

    def checked(images: np.ndarray) -> np.ndarray:
        features = np.asarray(extract(images))
        if features.ndim != 2 or len(features) != len(images) or not np.isfinite(features).all():
            raise ConfigError(
                f"The extractor {name!r} gave an array of shape {features.shape} for {len(images)} slices, or numbers "
                "that are not finite; allowed: one row of finite numbers per slice (N x D)."
            )
        return features.astype(np.float32)

    return checked


@torch.no_grad()
def detector_features(detector: Detector, images: np.ndarray, batch: int) -> np.ndarray:
    """Means over the slice of the last feature maps of a detector's backbone (YOLOv3's is Darknet-53).

    Args:
        images: N x S x S uint8, enlarged to the detector's validation resolution.

    Returns:
        N x D float32; D = 1024 times the detector's width for YOLOv3.
    """
    target, features = detector.config.validation_size, []
    for start in range(0, len(images), batch):
        pixels = torch.from_numpy(np.ascontiguousarray(images[start : start + batch]))[:, None].to(detector.device)
        scaled = functional.interpolate(pixels.float() / 255, (target, target), mode="bilinear", antialias=True)
        maps = backbone_maps(detector.model, scaled.contiguous(memory_format=torch.channels_last))
        features.append(maps.mean(dim=(2, 3)).cpu().numpy())
    return np.concatenate(features)


def wavelet_energies(images: np.ndarray) -> np.ndarray:
    """How much of each spatial frequency a slice holds: log(1 + mean |coefficient|) of every Haar wavelet packet.

    Args:
        images: N x S x S uint8; S is cut to a multiple of 8.

    Returns:
        N x 64 float32 (three levels of packets, four at each split).
    """
    side = images.shape[1] // 2**PACKET_LEVELS * 2**PACKET_LEVELS
    packets = images[:, None, :side, :side].astype(np.float32)
    for _ in range(PACKET_LEVELS):
        a, b = packets[..., ::2, ::2], packets[..., ::2, 1::2]
        c, d = packets[..., 1::2, ::2], packets[..., 1::2, 1::2]
        packets = np.concatenate([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], axis=1) / 2
    return np.log1p(np.abs(packets).mean(axis=(2, 3)))


def shrunk_pixels(images: np.ndarray) -> np.ndarray:
    """Slices shrunk to 32 x 32 by area average, grey levels 0..1; N x 1024 float32.

    A noisy or slightly blurred copy of a slice stays near it, which it does not in the high frequencies.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images))[:, None].float() / 255
    return functional.adaptive_avg_pool2d(pixels, PIXELS).flatten(1).numpy()


def common_scale(features: list[np.ndarray]) -> list[np.ndarray]:
    """Shift and scale several sets of features together so that the first two have mean 0 and mean square 1.

    One number scales all dimensions, so that distances keep their proportions; the kernel distance would otherwise
    depend on the unit of the features.

    Args:
        features: the real slices' (training, held out), then any others, each N x D.

    Returns:
        The same in float64.
    """
    real = np.concatenate(features[:2]).astype(np.float64)
    centre = real.mean(axis=0)
    spread = np.sqrt(np.mean((real - centre) ** 2))
    return [(of_set - centre) / max(spread, 1e-12) for of_set in features]


def _imported(name: str, built_in: list[str]) -> Extractor:
    module, colon, function = name.partition(":")
    allowed = f"allowed: {', '.join(built_in)} or package.module:function"
    if not colon or not module or not function:
        raise ConfigError(f"An extractor of the section realism: got {name!r}; {allowed}.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        extract = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"An extractor of the section realism: {name!r} cannot be imported ({error}); {allowed}."
        ) from error
    if not callable(extract):
        raise ConfigError(
            f"An extractor of the section realism: {name!r} is a {type(extract).__name__}, not a function; {allowed}."
        )
    return cast("Extractor", extract)
