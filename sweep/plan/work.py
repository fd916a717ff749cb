"""How much a stage computes: what decides its cost, and its floating point operations (FLOPs)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, cast

from sweep.stages import DetectorStage, EvaluateStage, RealismStage, Stage, SynthesizeStage
from sweep.store import Manifest, Store
from trainers.config import Config
from trainers.detector.config import DetectorConfig
from trainers.gan.config import GANConfig

if TYPE_CHECKING:
    from trainers.gan.checkpoint import TrainingState

NETWORK_OF = {"synthesize": "gan", "evaluate": "detector", "realism": "detector"}
"""Stage -> the input whose network decides what it costs."""
TRAINING = 3
"""Forward and backward passes of a training step, in forward passes."""
GAN_SHAPE = (
    "variant", "resolution", "initial_resolution", "widths", "unet_widths", "critic_widths", "width", "min_width",
    "latent_size", "condition_channels", "batch_size", "stddev_group", "loss", "penalty_interval",
)  # fmt: skip
"""Fields of a GAN that decide what a step computes."""
Kind = tuple[str | int, ...]
SMALL = 64
"""Side in pixels at which a detector's FLOPs are counted: every layer is a convolution, so they grow with the area."""


@dataclass(frozen=True)
class SliceCounts:
    """Slices of a slice set, by the design's 70/10/20 split of the patients."""

    all: int

    @property
    def train(self) -> float:
        return 0.7 * self.all

    @property
    def validation(self) -> float:
        return 0.1 * self.all

    @property
    def scored(self) -> float:
        """Validation and test."""
        return 0.3 * self.all


@dataclass(frozen=True, eq=False)
class Work:
    """What decides a stage's cost: its config and its network's, but no seed, which decides the outcome alone."""

    stage: str
    config: Mapping[str, Any]
    network: Mapping[str, Any] | None = None
    """Config of the network that the stage reads, if any."""
    count: int = 0
    """Synthetic slices that a detector learns from."""

    @cached_property
    def likeness(self) -> str:
        """Equal for stages that cost the same."""
        trained_by_passes = self.stage == "detector" and self.config.get("epochs") is not None
        return json.dumps([self.config, self.network, self.count if trained_by_passes else 0], sort_keys=True)

    def flops(self, slices: SliceCounts) -> float | None:
        """Floating point operations, or None where they do not tell the cost (prepare, realism).

        Raises:
            ValidationError: an older version's config, which cannot be read any more.
        """
        if self.stage == "gan":
            return gan_flops(GANConfig.model_validate(self.config))
        if self.stage == "synthesize" and self.network is not None:
            gan = GANConfig.model_validate(self.network)
            return self.config["shard_size"] * _of_gan(_shape(gan), gan.resolution).drawing
        if self.stage == "detector":
            return detector_flops(DetectorConfig.model_validate(self.config), slices, self.count)
        if self.stage == "evaluate" and self.network is not None:
            detector = DetectorConfig.model_validate(self.network)
            return slices.scored * _forward(detector, detector.validation_size)
        return None


def work_of(stage: Stage) -> Work:
    """The work of a planned stage."""
    network: Config | None = None
    count = 0
    if isinstance(stage, SynthesizeStage):
        network = stage.gan.config
    elif isinstance(stage, EvaluateStage | RealismStage):
        network = stage.detector.config
    elif isinstance(stage, DetectorStage):
        count = stage.count
    return Work(stage.name, _seedless(stage.config), None if network is None else _seedless(network), count)


def kind_of(stage: Stage) -> Kind:
    """Equal for stages of one plan whose work is equal; made from what many stages share, so that it costs little.

    Configs that hold mappings are told apart as objects, of which a plan has few: they must outlive the kind.
    """
    name, config = stage.name, stage.config
    # By name: asking an abstract class about each of 100,000 stages takes longer than all the rest.
    if name == "detector":
        detector = cast("DetectorStage", stage)
        return name, _plain(detector.config), detector.count if detector.config.epochs is not None else 0
    if name in ("evaluate", "realism"):
        return name, id(config), _plain(cast("EvaluateStage", stage).detector.config)
    if name == "synthesize":
        return name, id(config), id(cast("SynthesizeStage", stage).gan.config)
    return name, id(config)


def _plain(config: DetectorConfig) -> int:
    """A number for everything but the seed."""
    known = _plain_of.get(id(config))
    if known is None:
        values = tuple(value for name, value in config.__dict__.items() if name != "seed")
        known = _plain_of[id(config)] = (config, _numbers.setdefault(values, len(_numbers)))
    return known[1]


_plain_of: dict[int, tuple[DetectorConfig, int]] = {}
_numbers: dict[tuple[Any, ...], int] = {}


