"""Reports as one HTML file that needs nothing else: no network, no scripts, pictures inside."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainers.palette import INK, PAGE

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

MODES = (
    "<style>svg{color:#1b1f24;--page:#fff;fill:currentColor}"
    "@media(prefers-color-scheme:dark){svg{color:#e6edf3;--page:#0d1117}}</style>"
)
"""What is drawn in INK and PAGE follows the light or dark mode of the page."""
SLICE_DPI = 110


def html_of(template: str, content: Mapping[str, object], figures: Mapping[str, Figure]) -> str:
    """A whole page.

    Args:
        template: file of this folder, with the page's looks in `style.jinja`.
        content: what the template names.
        figures: name -> picture, of every section with a picture.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("sweep.report", "")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pages.filters["code"] = with_code
    encoded = {name: base64.b64encode(svg_of(figure).encode()).decode() for name, figure in figures.items()}
    pictures = {name: f"data:image/svg+xml;base64,{picture}" for name, picture in encoded.items()}
    return pages.get_template(template).render(content, pictures=pictures)


def svg_of(figure: Figure) -> str:
    """A picture that scales, and that follows light and dark mode."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "metsweep"}), io.StringIO() as text:
        figure.savefig(text, format="svg", transparent=True, dpi=SLICE_DPI, metadata={"Date": None})
        drawn = text.getvalue()
    inked = drawn[drawn.index("<svg") :].replace(INK, "currentColor").replace(PAGE, "var(--page)")
    head, end, rest = inked.partition(">")
    return head + end + MODES + rest


def with_code(text: str) -> Markup:
    """Text whose `commands` stand out."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))
