"""The library's training loop with our data, budget, schedule, evaluation and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from typing_extensions import override
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.torch_utils import unwrap_model

from trainers.detector.architecture import END_TO_END, QUERIES
from trainers.detector.augmentation import SliceDataset, StepBatches
from trainers.detector.checkpoint import RunState, Selection, save_state
from trainers.detector.config import DetectorConfig
from trainers.detector.dataset import Slices
from trainers.detector.history import FPS, KEPT, SENSITIVITY
from trainers.detector.model import build_model, set_rank
from trainers.detector.order import Order
from trainers.detector.workers import LossOverRanks, mean_over_ranks, normalise_over_ranks
from trainers.distributed import Context
from trainers.exceptions import TrainingError

REPORTS = 100
"""How often a run reports its losses."""

Evaluate = Callable[[nn.Module], dict[str, float]]
"""Sensitivity and FPs per slice of a network on the validation split, keys SENSITIVITY and FPS."""


class YoloRun(DetectionTrainer):
    """One training run as a rank of `context`.

    The library attaches its MLflow, Ray Tune and other callbacks to every class with "Trainer" in its name: not here.
    An epoch of the library is `config.evaluate_every` steps.

    Args:
        config: its `steps` are those of the run, whatever `epochs` says.
    """

    def __init__(
        self,
        config: DetectorConfig,
        slices: Slices,
        evaluate: Evaluate,
        state: RunState,
        context: Context,
        folder: Path,
    ) -> None:
        self.config, self.slices, self.evaluate, self.state, self.context = config, slices, evaluate, state, context
        self._losses: list[dict[str, torch.Tensor]] = []
        self._report_every = max(1, config.steps // REPORTS)
        set_rank(context.rank, context.world_size)
        threads = torch.get_num_threads()
        super().__init__(overrides=_library_arguments(config, context, folder))
        torch.set_num_threads(threads)  # the library takes all but one of the machine's cores
        # The library counts the devices named in its `device` argument, here always one.
        self.ddp, self.world_size = False, context.world_size
        self.device = context.device

    ema: Any  # the library declares it None until its set-up
    loss_items: dict[str, torch.Tensor]

    @override
    def get_dataset(self) -> dict[str, Any]:
        return {"train": "", "val": "", "nc": 1, "names": {0: "tumour"}, "channels": 1}

    @override
    def setup_model(self) -> None:
        self.model = build_model(self.config)
        if self.context.world_size > 1:
            normalise_over_ranks(self.model, self.device)

    @override
    def set_model_attributes(self) -> None:
        super().set_model_attributes()
        if self.context.world_size > 1:
            model: Any = self.model
            model.criterion = LossOverRanks(model)

    @override
    def _setup_ddp(self) -> None:
        """The process group exists already: Ray Train made it."""

    @override
    def _setup_train(self) -> None:
        ranks, self.world_size = self.world_size, 1  # the library's wrapper insists on a GPU: wrap below instead
        super()._setup_train()
        self.world_size = ranks
        if ranks > 1:
            self.model = nn.parallel.DistributedDataParallel(
                self.model,
                device_ids=[self.device.index] if self.device.type == "cuda" else None,
                gradient_as_bucket_view=True,
                forward_sync_buffers=False,  # batch norm keeps them equal
            )

    @override
    def _build_train_pipeline(self) -> None:
        if self.optimizer is not None:  # the library comes here again to halve the batch after running out of memory
            raise TrainingError(out_of_memory(self.config))
        config, on_gpu = self.config, self.device.type == "cuda"
        real = len(self.slices.rows)
        self.train_loader = StepBatches(
            SliceDataset(self.slices, config),
            Order(config, real, len(self.slices) - real),
            self.state.step,
            config.steps,
            self.context.rank,
            self.context.world_size,
            # A GPU waits for slices; on a CPU they and the network share the same cores.
            processes=torch.get_num_threads() - 1 if on_gpu else 0,
            pinned=on_gpu,
        )
        self.test_loader = SimpleNamespace(dataset=())
        self.accumulate = 1
        self.optimizer = self.build_optimizer(
            self.model, name="Adam", lr=config.learning_rate, momentum=0.9, decay=config.weight_decay
        )
        for group in self.optimizer.param_groups:
            group["foreach"] = True  # the default on a GPU; the same bits in three quarters of the time on a CPU
        self.lf = lambda _epoch: 1.0  # the rate is set for every step in `optimizer_step`
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.lf)

    @override
    def get_validator(self) -> SimpleNamespace:
        return SimpleNamespace(metrics=SimpleNamespace(keys=[]))

    @override
    def resume_training(self, ckpt: object) -> None:
        """Continue from `state`, if it is not empty."""
        config, state = self.config, self.state
        self.ema.decay = lambda x: config.ema_decay * (1 - math.exp(-x / config.ema_ramp_steps))
        if state.step:
            self.model.load_state_dict(state.model)
            self.ema.ema.load_state_dict(state.ema)
            self.ema.updates = state.ema_updates
            self.optimizer.load_state_dict(state.optimizer)
            self.start_epoch = state.step // config.evaluate_every
        if config.head == END_TO_END:  # its two losses are weighted by the epoch
            model: Any = unwrap_model(self.model)
            model.criterion = model.init_criterion()
            model.criterion.updates = self.start_epoch - 1
            model.criterion.update()

    @override
    def run_callbacks(self, event: str) -> None:
        if event == "on_train_epoch_start":
            self.train_loader.set_epoch(self.epoch)
        elif event == "on_train_batch_end":
            self._after_step()
            if self.state.step % self.config.evaluate_every and self.state.step != self.config.steps:
                self.context.stop_point(self._write_checkpoint)
        elif event == "on_fit_epoch_end":
            self.context.save_checkpoint(self._write_checkpoint)

    @override
    def preprocess_batch(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        batch = super().preprocess_batch(batch)
        batch["img"] = batch["img"].contiguous(memory_format=torch.channels_last)
        if self.config.head == QUERIES:  # whose training queries are noisy boxes: the same ones after a resume
            torch.manual_seed(int(np.random.SeedSequence((self.config.seed, self.state.step)).generate_state(1)[0]))
        return batch

    @override
    def optimizer_step(self) -> None:
        rate = learning_rate(self.config, self.state.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        super().optimizer_step()
        self.state.step += 1

    def _after_step(self) -> None:
        self._losses.append(self.loss_items)
        step = self.state.step
        if step % self._report_every and step != self.config.steps:
            return
        names = list(self._losses[0])
        since = torch.stack([torch.stack([losses[name] for name in names]) for losses in self._losses]).mean(0)
        values = mean_over_ranks(since, self.context.world_size).tolist()
        means = {f"detector/{name}": value for name, value in zip(names, values, strict=True)}
        self._losses = []
        metrics = {"detector/loss": sum(means.values()), **means}
        if not math.isfinite(metrics["detector/loss"]):
            raise TrainingError(
                f"The detector's loss is not finite at step {step}: {metrics}. Lower learning_rate "
                f"({self.config.learning_rate}) or lengthen warmup_steps ({self.config.warmup_steps})."
            )
        self._record(metrics)

    @override
    def validate(self) -> tuple[dict[str, float], None]:
        """Evaluate the moving average, on rank 0; from `select_from` on keep it if it is the best so far."""
        config, state = self.config, self.state
        if self.context.rank == 0:
            figures = self.evaluate(self.ema.ema)
            better = state.best is None or state.best.beaten_by(figures[SENSITIVITY], figures[FPS])
            if better and selects_at(config, state.step):
                weights = {name: value.detach().cpu().clone() for name, value in self.ema.ema.state_dict().items()}
                state.best = Selection(state.step, figures[SENSITIVITY], figures[FPS], weights)
            self._record(figures)
        return {}, None

    def _record(self, metrics: dict[str, float]) -> None:
        if self.context.rank == 0:
            self.state.history.append({"step": self.state.step, "time": time.time(), **metrics})
        best = self.state.best
        kept = {KEPT + SENSITIVITY: best.sensitivity, KEPT + FPS: best.fps_per_slice} if best else {}
        self.context.progress(self.state.step, self.config.steps, metrics | kept)

    def _write_checkpoint(self, folder: Path) -> None:
        state = self.state
        state.model = unwrap_model(self.model).state_dict()
        state.ema, state.ema_updates = self.ema.ema.state_dict(), self.ema.updates
        state.optimizer = self.optimizer.state_dict()
        save_state(folder, state)

    @override
    def _handle_nan_recovery(self, epoch: int) -> bool:
        return False  # `_after_step` has refused losses that are not finite

    @override
    def save_metrics(self, metrics: dict[str, float]) -> None:
        """The history is ours."""

    @override
    def save_model(self) -> bool:
        return False

    @override
    def final_eval(self) -> None:
        """Evaluation is its own stage."""


def selects_at(config: DetectorConfig, step: int) -> bool:
    """Whether the weights after `step` steps may be picked; the last ones always may."""
    return step >= config.select_from * config.steps or step == config.steps


def learning_rate(config: DetectorConfig, step: int) -> float:
    """Rate of the step after `step` steps: a linear warm-up, then a cosine to `final_learning_rate`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * (1 + math.cos(math.pi * min(share, 1))) / 2


