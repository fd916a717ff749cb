"""The report as one HTML file that needs nothing else: no network, no scripts, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path


def html_of(content: Mapping[str, object], figures: Mapping[str, Path]) -> str:
    """The whole report; stage keys of every row link to the table of all trials at its end.

    Args:
        content: what the template names.
        figures: name -> PNG, of every section with a picture and of the pictures that stand alone.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("sweep.report", "")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    encoded = {name: base64.b64encode(path.read_bytes()).decode() for name, path in figures.items()}
    pictures = {name: f"data:image/png;base64,{picture}" for name, picture in encoded.items()}
    return pages.get_template("report.html.jinja").render(content, pictures=pictures)
