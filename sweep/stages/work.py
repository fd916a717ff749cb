"""What a stage computes, and how long that takes by assumption."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SliceCounts:
    """Slices of a slice set, by the design's 70/10/20 split of the patients."""

    all: int

    @property
    def train(self) -> float:
        return 0.7 * self.all

    @property
    def validation(self) -> float:
        return 0.1 * self.all

    @property
    def scored(self) -> float:
        """Validation and test."""
        return 0.3 * self.all


@dataclass(frozen=True)
class Work:
    """What decides a stage's cost, equal for stages that cost the same: no seed, which decides the outcome alone."""

    config: str
    """Of the stage, as JSON."""
    network: str
    """Of the network that the stage runs but does not train, as JSON; empty if there is none, or if it was deleted."""
    count: int = 0
    """Synthetic slices, where they decide how long a detector trains."""


@dataclass(frozen=True)
class Assumed:
    """How long a stage takes if no earlier one of its kind is known."""

    seconds: float
    """Of its work, on all of its workers at once."""
    source: str
    """What the seconds are made from."""
