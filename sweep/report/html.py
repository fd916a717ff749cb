"""The report as one HTML file that needs nothing else: no network, no scripts, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.report.report import Report


def html_of(report: Report, figures: Mapping[str, Path]) -> str:
    """The whole report; stage keys of every row link to the table of all trials at its end.

    Args:
        figures: name -> PNG, of every section with a picture and of the pictures that stand alone.
    """
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string((files("sweep.report") / "report.html.jinja").read_text(encoding="utf-8")).render(
        report=report,
        table1=report.table1.section(),
        anchors={line.values["evaluate_key"] for line in report.trace.lines},
        pictures={name: _data_uri(path) for name, path in figures.items()},
    )


def _data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
