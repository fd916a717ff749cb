"""Tables of one detector's figures."""

from __future__ import annotations

from io import StringIO
from typing import Any

from sweep.cli.metric_tables import show_metrics
from sweep.console import TextConsole
from tests.sweep.summaries import summary


def test_a_figure_of_one_iou_threshold_stands_in_its_column() -> None:
    gain = {"difference": 0.25, "interval": [0.1, 0.4], "p": 0.01}
    metrics: Any = {"iou50": summary(0.5), "iou25": summary(0.75, gain=gain)}
    console = TextConsole(file=StringIO(), width=120)
    show_metrics(metrics, console)
    text: str = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    row = next(line for line in text.splitlines() if "gain over the other detector" in line)
    assert row.index(" - ") < row.index("+0.250")
    assert "calibration error" not in text
