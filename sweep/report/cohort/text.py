"""Text from outside on the page: of bounded length."""

from __future__ import annotations

LONGEST = 60
"""Characters of a name."""


def shortened(text: str, longest: int = LONGEST) -> str:
    """Text with its middle left out where it is long: beginnings and ends of paths distinguish them."""
    if len(text) <= longest:
        return text
    half = (longest - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
