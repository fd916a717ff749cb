"""One WGAN-GP iteration and one batch of synthesis of every contender of bench_gan.

    peer      pro-gan-pth 3.4 as its trainer runs it, without its checks for finite gradients
    unfused   ours, but scaling and convolution are two operations each
    plain     ours, but with torch's own differentiation and contiguous features, and updated as the peer is
    ours      as `train_gan` and `synthesize` run it

So `peer` to `plain` and `unfused` to `ours` are what the architecture (fused scale) gains, `peer` to `unfused` and
`plain` to `ours` what the engineering gains. Sizes are those of a GANConfig whose growth is over.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainers.checkpoints import FolderCheckpoints
from trainers.distributed import Context, Placement
from trainers.gan import layers, networks
from trainers.gan.batches import Batch
from trainers.gan.checkpoint import TrainingState, build_generator
from trainers.gan.config import GANConfig
from trainers.gan.generator import TrainedGenerator
from trainers.gan.layers import SLOPE, ConditionedUpscaleConvolution, Convolution, DownscaleConvolution, convolve
from trainers.gan.losses import discriminator_loss, generator_loss, penalty
from trainers.gan.recording import RecordedUpdate
from trainers.gan.sampling import signed, unit
from trainers.gan.schedule import Phase
from trainers.gan.step import update

CONTENDERS = ("peer", "unfused", "plain", "ours")

Iteration = Callable[[], None]
Synthesis = Callable[[int], None]
"""Makes so many slices in one call of the generator, from the same inputs each time."""


def iteration(name: str, config: GANConfig, device: torch.device) -> Iteration:
    """Fresh networks and optimisers of a contender, and the function that updates both and the average once."""
    if name == "peer":
        return _peer_iteration(config, device)
    state = trained(config, device)
    if name == "plain":
        return _plain_iteration(state, device)
    if name == "unfused":
        for network in state.networks:
            unfuse(network)
    return our_iteration(state, device)


def synthesis(name: str, config: GANConfig, device: torch.device) -> Synthesis:
    """A fresh generator of `peer` or `ours`, from noise (and boxes) on the host to slices."""
    if name == "peer":
        generator, _ = _peer_networks(config, device)
        depth = _peer_depth(config)
        noise_of = cache(lambda count: torch.randn(count, config.latent_size))

        @torch.no_grad()
        def forward(count: int) -> None:
            generator(noise_of(count).to(device), depth, 1.0).cpu()

        return forward
    trained_generator = TrainedGenerator(config, build_generator(config).requires_grad_(False), device)

    @cache
    def inputs(count: int) -> tuple[np.ndarray, np.ndarray]:
        latents = np.random.default_rng(1).standard_normal((count, config.latent_size), dtype=np.float32)
        return random_batch(config, count).conditions, latents

    def sample(count: int) -> None:
        trained_generator.sample(*inputs(count))

    return sample


def trained(config: GANConfig, device: torch.device) -> TrainingState:
    """Fresh networks, in the schedule's last phase: the whole network takes part and nothing fades."""
    state = TrainingState.initial(config, device)
    state.images = config.total_images
    return state


def random_batch(config: GANConfig, count: int) -> Batch:
    """Noise as slices and conditioning images: what they show does not change the work."""
    draw = np.random.default_rng(0).integers(0, 256, (2, count, config.resolution, config.resolution), dtype=np.uint8)
    return Batch(draw[0], draw[1], [])


def our_iteration(state: TrainingState, device: torch.device) -> Iteration:
    """The update of `train_gan`, on a GPU recorded if the config says so."""
    batch, share = random_batch(state.config, state.config.batch_size), range(state.config.batch_size)
    context = Context(Placement(0, 1, device), FolderCheckpoints(Path("no-checkpoints")), lambda *_: None)

    run = partial(update, state, feedback=None, context=context)
    if state.config.cuda_graph and device.type == "cuda":
        run = RecordedUpdate(state, None, context)

    def step() -> None:
        run(batch, share)

    return step


class _UnfusedUpscale(ConditionedUpscaleConvolution):
    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        of_features, of_condition = (self.weight * self.scale).tensor_split([self.features], dim=1)
        of_condition = of_condition.sum(dim=1, keepdim=True)
        features = convolve(_doubled(x), _laid_out(of_features), self.bias, padding=1)
        return features + convolve(_doubled(condition), _laid_out(of_condition), None, padding=1)


class _UnfusedDownscale(DownscaleConvolution):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(Convolution.forward(self, x), 2)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _laid_out(kernel: Tensor) -> Tensor:
    return kernel.contiguous(memory_format=torch.channels_last)


