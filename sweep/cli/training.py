"""Long stages by hand, in this process or with several Ray Train workers; stopped, they resume."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from sweep.cli.checksums import write_checksums
from sweep.cli.console import progress
from sweep.cli.result import Unfinished
from sweep.detect import SLICES_FILE
from sweep.doctor import usable_cores
from sweep.engine.board import BoardHandle
from sweep.engine.cluster import ray_cluster
from sweep.repeating import repeating
from sweep.settings import Settings
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import open_slice_set
from trainers.detector.config import DetectorConfig
from trainers.detector.training import train_detector
from trainers.distributed import Context, OnProgress, Placement, WorkerResources, train_in_process, train_on_ray
from trainers.gan.config import GANConfig, SynthesisConfig
from trainers.gan.generator import load_generator
from trainers.gan.review import Review
from trainers.gan.synthesis import synthesize
from trainers.gan.training import train_gan


@dataclass(frozen=True)
class GANRun:
    """Trains a GAN; picklable."""

    config: GANConfig
    slices: Path
    detector: Path | None

    def __call__(self, out: Path, context: Context) -> None:
        train_gan(self.config, open_slice_set(self.slices), out, context, self.detector)

    @property
    def label(self) -> str:
        """What the progress shows."""
        return f"gan {self.config.variant}"

    @property
    def identity(self) -> str:
        """Everything that determines the result."""
        detector = _hash(self.detector / name for name in ("config.json", "model.pt")) if self.detector else ""
        return f"{self.config.model_dump_json()} {_content(self.slices)} {detector}"


@dataclass(frozen=True)
class DetectorRun:
    """Trains a detector; picklable."""

    config: DetectorConfig
    slices: Path
    synthetic: tuple[Path, ...]
    count: int

    def __call__(self, out: Path, context: Context) -> None:
        shards = [open_slice_set(folder) for folder in self.synthetic]
        slices = open_slice_set(self.slices)
        train_detector(self.config, slices, shards, self.count, out, context)
        (out / SLICES_FILE).write_text(json.dumps(slices.prepared_with))

    @property
    def label(self) -> str:
        """What the progress shows."""
        return f"detector + {self.count} synthetic" if self.count else "detector"

    @property
    def identity(self) -> str:
        """Everything that determines the result."""
        shards = " ".join(map(_content, self.synthetic))
        return f"{self.config.model_dump_json()} {_content(self.slices)} {self.count} {shards}"


@dataclass(frozen=True)
class SynthesisRun:
    """Draws synthetic slices, as one shard; picklable."""

    config: SynthesisConfig
    gan: Path
    slices: Path
    review: Review

    def __call__(self, out: Path, context: Context) -> None:
        synthesize(self.gan, open_slice_set(self.slices), self.config, 0, self.review, out, context)

    @property
    def label(self) -> str:
        """What the progress shows."""
        return "synthesize"

    @property
    def identity(self) -> str:
        """Everything that determines the result."""
        generator = load_generator(self.gan, torch.device("cpu")).fingerprint
        return f"{self.config.model_dump_json()} {generator} {_content(self.slices)} {json.dumps(self.review.content)}"


Run = GANRun | DetectorRun | SynthesisRun


def train(run: Run, unfinished: Unfinished, workers: int) -> None:
    """Do a run, from the newest checkpoint of the same config and slices if one exists."""
    checkpoints = FolderCheckpoints(unfinished.checkpoints / hashlib.sha256(run.identity.encode()).hexdigest()[:16])
    if workers == 1:
        with progress(run.label) as on_progress:
            train_in_process(
                lambda context: run(unfinished.result, context), checkpoints=checkpoints, on_progress=on_progress
            )
    else:
        _train_on_workers(run, unfinished, checkpoints, workers)
    write_checksums(unfinished.result)


def _train_on_workers(run: Run, unfinished: Unfinished, checkpoints: FolderCheckpoints, workers: int) -> None:
    with ray_cluster(Settings.from_environment().ray_address, [resources := _resources(workers)]):
        board = BoardHandle.start()
        with progress(run.label) as on_progress, _forwarding(board, on_progress):
            train_on_ray(
                _OnRank(run, unfinished.result, checkpoints, board),
                name="by-hand",
                storage=str(unfinished.root / "ray"),
                resources=resources,
            )


@dataclass(frozen=True)
class _OnRank:
    run: Run
    result: Path
    checkpoints: FolderCheckpoints
    board: BoardHandle

    def __call__(self, placement: Placement) -> None:
        if placement.rank == 0:
            self.board.set_state(self.run.label, self.run.label, "running")
        context = Context(placement, self.checkpoints, functools.partial(self.board.advance, self.run.label))
        if placement.rank == 0:
            self.run(self.result, context)
            return
        with tempfile.TemporaryDirectory(prefix="metsweep-") as scratch:
            self.run(Path(scratch), context)


def _resources(workers: int) -> WorkerResources:
    gpus = 1.0 if torch.cuda.is_available() else 0.0
    return WorkerResources(workers=workers, cpus_per_worker=max(1, usable_cores() // workers), gpus_per_worker=gpus)


def _forwarding(
    board: BoardHandle, on_progress: OnProgress, every_seconds: float = 1.0
) -> AbstractContextManager[None]:
    """Passes what the workers report to the board on to this process's progress."""
    before = None

    def forward() -> None:
        nonlocal before
        for stage in board.snapshot().values():
            if stage.total and (stage.done, stage.total) != before:
                on_progress(stage.done, stage.total, stage.metrics)
                before = (stage.done, stage.total)

    return repeating(forward, lambda: every_seconds)


def _content(slices: Path) -> str:
    """Hash of a slice set's metadata: how and from which cohort it was made."""
    return _hash(slices / name for name in ("meta.json", "slices.parquet", "boxes.parquet"))


def _hash(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
