"""Pictures of slices as others saved them, opened within limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from trainers.exceptions import MetsweepError

MOST_PIXELS = 4096**2
UNREADABLE = (OSError, SyntaxError, ValueError, ImportError)
"""What Pillow raises for damaged pictures; the last once Ultralytics, wherever imported, makes it seek decoders."""
DEEP = ("I", "I;16", "I;16B", "I;16L")
"""Pillow's modes of grey pictures of 16 bits."""


def grey(file: Path, error: type[MetsweepError], deep: bool = False) -> np.ndarray:
    """A picture, H x W uint8; uint16 if it has 16 bits.

    Args:
        error: what is raised.
        deep: whether it may have 16 bits.

    Raises:
        MetsweepError: of the class `error`: it is in colour, deeper than allowed, too large or damaged.
    """
    bits = "8 or 16" if deep else "8"
    try:
        with Image.open(file) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise error(f"{file}: has {picture.width} x {picture.height} pixels; allowed: up to {MOST_PIXELS:,}.")
            pixels = np.asarray(picture.convert("L") if picture.mode in ("1", "P", "LA") else picture)
            deep = deep and picture.mode in DEEP
    except (*UNREADABLE, Image.DecompressionBombError) as reason:
        raise error(f"{file}: cannot be read as a picture ({reason}). Copy it anew.") from reason
    if pixels.ndim == 3 and (pixels[..., :3] == pixels[..., :1]).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or not (deep or pixels.dtype == np.uint8):
        raise error(f"{file}: has colours or {pixels.dtype} pixels; allowed: grey, {bits} bits. Convert it.")
    return pixels.astype(np.uint16) if deep else pixels
