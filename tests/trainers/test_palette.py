"""Series of a plot are told apart by readers with every kind of colour blindness, on light and dark pages."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from trainers import palette

# Matrices of linear RGB: Machado et al., IEEE TVCG 15 (2009), severity 1.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
LIGHT, DARK = "#ffffff", "#0d1117"
"""Backgrounds of the report."""
APART = 25
"""Distance in CIELAB; the former green and orange were 5 apart for a protanope."""


def linear(colours: list[str]) -> np.ndarray:
    rgb = np.array([to_rgb(colour) for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    scaled = np.clip(rgb, 0, 1) @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    f = np.where(scaled > (6 / 29) ** 3, np.cbrt(scaled), scaled / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def nearest(colours: list[str], vision: str) -> float:
    seen = lab(linear(colours) @ np.array(VISIONS[vision]).T)
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))


def contrast(colour: str, page: str) -> float:
    darker, lighter = sorted(linear([colour, page]) @ TO_XYZ[1])
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_differ_for_every_reader(vision: str) -> None:
    assert nearest([*palette.COLOURS, palette.INK], vision) > APART
    assert nearest([palette.TRUTH, palette.HIT, palette.FALSE_POSITIVE], vision) > APART


def test_the_simulation_sees_what_a_protanope_confuses() -> None:
    assert nearest(["#ff7f0e", "#2ca02c"], "protanopia") < APART < nearest(["#ff7f0e", "#2ca02c"], "normal")


def test_colours_stand_out_on_both_pages() -> None:
    assert min(contrast(colour, LIGHT) for colour in palette.COLOURS) >= 3
    assert min(contrast(colour, DARK) for colour in palette.COLOURS) >= 2.8


def test_series_that_share_a_colour_differ_in_line_and_marker() -> None:
    looks = [(palette.colour(i), palette.line(i)) for i in range(12)]
    assert len(set(looks)) == len(looks)
    assert all(palette.line(i) != palette.line(i + 1) and palette.marker(i) != palette.marker(i + 1) for i in range(12))