def work_of_artifact(manifest: Manifest, store: Store) -> Work:
    """The work that made an artifact; looks up the artifact of its network."""
    identity = manifest.identity
    network = None
    needed = NETWORK_OF.get(manifest.stage)
    if needed is not None:
        found = store.find(needed, identity["inputs"][needed])
        network = None if found is None else _without_seed(found.manifest.identity["config"])
    return Work(manifest.stage, _without_seed(identity["config"]), network, identity.get("count", 0))


def gan_flops(config: GANConfig) -> float:
    """Of a whole training run, at every resolution of its schedule (without fades and augmentation)."""
    shape = _shape(config)
    return sum(images * _of_gan(shape, resolution).training for resolution, images in _schedule(config).items())


def detector_flops(config: DetectorConfig, slices: SliceCounts, count: int) -> float:
    """Of a whole training run and its validations."""
    shown = config.steps * config.batch if config.epochs is None else config.epochs * (slices.train + count)
    validations = (1 - config.select_from) * shown / config.batch / config.evaluate_every
    training = shown * TRAINING * _forward(config, config.train_size)
    return training + validations * slices.validation * _forward(config, config.validation_size)


def _schedule(config: GANConfig) -> dict[int, float]:
    """Resolution -> images shown at it."""
    if config.variant == "image2image":
        return {config.resolution: float(config.total_images)}
    *earlier, last = config.resolutions()
    shown = {one: 1000 * (config.fade_length(one) + config.stable_length(one)) for one in earlier}
    return {**shown, last: config.total_images - sum(shown.values())}


@dataclass(frozen=True)
class _PerImage:
    training: float
    drawing: float


def _shape(config: GANConfig) -> str:
    return config.model_dump_json(include=set(GAN_SHAPE))


@lru_cache(maxsize=4)
def _on_meta(shape: str) -> TrainingState:
    """The networks on torch's `meta` device, which computes nothing."""
    import torch

    from trainers.gan.checkpoint import TrainingState

    shortest = {"total_kimg": 1.0, "fade_kimg": 0.0, "stable_kimg": 0.0}
    return TrainingState.initial(GANConfig.model_validate({**json.loads(shape), **shortest}), torch.device("meta"))


@lru_cache(maxsize=512)
def _of_gan(shape: str, resolution: int) -> _PerImage:
    """Counted over one step of the networks."""
    import torch

    from trainers.gan.losses import penalty
    from trainers.gan.schedule import Phase

    state, phase = _on_meta(shape), Phase(resolution, 1.0)
    batch = state.config.batch_size
    images = torch.empty(batch, 1, resolution, resolution, device="meta")
    condition, mix = torch.empty_like(images), torch.empty(batch, device="meta")
    latents = torch.empty(batch, *state.generator.latent_shape, device="meta")

    def draw() -> torch.Tensor:
        return state.generator(latents, condition, phase)

    def step() -> None:
        with torch.no_grad():
            fake = draw()
        both = torch.cat([images, fake]), torch.cat([condition, condition])
        state.discriminator(*both, phase).sum().backward()
        state.discriminator.requires_grad_(False)
        state.discriminator(draw(), condition, phase).sum().backward()
        state.discriminator.requires_grad_(True)

    def regularise() -> None:
        penalty(state.config, state.discriminator, images, images, condition, phase, mix).backward()

    with torch.no_grad():
        drawing = _count(draw)
    training = _count(step) + _count(regularise) / state.config.penalty_interval
    return _PerImage(training / batch, drawing / batch)


def _forward(config: DetectorConfig, side: int) -> float:
    return _small_forward(config.width, config.depth, config.box_bins) * (side / SMALL) ** 2


@lru_cache(maxsize=64)
def _small_forward(width: float, depth: float, box_bins: int) -> float:
    import torch

    from trainers.detector.model import build_model

    model = build_model(DetectorConfig(width=width, depth=depth, box_bins=box_bins)).eval()
    with torch.no_grad():
        return _count(lambda: model(torch.zeros(1, 1, SMALL, SMALL)))


def _count(run: Callable[[], Any]) -> int:
    """Operations of the convolutions and matrix products that a call runs, in whatever direction."""
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import flop_registry

    class Counter(TorchDispatchMode):
        """PyTorch's FlopCounterMode also tells modules apart, with hooks that fail where gradients are taken twice."""

        total = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            formula = flop_registry.get(func.overloadpacket)
            if formula is not None:
                self.total += formula(*args, **(kwargs or {}), out_val=result)
            return result

    with Counter() as counter:
        run()
    return counter.total


def _seedless(config: Config) -> Mapping[str, Any]:
    return _without_seed(config.model_dump(mode="json"))


def _without_seed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in config.items() if key != "seed"}
