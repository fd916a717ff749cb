"""Trains a detector on the real training slices and the first `count` synthetic ones."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from trainers.data.slice_set import SliceSet
from trainers.detector.buildable import why_not_buildable
from trainers.detector.checkpoint import RunState, load_state
from trainers.detector.config import DetectorConfig
from trainers.detector.dataset import Slices, open_slices
from trainers.detector.history import FPS, SENSITIVITY
from trainers.detector.model import prepare_library
from trainers.detector.order import Order, budget
from trainers.detector.prediction import Detector, predict
from trainers.detector.selection import Selected, write_selection
from trainers.distributed import Context
from trainers.exceptions import TrainingError
from trainers.matching import FREE_OF_LESION, match


def train_detector(
    config: DetectorConfig, slices: SliceSet, synthetic: Sequence[SliceSet], count: int, out: Path, context: Context
) -> None:
    """Train a detector (paper section 2.3) as a rank of `context`; rank 0 writes the folder `out`.

    Trains on every training slice of tumour patients and on the first `count` slices of the shards `synthetic`, for
    `config.steps` steps or `config.epochs` passes, and keeps the weights (moving average) with the best validation
    sensitivity between `config.select_from` and the end; ties go to fewer false positives, then to the later step. The
    test split is never read. Continues from the context's checkpoint if there is one; only rank 0 reads and writes it.

    Writes `model.pt` (state dict), `config.json`, `history.jsonl`, `selection.json` and `figures/loss_curves.png`.

    Raises:
        TrainingError: what `open_checked` refuses, a loss that is not finite, too little memory, or a checkpoint of
            another run.
        SliceSetError: fewer than `count` synthetic slices.
    """
    training, validation = open_checked(config, slices, synthetic, count, context.world_size)
    order = Order(config, len(training.rows), count)
    steps = budget(config, len(training))
    identity = f"{config.model_dump_json()} on {order.real} real and {count} synthetic slices"
    state = _start(identity, context)
    if state.step < steps:
        _run(config.model_copy(update={"steps": steps}), training, validation, state, context)
    if context.rank == 0:
        _write(out, config, state, order, steps, slices.size)


def open_checked(
    config: DetectorConfig, slices: SliceSet, synthetic: Sequence[SliceSet], count: int, workers: int
) -> tuple[Slices, Slices]:
    """The training and the validation slices of a run, once everything that can be refused before it has been.

    Raises:
        TrainingError: a network that cannot be built or trained by so many workers, no lesion to learn from or to
            select by, a batch that the workers cannot share, or shards that are not synthetic or of another size.
        SliceSetError: fewer than `count` synthetic slices.
    """
    if why := why_not_buildable(config):
        raise TrainingError(f"detector.model: {why.rstrip('.')}.")
    if workers > 1 and not config.dense:
        raise TrainingError(
            f"detector.model is {config.model_name}, which trains with one worker; got {workers} workers. Train with "
            "one, or name a model with a box at every point of its feature maps, as yolov3."
        )
    if config.batch % workers:
        raise TrainingError(
            f"batch is {config.batch} for {workers} workers; allowed: a batch that the workers share evenly. "
            "Change batch or the number of workers."
        )
    if count < 0:
        raise TrainingError(f"count is {count}; allowed: 0 (real slices only) or more.")
    return open_slices(slices, "train", synthetic, count), open_slices(slices, "validation")


def _start(identity: str, context: Context) -> RunState:
    state = None
    if context.rank == 0:
        checkpoint = context.load_checkpoint()
        state = RunState(identity) if checkpoint is None else load_state(checkpoint, identity)
    if context.world_size > 1:
        prepare_library()
        from trainers.detector.workers import state_of_first_rank

        return state_of_first_rank(state, identity, context.device)
    assert state is not None, "the only rank is rank 0"
    return state


def _run(config: DetectorConfig, training: Slices, validation: Slices, state: RunState, context: Context) -> None:
    prepare_library()
    from trainers.detector.run import YoloRun, out_of_memory

    lesions = sum(map(len, validation.boxes))

    def evaluate(model: nn.Module) -> dict[str, float]:
        detector = Detector(model.eval(), config, context.device)
        images = validation.real[validation.rows]
        detections = predict(detector, images, config.selection_confidence)
        hits = int((match(detections, validation.boxes, config.selection_iou) != FREE_OF_LESION).sum())
        return {SENSITIVITY: hits / lesions, FPS: (len(detections) - hits) / len(images)}

    with tempfile.TemporaryDirectory(prefix="metsweep-detector-") as folder:
        try:
            YoloRun(config, training, evaluate, state, context, Path(folder)).train()
        except RuntimeError as error:
            if any(sign in str(error).lower() for sign in ("out of memory", "can't allocate memory")):
                raise TrainingError(out_of_memory(config)) from error
            raise


def _write(out: Path, config: DetectorConfig, state: RunState, order: Order, steps: int, slice_size: int) -> None:
    from trainers.detector.figures import loss_curves

    best, seen = state.best, order.seen(steps)
    assert best is not None, "the last step is always evaluated"
    (out / "figures").mkdir(parents=True, exist_ok=True)
    torch.save(best.weights, out / "model.pt")
    (out / "config.json").write_text(config.model_dump_json(indent=2))
    (out / "history.jsonl").write_text("".join(json.dumps(line) + os.linesep for line in state.history))
    selected = Selected(
        step=best.step,
        steps=steps,
        sensitivity=best.sensitivity,
        fps_per_slice=best.fps_per_slice,
        confidence=config.selection_confidence,
        iou=config.selection_iou,
        slice_size=slice_size,
        real_slices=order.real,
        synthetic_slices=order.synthetic,
        real_slices_seen=seen.real,
        synthetic_slices_seen=seen.synthetic,
        real_passes=seen.real / order.real,
        synthetic_passes=seen.synthetic / order.synthetic if order.synthetic else 0.0,
    )
    write_selection(out, selected)
    loss_curves(state.history, best.step, config.selection_iou).savefig(out / "figures" / "loss_curves.png", dpi=120)
