"""Grey pictures of 8 bits are read everywhere, of 16 bits where they are allowed, others nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.data.pictures import grey
from trainers.exceptions import CohortError

DEEP = np.array([[0, 300], [65535, 7]], np.uint16)
COLOURS = np.array([[[255, 0, 0], [0, 0, 0]]], np.uint8)


def saved(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_sixteen_bits_are_kept_where_they_are_allowed(tmp_path: Path) -> None:
    file = saved(DEEP, tmp_path / "deep.png")
    assert (grey(file, CohortError, deep=True) == DEEP).all()
    with pytest.raises(CohortError, match=r"deep\.png: has colours or uint16 pixels; allowed: grey, 8 bits"):
        grey(file, CohortError)


@pytest.mark.parametrize("deep", [False, True])
def test_eight_bits_stay_eight_bits(tmp_path: Path, deep: bool) -> None:
    pixels = grey(saved(np.full((2, 3), 200, np.uint8), tmp_path / "p.png"), CohortError, deep)
    assert (pixels.dtype, pixels.shape, pixels.max()) == (np.uint8, (2, 3), 200)
    same = np.repeat(pixels[..., None], 3, axis=2)
    assert (grey(saved(same, tmp_path / "same.png"), CohortError, deep) == pixels).all(), "colours that are all grey"
    with pytest.raises(CohortError, match="has colours or uint8 pixels"):
        grey(saved(COLOURS, tmp_path / "colours.png"), CohortError, deep)
