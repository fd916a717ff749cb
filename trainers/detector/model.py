"""Detectors as Ultralytics builds them, and Ultralytics itself kept quiet, offline and out of the way."""

from __future__ import annotations

import copy
import logging
import math
import os
import tempfile
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from trainers.detector.architecture import END_TO_END, NAMES, QUERIES
from trainers.detector.config import DetectorConfig
from trainers.exceptions import TrainingError
from trainers.weights import first_line

if TYPE_CHECKING:
    from ultralytics.nn.tasks import DetectionModel

LAYERS = ("torch.nn.", "ultralytics.nn.modules.")
"""Modules of what a network's file may name."""
TRIED = 128
"""Side in pixels of the slice that a file's network is tried on; a multiple of every stride."""
DECODER = {"hidden": 256, "queries": 300, "points": 4, "heads": 8, "layers": 6, "forward": 1024}
"""Arguments of RT-DETR's decoder after the number of classes, in the library's order, and its defaults."""


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
    """The config's network for one-channel slices and one class, initialised from `config.seed`.

    The library's own file of that name, or the config's, with `width` and `depth` factors. `yolov3` is Darknet-53 with
    heads at strides 8, 16 and 32, anchor-free with a distance distribution. Training input: B x 1 x S x S float32 in
    0..1.

    Raises:
        TrainingError: the library cannot build what the config's file describes.
    """
    prepare_library()
    from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel

    topology = _topology(config)
    build: Any = RTDETRDetectionModel if config.head == QUERIES else DetectionModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if isinstance(config.model, str):
            model = build(topology, ch=1, nc=1, verbose=False)
        else:
            model = _built_of_file(build, topology, config.model.file)
    model.names = {0: "tumour"}
    model.end2end = config.head == END_TO_END
    _start_near(cast("Any", model.model)[-1], config)
    return model.to(memory_format=torch.channels_last)


def backbone_maps(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """The last feature maps of a network's backbone, B x C x H x W, from a training input."""
    described: Any = network
    outputs: list[torch.Tensor] = []
    for layer in described.model[: len(described.yaml["backbone"])]:
        sources = [layer.f] if isinstance(layer.f, int) else layer.f
        taken = [(outputs or [images])[source] for source in sources]
        outputs.append(layer(taken[0] if isinstance(layer.f, int) else taken))
    return outputs[-1]


def _built_of_file(build: Any, topology: dict[str, Any], file: str) -> DetectionModel:
    from ultralytics.nn import tasks

    for _, _, name, _ in topology["backbone"] + topology["head"]:
        layer = getattr(nn, name[3:], None) if name.startswith("nn.") else vars(tasks).get(name)
        is_layer = isinstance(layer, type) and layer.__module__.startswith(LAYERS) and issubclass(layer, nn.Module)
        # Files of a store may be anyone's: they call nothing but layers, and none that downloads weights.
        if not is_layer or name == "TorchVision":
            raise TrainingError(f"{file}: {name!r} is no layer; allowed: those of Ultralytics and of torch.nn.")
    try:
        model = build(topology, ch=1, nc=1, verbose=False)
        with torch.no_grad():  # the library itself tries YOLO's heads alone
            model.eval()(torch.zeros(1, 1, TRIED, TRIED))
        return model.train()
    except Exception as error:  # whatever the file's arguments make the library do
        raise TrainingError(
            f"{file}: the library cannot build this network for slices of one channel: {first_line(error)}. Correct "
            "the file, or name another model."
        ) from error


def _topology(config: DetectorConfig) -> dict[str, Any]:
    """What the library builds: a description of the network, its factors multiplied by the config's."""
    from ultralytics.utils import ROOT, YAML

    if isinstance(config.model, str):
        file, scale = NAMES[config.model]
        topology: Any = YAML.load(str(ROOT / "cfg/models" / file)) | {"scale": scale}
    else:
        topology = copy.deepcopy(config.model.content)
    if scales := topology.get("scales"):
        depth, width, most_channels = scales[topology["scale"]]
        topology["scales"] = {topology["scale"]: (depth * config.depth, width * config.width, most_channels)}
    else:
        for factor, name in ((config.width, "width_multiple"), (config.depth, "depth_multiple")):
            topology[name] = factor * topology.get(name, 1.0)
    if config.width != 1 or config.depth != 1:
        for layer in topology["backbone"] + topology["head"]:
            _scale_layer(layer, config)
    # A file that decides for itself has no distribution of distances, as YOLO26.
    return {"reg_max": config.box_bins} | topology | {"nc": 1}


def _scale_layer(layer: list[Any], config: DetectorConfig) -> None:
    """Multiply the channels and repeats of RT-DETR's layers, whose arguments the library takes as they are."""
    _, _, name, arguments = layer

    def channels(number: int) -> int:
        return max(8, math.ceil(number * config.width / 8) * 8)

    widths = {"HGStem": 2, "HGBlock": 2, "AIFI": 1}.get(name, 0)
    arguments[:widths] = map(channels, arguments[:widths])
    if name == QUERIES:
        given = dict(zip(DECODER, arguments[1:], strict=False))
        hidden, layers, forward = (given.get(part, DECODER[part]) for part in ("hidden", "layers", "forward"))
        scaled = {
            "hidden": channels(hidden),
            "layers": max(1, round(layers * config.depth)),
            "forward": channels(forward),
        }
        arguments[1:] = [*(DECODER | given | scaled).values(), *arguments[1 + len(DECODER) :]]


def _start_near(head: Any, config: DetectorConfig) -> None:
    """Set what the head first predicts: distances geometrically distributed around a mean, a common confidence."""
    if config.head == QUERIES:
        return
    branches = [(head.cv2, head.cv3)]
    if config.head == END_TO_END:
        branches.append((head.one2one_cv2, head.one2one_cv3))
    for boxes, scores in (pair for branch in branches for pair in zip(*branch, strict=True)):
        if config.initial_reach is not None and head.reg_max > 1:
            ratio = config.initial_reach / (1 + config.initial_reach)
            boxes[-1].bias.data = (torch.arange(head.reg_max) * math.log(ratio)).repeat(4)
        if config.initial_confidence is not None:
            scores[-1].bias.data.fill_(math.log(config.initial_confidence / (1 - config.initial_confidence)))
        boxes[-1].weight.data *= config.initial_variation
        scores[-1].weight.data *= config.initial_variation
