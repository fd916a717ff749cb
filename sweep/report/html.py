"""The report as one HTML file that needs nothing else: no network, no scripts, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path


def html_of(content: Mapping[str, object], figures: Mapping[str, Path]) -> str:
    """The whole report; stage keys of every row link to the table of all trials at its end.

    Args:
        content: what the template names.
        figures: name -> PNG, of every section with a picture and of the pictures that stand alone.
    """
    from jinja2 import Environment, StrictUndefined

    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string((files("sweep.report") / "report.html.jinja").read_text(encoding="utf-8")).render(
        content, pictures={name: _data_uri(path) for name, path in figures.items()}
    )


def _data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
