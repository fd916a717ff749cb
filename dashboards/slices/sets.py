"""Slice sets of a study, real and synthetic, opened when they are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dashboards.web.recent import Recent
from sweep.plan import Plan
from sweep.stages import Stage
from sweep.store import Store
from trainers.data.slice_set import CORNERS, SliceSet, open_slice_set
from trainers.exceptions import ConfigError, StoreError

MOST_OPEN = 24
"""Opened sets that are kept: their tables are in memory, their images are not."""
TABLES = ("slices.parquet", "boxes.parquet", "meta.json")


@dataclass(frozen=True)
class Indexed:
    """A slice set whose slices are found at once by row and by name."""

    stage: str
    key: str
    """Of the stage that made it."""
    slices: SliceSet

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Name of a slice -> its row."""
        return dict(zip(self.slices.slices["slice_id"], range(len(self.slices.slices)), strict=True))

    @cached_property
    def row_of_box(self) -> np.ndarray:
        """Of each box the row of its slice; int64."""
        return np.array([self.row_of[name] for name in self.slices.boxes["slice_id"]], dtype=np.int64)

    @cached_property
    def annotated(self) -> np.ndarray:
        """Rows of the training slices with boxes, from which synthetic slices get theirs; int64."""
        rows = self.slices.indices("train", "tumour")
        return rows[np.diff(self._ends)[rows] > 0]

    def boxes(self, row: int) -> np.ndarray:
        """The boxes of a slice, n x 4 pixels."""
        return self._corners[self._ends[row] : self._ends[row + 1]]

    def value(self, row: int, column: str) -> str:
        """What the table says of a slice, as text; empty if it says nothing."""
        table = self.slices.slices
        return str(table[column].iloc[row]) if column in table.columns else ""

    @cached_property
    def _ends(self) -> np.ndarray:
        counts = np.bincount(self.row_of_box, minlength=len(self.slices.slices))
        return np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def _corners(self) -> np.ndarray:
        return self.slices.boxes[CORNERS].to_numpy(dtype=np.float64)[np.argsort(self.row_of_box, kind="stable")]


@dataclass(frozen=True)
class Synthetic:
    """The synthetic slices of one GAN, or of another way to make them: as many as any arm of the study uses."""

    name: str
    variant: str
    shards: tuple[Stage, ...]
    count: int


def synthetic_of(plan: Plan) -> dict[str, Synthetic]:
    """Name -> synthetic slices of a plan: the variant, with the beginning of a stage key where several have it."""
    largest: dict[str, Synthetic] = {}
    for trial in plan.trials:
        shards = trial.evaluate.detector.shards
        if shards and (shards[0].key not in largest or trial.count > largest[shards[0].key].count):
            largest[shards[0].key] = Synthetic("", trial.variant, shards, trial.count)
    variants = [made.variant for made in largest.values()]
    named = {
        key: made.variant if variants.count(made.variant) == 1 else f"{made.variant} {key[:6]}"
        for key, made in largest.items()
    }
    return {named[key]: Synthetic(named[key], made.variant, made.shards, made.count) for key, made in largest.items()}


class Sets:
    """The slice sets that were opened last, of any study of a store."""

    def __init__(self) -> None:
        self._open: Recent[Indexed] = Recent(MOST_OPEN)

    def open(self, store: Store, stage: str, key: str) -> Indexed:
        """The slices that a stage made.

        Raises:
            StoreError: they are not made yet, or damaged.
            SliceSetError: they cannot be read.
        """
        artifact = store.find(stage, key)
        if artifact is None:
            raise StoreError(f"The store {store.uri} lacks {stage} {key[:12]}: a launch makes it.")
        identity = (store.uri, artifact.manifest.publication)
        return self._open.get(identity, lambda: Indexed(stage, key, open_slice_set(artifact.path_to_read(*TABLES))))

    def real(self, store: Store, plan: Plan) -> Indexed:
        """The real slices of a study.

        Raises:
            ConfigError: the study has folds, each with a slice set of its own.
            StoreError, SliceSetError: as `open`.
        """
        if plan.study.folds is not None:
            raise ConfigError(
                f"Study {plan.study.name} has {plan.study.folds} folds, each with a slice set of its own; these pages "
                "show studies with one split. The report has pictures and figures of all folds."
            )
        stage = plan.trials[0].evaluate.detector.slices
        return self.open(store, stage.name, stage.key)

    def shards(self, store: Store, made: Synthetic) -> Iterator[Indexed]:
        """The shards of synthetic slices that exist; errors as `open`."""
        for shard in _ready(store, made):
            yield self.open(store, shard.name, shard.key)

    def drawn(self, store: Store, made: Synthetic) -> int:
        """How many synthetic slices exist; errors as `open`."""
        ready = len(_ready(store, made))
        return min(made.count, ready * self._per_shard(store, made)) if ready else 0

    def place(self, store: Store, made: Synthetic, number: int) -> tuple[Stage, Indexed, int]:
        """Stage, shard and row of a synthetic slice, counted from 0; errors as `open`."""
        shard, row = divmod(number, self._per_shard(store, made))
        stage = made.shards[shard]
        return stage, self.open(store, stage.name, stage.key), row

    def _per_shard(self, store: Store, made: Synthetic) -> int:
        return len(self.open(store, made.shards[0].name, made.shards[0].key).slices.images)


def _ready(store: Store, made: Synthetic) -> list[Stage]:
    """The shards that exist: they are made one after the other."""
    keys = store.keys(made.shards[0].name)
    return [*itertools.takewhile(lambda shard: shard.key in keys, made.shards)]
