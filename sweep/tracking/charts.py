"""Charts of MLflow's run pages, as its web page keeps them in a view.

MLflow draws a chart for every metric. Those named here come first, in their own section; the sections of all others are
folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SECTION = "Comparison"
FOLDED = ("detector", "gan", "inpainter", "realism", "system", "test", "validation")
"""First parts of metrics' names, by which MLflow sorts charts into sections."""


def charts(bars: Sequence[str], lines: Sequence[str]) -> dict[str, Any]:
    """The part of a view's state that holds its charts.

    Args:
        bars: metrics that are shown as their last values.
        lines: metrics that are shown against the step.
    """
    kinds = {**dict.fromkeys(bars, "BAR"), **dict.fromkeys(lines, "LINE")}
    cards = [
        {
            "uuid": f"metsweep-{number}",
            "type": kind,
            "metricKey": name,
            "displayName": name,
            "metricSectionId": SECTION,
            "runsCountToCompare": 10,
            "deleted": False,
            "isGenerated": False,
        }
        | ({"xAxisKey": "step", "selectedMetricKeys": [name], "lineSmoothness": 0} if kind == "LINE" else {})
        for number, (name, kind) in enumerate(kinds.items())
    ]
    sections = [
        {"uuid": name, "name": name, "display": name == SECTION, "isReordered": False, "deleted": False}
        for name in (SECTION, *FOLDED)
    ]
    return {"compareRunCharts": cards, "compareRunSections": sections, "isAccordionReordered": True}
