"""A study whose stages only take time: the engine with all its parts, without networks.

    python -m tests.sweep.fixed_time FOLDER [--fail-fast] [--trained] [KEY=VALUE ...]

launches it in a folder, as `metsweep launch` would. `pace.json` in that folder says how its stages behave, `diary.txt`
there what they did. With --trained, detectors are real: trained, slowed down by their pace, and evaluated on discs.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from search_spaces.study import Study
from sweep.console import TextConsole
from sweep.engine.launch import launch
from sweep.plan import TrialMaker
from sweep.report.report import write_report
from sweep.settings import Settings
from sweep.stages import (
    DetectorStage,
    EvaluateStage,
    GANStage,
    PrepareStage,
    RealismStage,
    SourceStage,
    SynthesizeStage,
)
from sweep.studies.outcome import StopReason
from tests.sweep.summaries import realism_report, summary
from tests.trainers.detector.selected import SELECTED
from trainers.config import Config
from trainers.data.slice_set import open_slice_set
from trainers.detector.dataset import detector_rows
from trainers.detector.selection import write_selection
from trainers.distributed import Context
from trainers.evaluation.evaluate import truth_of
from trainers.evaluation.outcome import match_outcomes, outcome_tables
from trainers.evaluation.summary import summarise
from trainers.exceptions import MetsweepError, TrainingError
from trainers.gan.config import GANConfig
from trainers.gan.workers import from_first
from trainers.matching import DETECTION_COLUMNS

STEPS = 10
"""Progress reports, checkpoints and stop points of a training stage."""


class Pace(Config):
    """How the stages behave."""

    gan: float = 3.0
    """Seconds."""
    detector: float = 2.0
    """Seconds."""
    short: float = 0.0
    """Seconds of every other stage."""
    failing: tuple[int, ...] = ()
    """Synthetic counts whose detectors fail half-way."""
    moody: bool = False
    """Whether detectors find other lesions with every seed and count."""
    undefined: tuple[int, ...] = ()
    """Synthetic counts whose sensitivity is not a number."""

    @staticmethod
    def beside(diary: Path) -> Pace:
        """As the folder of a diary says: whoever works there sees a change at once."""
        path = diary.with_name("pace.json")
        return Pace.model_validate_json(path.read_text()) if path.exists() else Pace()


def train(seconds: float, context: Context, diary: Path, name: str, figures: Callable[[int], dict[str, float]]) -> None:
    """Sleep in STEPS steps with a checkpoint each, from the newest one on; note every step in a diary."""
    folder = context.load_checkpoint() if context.rank == 0 else None
    # The other ranks, when they begin, might find a checkpoint that the first has kept since.
    payload = from_first((folder / "done").read_bytes() if folder else None, context.world_size)
    done = 0 if payload is None else int(payload)
    while done < STEPS:
        time.sleep(seconds / STEPS)
        done += 1
        if context.rank == 0:
            _note(diary, f"{name} {done}")
        context.progress(done, STEPS, figures(done))
        context.save_checkpoint(lambda fresh, done=done: _write(fresh / "done", str(done)))
        if done < STEPS:
            context.stop_point(lambda fresh, done=done: _write(fresh / "done", str(done)))


def write_history(out: Path, step: str) -> None:
    """What the tracker reads from a training stage."""
    lines = [{step: i, "time": 1.7e9 + i, "loss": 1 / i} for i in range(1, STEPS + 1)]
    (out / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@dataclass(frozen=True, eq=False)
class TimedPrepare(PrepareStage):
    """Discs on noise."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        from tests.trainers.disc_slices import make_slice_set

        make_slice_set(out, {"train": 12, "validation": 4, "test": 4})


@dataclass(frozen=True, eq=False)
class TimedGAN(GANStage):
    """Sleeps, with checkpoints."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        diary = self.slices.cohort
        train(Pace.beside(diary).gan, context, diary, f"gan {self.key[:8]}", _nothing)
        write_history(out, "images")


@dataclass(frozen=True, eq=False)
class TimedSynthesize(SynthesizeStage):
    """Sleeps."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        diary = self.gan.slices.cohort
        time.sleep(Pace.beside(diary).short)
        _note(diary, f"synthesize {self.key[:8]}")
        curation = {"threshold": None, "attempts": 1, "discard_rate": 0.1, "unclear": 0}
        meta = {"box_contrast": 0.1, "box_contrast_real": 0.2, "curation": curation}
        (out / "meta.json").write_text(json.dumps(meta))


@dataclass(frozen=True, eq=False)
class TimedDetector(DetectorStage):
    """Sleeps, with checkpoints; validates to what `quality` says."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        best, diary = quality(self), self.slices.cohort
        pace = Pace.beside(diary)

        def figures(done: int) -> dict[str, float]:
            if self.count in pace.failing and done > STEPS // 2:
                raise TrainingError(f"{diary.with_name('pace.json')} lets detectors with {self.count} slices fail.")
            return {"validation/sensitivity": best * done / STEPS, "validation/fps_per_slice": 2.0}

        train(pace.detector, context, diary, f"detector {self.key[:8]}", figures)
        write_history(out, "step")
        write_selection(out, SELECTED)


@dataclass(frozen=True, eq=False)
class PacedDetector(DetectorStage):
    """Trains, and sleeps at each report."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        report = context.progress

        def progress(done: int, total: int, metrics: Mapping[str, float]) -> None:
            time.sleep(Pace.beside(self.slices.cohort).detector / total)
            report(done, total, metrics)

        context.progress = progress
        super().run(inputs, out, context)


