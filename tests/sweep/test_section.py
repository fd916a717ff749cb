"""Tables of the report as Markdown."""

from __future__ import annotations

import html
import re

from markdown_it import MarkdownIt

from sweep.report.section import markdown_table

CELLS = [
    "Prisma [siemens](http://host)", "![x](file:///a)", "[b]: http://host", "[a][b]", "<script>x</script>", "<b>",
    "*bold*", "_slanted_", "~~gone~~", "a|b", "&lt;b&gt; & co", "back\\slash\\*", "two\nlines", "# title", "- item",
    "0.670 [0.550, 0.710]", "<0.001", "+0.100", "total_kimg", "P_001_", "http://host",
]  # fmt: skip


def test_cells_of_a_markdown_table_are_text() -> None:
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown_table(CELLS, [CELLS]))
    assert set(re.findall(r"</?(\w+)", page)) == {"table", "thead", "tbody", "tr", "th", "td"}
    for tag in ("th", "td"):
        shown = [html.unescape(cell) for cell in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)]
        assert shown == [" ".join(cell.split()) for cell in CELLS]
    assert "0.670 [0.550, 0.710] | <0.001 | +0.100 | total_kimg" in markdown_table(CELLS, [])
