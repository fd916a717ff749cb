"""One thing that the doctor examined."""

from __future__ import annotations

from dataclasses import dataclass

OK, LOOK, MISSING = "ok", "look", "missing"
"""States: fine; works, but deserves a look; nothing can run there."""


@dataclass(frozen=True)
class Finding:
    """One thing that was examined."""

    what: str
    state: str
    """OK, LOOK or MISSING."""
    found: str
    fix: str = ""
    """What to do; empty where nothing needs to be done."""
    where: str = ""
    """Nodes of the cluster; empty for this machine."""
