"""Long stages by hand, in this process or with several Ray Train workers; stopped, they resume."""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
from trainers.gan.generator import TrainedGenerator, load_generator
from trainers.gan.review import Review
from trainers.gan.synthesis import synthesize
from trainers.gan.training import train_gan
from trainers.inpainting.config import WEIGHTS_FILE, InpaintConfig

if TYPE_CHECKING:
    from trainers.inpainting.inpainter import Inpainter


@dataclass(frozen=True)
class Run:
    """A long stage; picklable, as `work` opens what it reads."""

    label: str
    """What the progress shows."""
    identity: Callable[[], str]
    """Everything that determines the result; reads the inputs, which are checked before."""
    work: Callable[[Path, Context], None]
    """Writes the result into a folder."""


def gan_run(config: GANConfig, slices: Path, detector: Path | None) -> Run:
    """Trains a GAN."""

    def work(out: Path, context: Context) -> None:
        train_gan(config, open_slice_set(slices), out, context, detector)

    def identity() -> str:
        feedback = _hash(detector / name for name in ("config.json", "model.pt")) if detector else ""
        return f"{config.model_dump_json()} {_content(slices)} {feedback}"

    return Run(f"gan {config.variant}", identity, work)


def detector_run(config: DetectorConfig, slices: Path, synthetic: Sequence[Path], count: int) -> Run:
    """Trains a detector."""

    def work(out: Path, context: Context) -> None:
        real = open_slice_set(slices)
        train_detector(config, real, [open_slice_set(folder) for folder in synthetic], count, out, context)
        (out / SLICES_FILE).write_text(json.dumps(real.prepared_with))

    def identity() -> str:
        return f"{config.model_dump_json()} {_content(slices)} {count} {' '.join(map(_content, synthetic))}"

    return Run(f"detector + {count} synthetic" if count else "detector", identity, work)


def inpainter_run(config: InpaintConfig, slices: Path) -> Run:
    """Trains an inpainter."""

    def work(out: Path, context: Context) -> None:
        from trainers.inpainting.training import train_inpainter

        train_inpainter(config, open_slice_set(slices), out, context)

    return Run("inpainter", lambda: f"{config.model_dump_json()} {_content(slices)}", work)


def load_source(folder: Path) -> TrainedGenerator | Inpainter:
    """The network in a folder of `metsweep train gan` or `train inpainter`, on the CPU; TrainingError if it is none."""
    if not _paints(folder):
        return load_generator(folder, torch.device("cpu"))
    from trainers.inpainting.inpainter import load_inpainter

    return load_inpainter(folder, torch.device("cpu"))


def synthesis_run(config: SynthesisConfig, source: Path, slices: Path, review: Review) -> Run:
    """Draws synthetic slices with a GAN or an inpainter, as one shard."""

    def work(out: Path, context: Context) -> None:
        draw = synthesize
        if _paints(source):
            from trainers.inpainting.drawing import inpaint as draw
        draw(source, open_slice_set(slices), config, 0, review, out, context)

    def identity() -> str:
        network = load_source(source).fingerprint
        return f"{config.model_dump_json()} {network} {_content(slices)} {json.dumps(review.content)}"

    return Run("synthesize", identity, work)


def _paints(source: Path) -> bool:
    return (source / WEIGHTS_FILE).is_file()


def train(run: Run, unfinished: Unfinished, workers: int) -> None:
    """Do a run, from the newest checkpoint of the same config and slices if one exists."""
    checkpoints = FolderCheckpoints(unfinished.checkpoints / hashlib.sha256(run.identity().encode()).hexdigest()[:16])
    if workers == 1:
        with progress(run.label) as on_progress:
            train_in_process(
                lambda context: run.work(unfinished.result, context), checkpoints=checkpoints, on_progress=on_progress
            )
    else:
        _train_on_workers(run, unfinished, checkpoints, workers)
    write_checksums(unfinished.result)


def _train_on_workers(run: Run, unfinished: Unfinished, checkpoints: FolderCheckpoints, workers: int) -> None:
    gpus = 1.0 if torch.cuda.is_available() else 0.0
    cpus = max(1, usable_cores() // workers)
    resources = WorkerResources(workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus)
    with ray_cluster(Settings.from_environment().ray_address, [resources]):
        board = BoardHandle.start("")
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
            self.run.work(self.result, context)
            return
        with tempfile.TemporaryDirectory(prefix="metsweep-") as scratch:
            self.run.work(Path(scratch), context)


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
