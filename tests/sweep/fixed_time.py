"""A study whose stages only take time: the engine with all its parts, without networks.

    python -m tests.sweep.fixed_time FOLDER [KEY=VALUE ...]

launches it in a folder, as `metsweep launch` would.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from search_spaces.study import Study
from sweep.engine.launch import Launched, launch
from sweep.plan import TrialMaker
from sweep.settings import Settings
from sweep.stages import (
    DetectorStage,
    EvaluateStage,
    GANStage,
    PrepareStage,
    RealismStage,
    SynthesizeStage,
)
from trainers.distributed import Context

STEPS = 10
"""Progress reports, checkpoints and stop points of a training stage."""


@dataclass(frozen=True)
class Pace:
    """Seconds that the stages take, from the environment so that Ray's workers see it too."""

    gan: float
    detector: float
    short: float

    @staticmethod
    def now() -> Pace:
        """METSWEEP_TEST_PACE: seconds of a GAN, a detector and the other stages."""
        return Pace(*map(float, os.environ.get("METSWEEP_TEST_PACE", "3,2,0").split(",")))


def train(seconds: float, context: Context, diary: Path, name: str, figures: Callable[[int], dict[str, float]]) -> None:
    """Sleep in STEPS steps with a checkpoint each, from the newest one on; note every step in a diary."""
    folder = context.load_checkpoint()
    done = int((folder / "done").read_text()) if folder else 0
    while done < STEPS:
        time.sleep(seconds / STEPS)
        done += 1
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
        train(Pace.now().gan, context, self.slices.cohort, f"gan {self.key[:8]}", _nothing)
        write_history(out, "images")


@dataclass(frozen=True, eq=False)
class TimedSynthesize(SynthesizeStage):
    """Sleeps."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        time.sleep(Pace.now().short)
        _note(self.gan.slices.cohort, f"synthesize {self.key[:8]}")
        curation = {"discard_rate": 0.1, "unclear": 0}
        meta = {"box_contrast": 0.1, "box_contrast_real": 0.2, "curation": curation, "synthesis": {"shard_size": 1}}
        (out / "meta.json").write_text(json.dumps(meta))


@dataclass(frozen=True, eq=False)
class TimedDetector(DetectorStage):
    """Sleeps, with checkpoints; validates to what `quality` says."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        best = quality(self)
        train(
            Pace.now().detector,
            context,
            self.slices.cohort,
            f"detector {self.key[:8]}",
            lambda done: {"validation/sensitivity": best * done / STEPS, "validation/fps_per_slice": 2.0},
        )
        write_history(out, "step")
        (out / "selection.json").write_text(json.dumps({"step": STEPS}))


@dataclass(frozen=True, eq=False)
class TimedEvaluate(EvaluateStage):
    """Sleeps; the detector's quality is its sensitivity."""

    def run(self, inputs: Mapping[str, Path], out: Path, context: Context) -> None:
        time.sleep(Pace.now().short)
        _note(self.detector.slices.cohort, f"evaluate {self.key[:8]}")
        found = quality(self.detector)
        figures = {
            "sensitivity": found,
            "fps_per_slice": 2.0,
            "at_fps_per_slice": {str(fps): {"sensitivity": found} for fps in (1, 2, 4, 8)},
            "lesion_level": None,
            "chance": None,
            "calibration": None,
            "slices": 4,
            "lesions": 4,
            "patients": 4,
        }
        metrics = {split: dict.fromkeys(("iou50", "iou25"), figures) for split in ("validation", "test")}
        (out / "metrics.json").write_text(json.dumps(metrics))


def quality(stage: DetectorStage) -> float:
    """A sensitivity that depends on the trial alone: best at the highest count and at a learning rate of 1e-3."""
    arm = {"none": 0.3, "cpggan": 0.4, "image2image": 0.35}[
        stage.shards[0].gan.config.variant if stage.shards else "none"
    ]
    rate = abs(math.log10(stage.config.learning_rate) + 3)
    return round(arm + stage.count / 10_000 - 0.1 * rate + 0.001 * (stage.config.seed % 7), 6)


class TimedMaker(TrialMaker):
    """Trials of these stages; GANs are not looked at."""

    gan_stage, synthesize_stage = TimedGAN, TimedSynthesize
    detector_stage, evaluate_stage = TimedDetector, TimedEvaluate

    def _realism(self, study: Study, gan: GANStage) -> RealismStage | None:  # pyright: ignore
        return None


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
    }
    return Study.model_validate({**values, **changes})


def make_timed_maker(study: Study) -> TrialMaker:
    """On a slice set of discs; the folder of the cohort holds the diary."""
    return TimedMaker(study, TimedPrepare(study.prepare, cohort=Path(study.cohort) / "diary.txt", fingerprint="discs"))


def run(folder: Path, settings: Settings, console: Console | None = None, **changes: Any) -> Launched:
    """Launch the study in this process."""
    return launch(timed_study(folder, **changes), settings, console or Console(), maker=make_timed_maker)


def _nothing(_: int) -> dict[str, float]:
    return {}


def _note(diary: Path, line: str) -> None:
    with diary.open("a") as file:
        file.write(f"{line}\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text)


if __name__ == "__main__":
    import yaml

    place = Path(sys.argv[1])
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # for Ray's workers
    os.chdir(place)
    pairs = (argument.partition("=") for argument in sys.argv[2:])
    launched = run(place, Settings.from_environment(), **{key: yaml.safe_load(value) for key, _, value in pairs})
    print(launched)
    sys.exit(1 if launched.failed or launched.stopped else 0)
