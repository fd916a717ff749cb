"""Colours, lines, markers and hatches of all plots: colour-blind readers distinguish them, on light and dark pages.

A test simulates protanopia, deuteranopia and tritanopia. Neighbours also differ in line, marker and hatch, which serve
readers without any colour.
"""

from __future__ import annotations

INK, PAGE = "#000000", "#ffffff"
"""Of text, axes and the first series; and of the background. A page in dark mode replaces both."""
COLOURS = ("#0090ee", "#95501f", "#7337fe", "#e66e00", "#9b8b9b")
FAINT = "0.55"
"""Of what only gives context."""
_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "ooo", "+++")
TRUTH, HIT, FALSE_POSITIVE = "#56b4e9", "#f0e442", "#e8590c"
"""Of boxes on slices."""


def colour(number: int) -> str:
    """Of the series with this number: INK first, for the base that others are compared with."""
    return INK if number == 0 else COLOURS[(number - 1) % len(COLOURS)]


def line(number: int) -> str:
    """Line style of the series with this number."""
    return _LINES[number % len(_LINES)]


def marker(number: int) -> str:
    """Marker of the series with this number."""
    return _MARKERS[number % len(_MARKERS)]


def hatch(number: int) -> str:
    """Hatch of the bars of the series with this number."""
    return _HATCHES[number % len(_HATCHES)]
