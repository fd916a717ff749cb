"""The stages of `fixed_time` as plain Ray tasks: the engine without the seconds that a Ray Train job takes to start.

The environment variable of SECONDS tells how long each kind of stage sleeps, to Ray's workers too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from search_spaces.study import Study
from sweep.plan import TrialMaker
from sweep.settings import Settings
from sweep.stages import GANStage, Stage
from tests.sweep.fixed_time import (
    STEPS,
    TimedDetector,
    TimedEvaluate,
    TimedGAN,
    TimedMaker,
    TimedPrepare,
    TimedSynthesize,
    quality,
    train,
    write_history,
)
from tests.trainers.detector.selected import SELECTED
from trainers.data.slice_set import open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.detector.selection import write_selection
from trainers.distributed import Context
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import truth_of
from trainers.evaluation.outcome import match_outcomes, outcome_tables
from trainers.evaluation.summary import summarise
from trainers.exceptions import MetsweepError
from trainers.matching import DETECTION_COLUMNS

SECONDS = "TEST_STAGE_SECONDS"
"""Environment variable: JSON, kind of stage -> seconds; 0 for those that are left out."""
HIGHEST_RATE = 0.03
"""A stepping detector fails above it."""


def kind(stage: Stage) -> str:
    """What decides how long a stage takes: its name, of a GAN with the variant."""
    return f"gan {stage.config.variant}" if isinstance(stage, GANStage) else stage.name


def seconds_of(stage: Stage) -> float:
    """How long a stage sleeps."""
    return json.loads(os.environ.get(SECONDS, "{}")).get(kind(stage), 0.0)


def set_seconds(seconds: Mapping[str, float]) -> None:
    """Of each kind of stage, for this process and the Ray workers of a cluster that it starts from now on."""
    os.environ |= {SECONDS: json.dumps(dict(seconds)), "PYTHONPATH": str(Path(__file__).parents[2])}


def settings_in(folder: Path) -> Settings:
    """Store and databases in one folder, Ray on this machine."""
    return Settings(
        store=str(folder / "store"),
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        optuna_storage=f"sqlite:///{folder / 'optuna.db'}",
        ray_address=None,
    )


@dataclass(frozen=True, eq=False)
class TaskGAN(TimedGAN):
    """Sleeps once."""

    trains: ClassVar[bool] = False

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        time.sleep(seconds_of(self))
        write_history(out, "images")


@dataclass(frozen=True, eq=False)
class TaskSynthesize(TimedSynthesize):
    """Sleeps once."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        time.sleep(seconds_of(self))
        super().run(inputs, out, context)


@dataclass(frozen=True, eq=False)
class TaskDetector(TimedDetector):
    """Sleeps once."""

    trains: ClassVar[bool] = False

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        time.sleep(seconds_of(self))
        write_history(out, "step")
        write_selection(out, SELECTED)


@dataclass(frozen=True, eq=False)
class SteppingDetector(TimedDetector):
    """Sleeps in steps and validates at each, so that it can be pruned; fails where its learning rate is too high."""

    trains: ClassVar[bool] = False

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        rate, best = self.config.learning_rate, quality(self)
        if rate > HIGHEST_RATE:
            raise MetsweepError(f"The loss is not a number at a learning rate of {rate:.3g}.")

        def figures(done: int) -> dict[str, float]:
            return {"validation/sensitivity": best * done / STEPS, "validation/fps_per_slice": 2.0}

        train(seconds_of(self), context, self.slices.cohort, f"detector {self.key[:8]}", figures)
        write_history(out, "step")
        write_selection(out, SELECTED)


@dataclass(frozen=True, eq=False)
class TaskEvaluate(TimedEvaluate):
    """Sleeps once, and writes what the report reads: a detector that finds every other lesion, though what a search
    sees is its quality."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        time.sleep(seconds_of(self))
        metrics, tables = _outcomes(inputs["slices"], self.config)  # pyright: ignore[reportArgumentType]  # is frozen
        found = quality(self.detector)
        for figures in (one for of_split in metrics.values() for one in of_split.values()):
            figures["sensitivity"] = found
        (out / "metrics.json").write_text(json.dumps(metrics))
        for name, content in tables.items():
            (out / f"{name}.parquet").write_bytes(content)


@lru_cache(maxsize=1)
def _outcomes(slices_dir: Path, config: EvaluationConfig) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    """Metrics and the tables as files: a second of work, done once a process as no trial's differ."""
    slices = open_slice_set(slices_dir)
    tables: dict[str, list[pd.DataFrame]] = {}
    metrics: dict[str, dict[str, Any]] = {}
    for split in ("validation", "test"):
        truth = truth_of(slices, split, detector_rows(slices, split))
        found = truth.lesions.iloc[::2].assign(confidence=0.5)[list(DETECTION_COLUMNS)]
        outcomes = match_outcomes(found, truth, config.ious)
        metrics[split] = summarise(outcomes, config)
        for name, table in outcome_tables(outcomes).items():
            tables.setdefault(name, []).append(table.assign(split=split))
    return metrics, {name: pd.concat(parts).to_parquet() for name, parts in tables.items()}


class TaskMaker(TimedMaker):
    """Trials of stages that sleep once."""

    gan_stage, synthesize_stage = TaskGAN, TaskSynthesize
    detector_stage, evaluate_stage = TaskDetector, TaskEvaluate


class SteppingMaker(TaskMaker):
    """Trials whose detectors can be pruned and can fail."""

    detector_stage = SteppingDetector


def make_task_maker(study: Study) -> TrialMaker:
    """As `make_timed_maker`."""
    return TaskMaker(study, _prepared(study))


def make_stepping_maker(study: Study) -> TrialMaker:
    """As `make_timed_maker`."""
    return SteppingMaker(study, _prepared(study))


def _prepared(study: Study) -> TimedPrepare:
    return TimedPrepare(study.prepare, cohort=Path(study.cohort) / "diary.txt", fingerprint="discs")
