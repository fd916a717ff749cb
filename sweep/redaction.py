"""Keeps passwords out of what is printed."""

from __future__ import annotations

from urllib.parse import urlsplit


def without_password(uri: str) -> str:
    """A URI whose password, if it has one, is replaced by `***`."""
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri
