"""Text from outside (names, paths, errors, what a server says) is shown as text: it cannot steer a terminal."""

from __future__ import annotations

import re

_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but line breaks and tabs, what turns the direction of text round, and halves of characters."""


def visible(text: object) -> str:
    r"""A text whose control characters are escaped, as Python writes them: `\x1b[2J` clears no screen."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], str(text))