def out_of_memory(config: DetectorConfig) -> str:
    """Advice for a run that does not fit; the batch is never made smaller silently, that would change the arm."""
    return (
        f"The detector {config.model_name} does not fit into memory with batch={config.batch}, "
        f"train_size={config.train_size}, validation_size={config.validation_size}, width={config.width}. Lower one of "
        "them for every arm of the study, set amp: true on a GPU, or give each run more workers."
    )


def _library_arguments(config: DetectorConfig, context: Context, folder: Path) -> dict[str, Any]:
    on_gpu = context.device.type == "cuda"
    return {
        "model": "yolov3.yaml",
        "task": "detect",
        "epochs": math.ceil(config.steps / config.evaluate_every),
        "batch": config.batch,
        "nbs": config.batch,  # the library would accumulate gradients up to its own nominal batch
        "imgsz": config.train_size,
        "device": str(context.device.index or 0) if on_gpu else "cpu",
        "optimizer": "Adam",
        "lr0": config.learning_rate,
        "warmup_epochs": 0.0,
        "weight_decay": config.weight_decay,
        "box": config.box_gain,
        "cls": config.class_gain,
        "dfl": config.distance_gain,
        "amp": "bf16" if config.amp and on_gpu else False,
        "close_mosaic": 0,
        "patience": 0,
        "workers": 0,
        "pretrained": False,
        "plots": False,
        "save": False,
        "verbose": False,
        "seed": config.seed,
        "save_dir": str(folder),
        "exist_ok": True,
    }