def unfuse(network: nn.Module) -> None:
    """Have a float32 CPGGAN compute the same in two operations: scaling, and a 3x3 convolution at the higher side."""
    for module in network.modules():
        if type(module) is ConditionedUpscaleConvolution:
            module.__class__ = _UnfusedUpscale
        elif type(module) is DownscaleConvolution:
            module.__class__ = _UnfusedDownscale


@contextmanager
def torchs_own() -> Iterator[None]:
    """Within it our networks are made of torch's convolution and leaky ReLU, on contiguous features."""

    def convolution(
        x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0, transposed: bool = False
    ) -> Tensor:
        of_torch = F.conv_transpose2d if transposed else F.conv2d
        return of_torch(x.contiguous(), weight.contiguous(), bias, stride, padding)

    def activation(x: Tensor) -> Tensor:
        return F.leaky_relu(x, SLOPE)

    def normalisation(x: Tensor) -> Tensor:
        return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()

    with ExitStack() as patches:
        patches.enter_context(patch.object(layers, "convolve", convolution))
        patches.enter_context(patch.object(networks, "activate", activation))
        patches.enter_context(patch.object(networks, "pixel_norm", normalisation))
        yield


def _plain_iteration(state: TrainingState, device: torch.device) -> Iteration:
    config, phase = state.config, Phase(state.config.resolution, 1.0)
    generator, discriminator, average = state.generator, state.discriminator, state.average
    for network in state.networks:
        for parameter in network.parameters():
            parameter.data = parameter.data.contiguous()
    of_generator, of_discriminator = _adam(generator, config), _adam(discriminator, config)
    batch = random_batch(config, config.batch_size)
    real, condition = signed(batch.images, device), unit(batch.conditions, device)

    def made() -> Tensor:
        return generator(torch.randn(config.batch_size, config.latent_size, device=device), condition, phase)

    def step() -> None:
        with torchs_own():
            fake = made().detach()
            loss = discriminator_loss(
                config, discriminator(real, condition, phase), discriminator(fake, condition, phase)
            )
            mix = torch.rand(config.batch_size, device=device)
            loss = loss + config.gradient_penalty * penalty(config, discriminator, real, fake, condition, phase, mix)
            of_discriminator.zero_grad()
            loss.backward()
            of_discriminator.step()
            loss = generator_loss(config, discriminator(made(), condition, phase))
            of_generator.zero_grad()
            loss.backward()
            of_generator.step()
            with torch.no_grad():
                for mean, newest in zip(average.parameters(), generator.parameters(), strict=True):
                    mean.copy_(config.ema * mean + (1.0 - config.ema) * newest)

    return step


def _peer_iteration(config: GANConfig, device: torch.device) -> Iteration:
    from pro_gan_pytorch import custom_layers, losses  # pyright: ignore[reportMissingImports]

    generator, discriminator = _peer_networks(config, device)
    average = copy.deepcopy(generator)
    of_generator, of_discriminator = _adam(generator, config), _adam(discriminator, config)
    criterion = losses.WganGP(config.drift)
    real = signed(random_batch(config, config.batch_size).images, device)
    depth = _peer_depth(config)

    def made() -> Tensor:
        return generator(torch.randn(config.batch_size, config.latent_size, device=device), depth, 1.0)

    def step() -> None:
        loss = criterion.dis_loss(discriminator, real, made().detach(), depth, 1.0)
        of_discriminator.zero_grad()
        loss.backward()
        of_discriminator.step()
        loss = criterion.gen_loss(discriminator, real, made(), depth, 1.0)
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()
        custom_layers.update_average(average, generator, config.ema)

    return step


def _peer_networks(config: GANConfig, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator of one channel and our widths, mended for today's torch."""
    from pro_gan_pytorch import custom_layers, networks  # pyright: ignore[reportMissingImports]

    custom_layers.EqualizedConvTranspose2d.forward = lambda self, x: torch.conv_transpose2d(
        x, self.weight * self.scale, self.bias
    )
    networks.nf.__defaults__ = (round(8192 * config.width), 1.0, 1, round(512 * config.width))
    sizes = {"num_channels": 1, "latent_size": config.latent_size}
    depth = _peer_depth(config)
    return networks.Generator(depth, **sizes).to(device), networks.Discriminator(depth, **sizes).to(device)


def _peer_depth(config: GANConfig) -> int:
    return config.resolution.bit_length() - 1


def _adam(network: nn.Module, config: GANConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), config.learning_rate, (config.beta1, config.beta2))
