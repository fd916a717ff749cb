"""How text and numbers are shown: text from outside (names, paths, errors) cannot steer a terminal."""

from __future__ import annotations

import re

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except line breaks and tabs, marks of text direction, and halves of characters."""


def visible(text: object) -> str:
    r"""Text with its control characters escaped as Python writes them: `\x1b[2J` clears no screen."""
    return _UNSEEN.sub(lambda match: ascii(match[0])[1:-1], str(text))


def bytes_text(size: float) -> str:
    """A number of bytes in a unit that suits it, in powers of 1,000: `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"


def count_text(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun in singular or plural: `1 cell`, `1,200 cells`, `2 boxes`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
