"""How many steps a run has, and which slices each step shows: pure functions of the config and the number of slices.

Every step fills `batch` slots; slot g of a run is place g % batch of step g // batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from trainers.detector.config import DetectorConfig


class Draw(NamedTuple):
    """One slot of a step."""

    position: int
    """Which slice: the real ones come first, then the synthetic ones."""
    step: int
    place: int
    """Place in the batch of all workers; with the seed and the step it decides the augmentation."""


@dataclass(frozen=True)
class Seen:
    """What a run shows."""

    real: int
    """Slots that show a real slice."""
    synthetic: int
    """Slots that show a synthetic slice."""


def budget(config: DetectorConfig, slices: int) -> int:
    """Optimiser steps of a run on `slices` slices: `steps`, or what `epochs` passes over them take."""
    if config.epochs is None:
        return config.steps
    return math.ceil(Fraction(str(config.epochs)) * slices / config.batch)


@dataclass(frozen=True)
class Order:
    """The order in which a run shows its slices.

    Pooled (`synthetic_share` none): one permutation of all slices after another. With a share: of any n slots in a row
    n x share, up to one, are synthetic, and each kind walks through its own permutations.
    """

    config: DetectorConfig
    real: int
    """Number of real slices, at least 1."""
    synthetic: int
    """Number of synthetic slices, may be 0."""

    def draws(self, step: int, rank: int = 0, world_size: int = 1) -> list[Draw]:
        """What a rank shows in a step, batch / world_size slots; the ranks together show the batch."""
        share = self.config.batch // world_size
        places = range(rank * share, (rank + 1) * share)
        return [Draw(self._position(step * self.config.batch + place), step, place) for place in places]

    def steps(self, first: int, end: int, rank: int = 0, world_size: int = 1) -> Iterator[list[Draw]]:
        """The draws of the steps `first` to `end` - 1."""
        return (self.draws(step, rank, world_size) for step in range(first, end))

    def seen(self, steps: int) -> Seen:
        """What the first `steps` steps show."""
        slots = steps * self.config.batch
        if self._mixes:
            synthetic = self._synthetic_before(slots)
        else:
            total = self.real + self.synthetic
            passes, rest = divmod(slots, total)
            last = _permutation(self.config.seed, passes, total)[:rest]
            synthetic = passes * self.synthetic + int((last >= self.real).sum())
        return Seen(slots - synthetic, synthetic)

    @property
    def _mixes(self) -> bool:
        return self.config.synthetic_share is not None and self.synthetic > 0

    def _synthetic_before(self, slot: int) -> int:
        share = Fraction(str(self.config.synthetic_share))  # exact: a float's rounding would grow with the slot
        return slot * share.numerator // share.denominator

    def _position(self, slot: int) -> int:
        seed = self.config.seed
        if not self._mixes:
            return _walk(seed, slot, self.real + self.synthetic)
        before = self._synthetic_before(slot)
        if self._synthetic_before(slot + 1) > before:
            return self.real + _walk(seed, before, self.synthetic)
        return _walk(seed, slot - before, self.real)


def _walk(seed: int, index: int, total: int) -> int:
    passes, rest = divmod(index, total)
    return int(_permutation(seed, passes, total)[rest])


@lru_cache(maxsize=8)
def _permutation(seed: int, passes: int, total: int) -> np.ndarray:
    return np.random.default_rng((seed, passes)).permutation(total)
