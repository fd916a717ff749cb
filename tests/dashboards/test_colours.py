"""Text has enough contrast, and colour-blind readers tell curves apart, in the light and in the dark."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from tests.source_files import ROOT

AA_TEXT, AA_GRAPHICS = 4.5, 3.0
"""WCAG 2.2, success criteria 1.4.3 and 1.4.11."""
SIMULATED = {
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""On linear RGB (Machado, Oliveira and Fernandes 2009, severity 1)."""
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
LEAST_APART = 9.0
"""Distance in CIELAB; about 2 is just noticeable."""


def schemes() -> dict[str, dict[str, np.ndarray]]:
    """Scheme -> variable -> linear RGB."""
    light: dict[str, np.ndarray] = {}
    dark: dict[str, np.ndarray] = {}
    for file in ("web/static/base.css", "study/static/study.css"):
        before, _, after = (ROOT / "dashboards" / file).read_text().partition("@media (prefers-color-scheme: dark)")
        light |= _colours(before)
        dark |= _colours(after.partition("\n}")[0])
    return {"light": light, "dark": dark}


def _colours(css: str) -> dict[str, np.ndarray]:
    named = dict(re.findall(r"--([\w-]+): #([0-9a-f]{6})", css))
    return {name: _linear(np.array([int(code[i : i + 2], 16) for i in (0, 2, 4)])) for name, code in named.items()}


def _linear(colour: np.ndarray) -> np.ndarray:
    share = colour / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    low, high = sorted(float(XYZ[1] @ colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(colour: np.ndarray) -> np.ndarray:
    x, y, z = np.cbrt(np.maximum(XYZ @ np.clip(colour, 0, 1), 1e-6) / (XYZ @ np.ones(3)))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(scheme: str) -> None:
    colours = schemes()[scheme]
    for text, back in itertools.product(("text", "faint", "link", "good", "bad", "warn"), ("back", "raised")):
        assert contrast(colours[text], colours[back]) >= AA_TEXT, (text, back)
    for name in ("mark", *(f"s{i}" for i in range(8))):
        assert contrast(colours[name], colours["back"]) >= AA_GRAPHICS, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("blindness", SIMULATED)
def test_the_first_curves_differ_for_colour_blind_readers(scheme: str, blindness: str) -> None:
    """Beyond four, dashes distinguish them, too."""
    colours, seen = schemes()[scheme], np.array(SIMULATED[blindness])
    for one, other in itertools.combinations((f"s{i}" for i in range(4)), 2):
        apart = np.linalg.norm(lab(seen @ colours[one]) - lab(seen @ colours[other]))
        assert apart > LEAST_APART, (one, other)


@pytest.mark.parametrize("blindness", SIMULATED)
def test_frames_on_a_scan_differ_for_colour_blind_readers(blindness: str) -> None:
    """Scans are black in both schemes."""
    colours = _colours((ROOT / "dashboards" / "volumes" / "static" / "volume.css").read_text())
    seen, black = np.array(SIMULATED[blindness]), np.zeros(3)
    assert len(colours) == 4
    assert min(contrast(colour, black) for colour in colours.values()) >= AA_GRAPHICS
    for one, other in itertools.combinations(colours, 2):
        assert np.linalg.norm(lab(seen @ colours[one]) - lab(seen @ colours[other])) > LEAST_APART, (one, other)
