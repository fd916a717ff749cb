"""Where slices come from: slice sets in folders, or those of a study in the store, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import cast, get_args

import numpy as np

from sweep.cli import talk
from sweep.cli.checksums import checked
from sweep.plan import Plan, Trial
from sweep.settings import Settings
from sweep.stages import Stage
from sweep.store import Store
from sweep.studies.opened import OpenedStudy, open_study
from sweep.studies.records import LaunchOptions
from trainers.data.slice_set import SliceSet, Split, open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.exceptions import ConfigError, StoreError

SPLITS = get_args(Split)
ALLOWED = (
    "the folder of a slice set (of a real one, /train, /validation or /test behind it names the split; default: train),"
    " or STUDY/train, STUDY/validation or STUDY/test for a study's real slices, or STUDY/CELL for a cell's synthetic "
    "slices, e.g. quickstart/cpggan"
)


@dataclass(frozen=True)
class Source:
    """Slices of one origin."""

    name: str
    """As it was given."""
    sets: tuple[SliceSet, ...]
    """One set of real slices, or the shards of a GAN's synthetic ones."""
    rows: tuple[np.ndarray, ...]
    """Of each set the rows that belong to the source, in order."""

    @property
    def is_synthetic(self) -> bool:
        """Whether a GAN drew the slices."""
        return self.sets[0].is_synthetic

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """Set and row of each slice."""
        return [(number, int(row)) for number, rows in enumerate(self.rows) for row in rows]

    @cached_property
    def boxes(self) -> list[np.ndarray]:
        """Boxes of each slice, n x 4 pixels; n may be 0."""
        by_set = [slices.boxes_by_slice() for slices in self.sets]
        return [by_set[number][row] for number, row in self.places]

    def image(self, position: int) -> np.ndarray:
        """One slice, S x S uint8."""
        number, row = self.places[position]
        return np.asarray(self.sets[number].images[row])

    def column(self, name: str) -> np.ndarray:
        """What the sets' tables say of each slice."""
        tables = (slices.slices.iloc[rows] for slices, rows in zip(self.sets, self.rows, strict=True))
        return np.concatenate([table[name].to_numpy() for table in tables])

    def value(self, position: int, column: str) -> str:
        """What the set's table says of one slice, as text."""
        number, row = self.places[position]
        return str(self.sets[number].slices[column].iloc[row])


def open_source(text: str, store: str | None) -> Source:
    """The slices that a text names; ALLOWED says how. Of real slices all of tumour patients, with lesions or without.

    Args:
        store: of `--store`.

    Raises:
        ConfigError: the text names nothing, or what it names has not been made yet.
        MetsweepError: as `open_study` and `open_slice_set`.
    """
    folder, head = Path(text), Path(text).parent
    if _is_slice_set(folder):
        return _of_folder(text, folder, "train")
    if _is_slice_set(head) and folder.name in SPLITS:
        return _of_folder(text, head, cast(Split, folder.name))
    study, _, part = text.rpartition("/")
    if not study:
        raise ConfigError(f"{text} is neither a slice set nor part of a study; allowed: {ALLOWED}.")
    opened = _study(study, store)
    if part in SPLITS:
        slices = open_slice_set(_made(opened.store, opened.maker.slices))
        return Source(text, (slices,), (detector_rows(slices, cast(Split, part)),))
    trial = _trial(opened.plan(), part, text)
    shards = trial.evaluate.detector.shards
    if not shards:
        raise ConfigError(f"{text}: the arm {trial.arm} has no synthetic slices; allowed: {ALLOWED}.")
    return _first(text, [open_slice_set(_made(opened.store, shard)) for shard in shards], trial.count)


def evaluation_of(text: str, store: str | None) -> Path:
    """The folder of an evaluation: of `metsweep evaluate`, or STUDY/CELL; errors as `open_source`."""
    if (Path(text) / "detections.parquet").is_file():
        return checked(Path(text))
    study, _, cell = text.rpartition("/")
    if not study:
        raise ConfigError(f"{text} is no evaluation; allowed: a folder of `metsweep evaluate`, or STUDY/CELL.")
    opened = _study(study, store)
    return _made(opened.store, _trial(opened.plan(), cell, text).evaluate)


def _is_slice_set(folder: Path) -> bool:
    return (folder / "images.npy").is_file()


def _of_folder(text: str, folder: Path, split: Split) -> Source:
    slices = open_slice_set(checked(folder))
    if slices.is_synthetic:
        return _first(text, [slices], len(slices.images))
    return Source(text, (slices,), (detector_rows(slices, split),))


def _first(name: str, shards: Sequence[SliceSet], count: int) -> Source:
    """The first `count` slices of shards."""
    before = np.cumsum([0, *(len(shard.images) for shard in shards)])
    rows = (
        np.arange(min(len(shard.images), max(count - start, 0)))
        for shard, start in zip(shards, before[:-1].tolist(), strict=True)
    )
    return Source(name, tuple(shards), tuple(rows))


def _study(name: str, store: str | None) -> OpenedStudy:
    opened = open_study(name, LaunchOptions(), Settings.from_environment(store), partial(talk.note, err=True))
    if opened.study.folds is not None:
        raise ConfigError(
            f"Study {name} has {opened.study.folds} folds, each with slices and detectors of its own; allowed: a study "
            "without folds, or the folder of one slice set or evaluation in the store."
        )
    return opened


def _trial(plan: Plan, name: str, text: str) -> Trial:
    """The first trial of a cell, or of the cell of a variant that has most synthetic slices."""
    of_cell = [trial for trial in plan.trials if trial.cell == name]
    of_variant = [trial for trial in plan.trials if trial.variant == name]
    if not (of_cell or of_variant):
        cells = dict.fromkeys(trial.cell for trial in plan.trials)
        raise ConfigError(
            f"{text}: study {plan.study.name} has no cell {name!r}; it has {', '.join(cells)}. Allowed: {ALLOWED}."
        )
    return max(of_cell or of_variant, key=lambda trial: trial.count)


def _made(store: Store, stage: Stage) -> Path:
    artifact = store.find(stage.name, stage.key)
    if artifact is None:
        raise StoreError(
            f"The store {store.uri} lacks {stage.label}, which the launch makes. Wait until it has, or launch the "
            "study again."
        )
    return artifact.path
