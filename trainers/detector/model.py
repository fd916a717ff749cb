"""YOLOv3 with Darknet-53 as Ultralytics builds it, and Ultralytics itself kept quiet, offline and out of the way."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from typing import TYPE_CHECKING, Any, cast

import torch

from trainers.detector.config import DetectorConfig

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel


def prepare_library() -> None:
    """Import Ultralytics so that it opens no connection, installs nothing and leaves HOME, logs and threads alone."""
    threads_wanted = os.environ.get("OMP_NUM_THREADS")
    threads = torch.get_num_threads()
    os.environ.update(YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0", YOLO_VERBOSE="False")
    # It reads and writes settings there once, and a worker of Ray is killed without a chance to tidy up later.
    with tempfile.TemporaryDirectory(prefix="metsweep-ultralytics-") as folder:
        os.environ["YOLO_CONFIG_DIR"] = folder
        from ultralytics.utils import LOGGER, SETTINGS

    if threads_wanted is None:  # the library sets it to 1 for the whole process
        os.environ.pop("OMP_NUM_THREADS", None)
    torch.set_num_threads(threads)
    LOGGER.setLevel(logging.ERROR)
    integrations = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
    dict.update(SETTINGS, dict.fromkeys(integrations, False))


def set_rank(rank: int, world_size: int) -> None:
    """Set the rank that the library uses, -1 when it is alone.

    The library reads it from the environment when first imported, and Ray may give a worker a process that imported
    the library earlier for something else.
    """
    from ultralytics.engine import trainer

    engine: Any = trainer
    alone = world_size == 1
    engine.RANK = engine.LOCAL_RANK = -1 if alone else rank


def build_model(config: DetectorConfig) -> DetectionModel:
    """YOLOv3 for one-channel slices and one class, initialised from `config.seed`.

    Topology: the library's yolov3.yaml (Darknet-53, heads at strides 8, 16 and 32; the head is its anchor-free one
    with a distance distribution), with `width` and `depth` factors. Training input: B x 1 x S x S float32 in 0..1.
    """
    prepare_library()
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import ROOT, YAML

    topology: Any = YAML.load(str(ROOT / "cfg/models/v3/yolov3.yaml"))
    topology.update(width_multiple=config.width, depth_multiple=config.depth, reg_max=config.box_bins, nc=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = DetectionModel(topology, ch=1, nc=1, verbose=False)
    model.names = {0: "tumour"}
    _start_near(cast("Any", model.model)[-1], config)
    return model.to(memory_format=torch.channels_last)


def _start_near(head: Any, config: DetectorConfig) -> None:
    """Set the head's initial biases: distances geometrically distributed around a mean, a common confidence."""
    for distances, scores in zip(head.cv2, head.cv3, strict=True):
        if config.initial_reach is not None:
            ratio = config.initial_reach / (1 + config.initial_reach)
            distances[-1].bias.data = (torch.arange(config.box_bins) * math.log(ratio)).repeat(4)
        if config.initial_confidence is not None:
            scores[-1].bias.data.fill_(math.log(config.initial_confidence / (1 - config.initial_confidence)))
