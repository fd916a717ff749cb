"""What the slice browser needs to know of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from sweep.plan import Plan
from sweep.report.results import Results
from sweep.store import Store


class Studied(Protocol):
    """A study as it is now."""

    @property
    def plan(self) -> Plan:
        """Its trials."""
        ...

    @property
    def store(self) -> Store:
        """Where its artifacts are."""
        ...

    @property
    def results(self) -> Results:
        """Its evaluated trials."""
        ...

    @property
    def damage(self) -> Mapping[str, str]:
        """Stage key -> what is wrong with its artifact."""
        ...