@dataclass(frozen=True, eq=False)
class TimedEvaluate(EvaluateStage):
    """Sleeps; the detector finds half of the lesions, but its quality is told as its sensitivity."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        diary = self.detector.slices.cohort
        pace = Pace.beside(diary)
        time.sleep(pace.short)
        _note(diary, f"evaluate {self.key[:8]}")
        found = math.nan if self.detector.count in pace.undefined else quality(self.detector)
        names = ("sensitivity", "fps_per_slice", "at_fps_per_slice")
        known = {name: summary(found)[name] for name in names}
        slices = open_slice_set(inputs["slices"])
        metrics: dict[str, Any] = {}
        tables: dict[str, list[pd.DataFrame]] = {}
        for split in ("validation", "test"):
            truth = truth_of(slices, split, detector_rows(slices, split))
            half = truth.lesions.iloc[::2]
            if pace.moody:
                half = truth.lesions.sample(frac=0.5, random_state=self.detector.count + self.detector.config.seed)
            detections = half.sort_index().assign(confidence=0.5)[list(DETECTION_COLUMNS)]
            outcomes = match_outcomes(detections, truth, self.config.ious)
            metrics[split] = {iou: one | known for iou, one in summarise(outcomes, self.config).items()}
            for name, table in outcome_tables(outcomes).items():
                tables.setdefault(name, []).append(table.assign(split=split))
        (out / "metrics.json").write_text(json.dumps(metrics))
        for name, parts in tables.items():
            pd.concat(parts).to_parquet(out / f"{name}.parquet")


def quality(stage: DetectorStage) -> float:
    """A sensitivity that depends on the trial alone: best at the highest count and at a learning rate of 1e-3."""
    arm = {"none": 0.3, "cpggan": 0.4, "image2image": 0.35}[stage.shards[0].source.variant if stage.shards else "none"]
    rate = abs(math.log10(stage.config.learning_rate) + 3)
    return round(arm + stage.count / 10_000 - 0.1 * rate + 0.001 * (stage.config.seed % 7), 6)


@dataclass(frozen=True, eq=False)
class TimedRealism(RealismStage):
    """Sleeps; tells what `wasserstein` says."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        time.sleep(Pace.beside(self.source.slices.cohort).short)
        (out / "realism.json").write_text(json.dumps(realism_report(self.source.variant, wasserstein(self))))


def wasserstein(stage: RealismStage) -> float:
    """A distance that depends on the GAN alone: least for a CPGGAN, and at a learning rate of 1e-3."""
    config = stage.source.config
    assert isinstance(config, GANConfig)
    return {"cpggan": 10.0, "image2image": 20.0}[config.variant] + abs(math.log10(config.learning_rate) + 3)


class TimedMaker(TrialMaker):
    """Trials of these stages; GANs are looked at only where the study optimises what is seen."""

    gan_stage, synthesize_stage, realism_stage = TimedGAN, TimedSynthesize, TimedRealism
    detector_stage, evaluate_stage = TimedDetector, TimedEvaluate

    def _realism(self, study: Study, source: SourceStage) -> RealismStage | None:  # pyright: ignore
        return super()._realism(study, source) if study.judges_slices else None


class TrainedMaker(TimedMaker):
    """Trials with real detectors."""

    detector_stage, evaluate_stage = PacedDetector, EvaluateStage


def timed_study(folder: Path, **changes: Any) -> Study:
    """Three arms and two GANs; `changes` are the study's."""
    values = {
        "name": "timed",
        "cohort": str(folder),
        "fidelity": "laptop",
        "arms": [
            {"variant": "none"},
            {"variant": "cpggan", "counts": [400, 800]},
            {"variant": "image2image", "counts": [400]},
        ],
        "seeds": [0],
        "prepare": {"size": 64},
        "gan": {"resolution": 64},
        "synthesis": {"shard_size": 400},
        "evaluation": {"bootstraps": 100},
    }
    return Study.model_validate({**values, **changes})


def make_timed_maker(study: Study, kind: type[TimedMaker] = TimedMaker) -> TrialMaker:
    """On a slice set of discs; the folder of the cohort holds the diary."""
    return kind(study, TimedPrepare(study.prepare, cohort=Path(study.cohort) / "diary.txt", fingerprint="discs"))


def _nothing(_: int) -> dict[str, float]:
    return {}


def _note(diary: Path, line: str) -> None:
    with diary.open("a") as file:
        file.write(f"{line}\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def main(folder: Path, arguments: list[str]) -> int:
    """Launch the study in this process; the exit status is that of `metsweep launch`."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # for Ray's workers
    os.chdir(folder)
    fail_fast = "--fail-fast" in arguments
    kind = TrainedMaker if "--trained" in arguments else TimedMaker
    pairs = (argument.partition("=") for argument in arguments if not argument.startswith("--"))
    study = timed_study(folder, **{key: yaml.safe_load(value) for key, _, value in pairs})
    console = TextConsole(width=200)
    try:
        settings = Settings.from_environment()
        maker = partial(make_timed_maker, kind=kind)
        launched = launch(study, settings, console, write_report, fail_fast=fail_fast, maker=maker)
    except MetsweepError as error:
        console.print(str(error), soft_wrap=True, markup=False)
        return error.exit_code
    console.print(str(launched), soft_wrap=True, markup=False)
    if launched.stopped == StopReason.INTERRUPTED:
        return 130
    return 1 if launched.failed or launched.stopped or launched.undelivered else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
