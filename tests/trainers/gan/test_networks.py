from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.trainers.gan.tiny_batches import FULL, inputs, seeded
from tests.trainers.gan.tiny_runs import tiny
from trainers.gan.config import GANConfig
from trainers.gan.image2image import ConvolutionalDiscriminator, UNetGenerator
from trainers.gan.layers import (
    ConditionedUpscaleConvolution,
    Convolution,
    DownscaleConvolution,
    MinibatchStddev,
    UpscaleConvolution,
    blurred,
)
from trainers.gan.networks import CPGGANDiscriminator, CPGGANGenerator
from trainers.gan.schedule import Phase


def test_fused_scaling_equals_scaling_and_convolution() -> None:
    x = torch.randn(2, 3, 8, 8, generator=seeded())
    plain = Convolution(3, 5, seeded(2))
    up, down = UpscaleConvolution(3, 5, seeded(2)), DownscaleConvolution(3, 5, seeded(2))
    torch.testing.assert_close(up(x), plain(F.interpolate(x, scale_factor=2)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(down(x), F.avg_pool2d(plain(x), 2), atol=1e-5, rtol=1e-5)


def test_repeated_conditions_are_never_copied_but_count() -> None:
    x, condition = torch.randn(2, 4, 8, 8, generator=seeded()), torch.rand(2, 1, 8, 8, generator=seeded(1))
    copied = torch.cat([x, condition.expand(-1, 3, -1, -1)], dim=1)
    layer, plain = ConditionedUpscaleConvolution(4, 3, 5, seeded(2)), UpscaleConvolution(7, 5, seeded(2))
    torch.testing.assert_close(layer(x, condition), plain(copied), atol=1e-5, rtol=1e-5)


def test_smoothed_features_leave_no_weave_of_coarse_pixels() -> None:
    x, row = torch.randn(2, 3, 8, 8, generator=seeded()), torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (row[:, None] * row).expand(3, 1, 3, 3)
    torch.testing.assert_close(blurred(x), F.conv2d(x, kernel, padding=1, groups=3))

    def fine_stripes(blur: bool) -> float:
        """Energy of rows and columns at frequencies in the upper half, as a share of all, of untrained images."""
        config = tiny(resolution=32, widths=(8,) * 4, total_kimg=1.0, blur=blur)
        latents, _, condition = inputs(16, 32)
        with torch.no_grad():
            images = CPGGANGenerator(config, seeded())(latents, 0 * condition, Phase(32, 1.0)).squeeze(1)
        window = torch.hann_window(32).outer(torch.hann_window(32))
        energy = torch.fft.fft2((images - images.mean((1, 2), keepdim=True)) * window).abs().square().mean(0)
        return float((energy[0, 8:25].sum() + energy[8:25, 0].sum()) / energy.sum())

    assert fine_stripes(True) < fine_stripes(False) / 10


def test_equalised_layers_keep_the_scale_of_their_input() -> None:
    x = torch.randn(8, 64, 16, 16, generator=seeded())
    assert Convolution(64, 64, seeded(), gain=1.0)(x).std().item() == pytest.approx(1.0, rel=0.1)


def test_minibatch_stddev() -> None:
    assert [tiny(batch_size=batch).group for batch in (1, 2, 3, 4, 5, 6, 7, 16)] == [1, 2, 3, 4, 1, 3, 1, 4]
    assert tiny(batch_size=16, stddev_group=2).group == 2
    x = torch.randn(8, 3, 4, 4, generator=seeded())
    channel = MinibatchStddev(4)(x)[:, 3]
    by_hand = x[4:].var(dim=0, unbiased=False).sqrt().mean()
    torch.testing.assert_close(channel[4:], by_hand.expand(4, 4, 4), atol=1e-4, rtol=1e-4)
    assert MinibatchStddev(1)(x)[:, 3].abs().max() == 0
    assert MinibatchStddev(4)(x[:1].expand(4, 3, 4, 4))[:, 3].abs().max() < 1e-3


@pytest.mark.parametrize("resolution", [8, 16])
def test_a_fade_starts_where_the_resolution_before_ended(resolution: int) -> None:
    generator, discriminator = CPGGANGenerator(tiny(), seeded()), CPGGANDiscriminator(tiny(batch_size=2), seeded())
    latents, images, condition = inputs(2, resolution)
    coarse_condition = F.avg_pool2d(condition, 2)
    before, start = Phase(resolution // 2, 1.0), Phase(resolution, 0.0)
    coarse = generator(latents, coarse_condition, before)
    torch.testing.assert_close(generator(latents, condition, start), F.interpolate(coarse, scale_factor=2))
    torch.testing.assert_close(
        discriminator(images, condition, start), discriminator(F.avg_pool2d(images, 2), coarse_condition, before)
    )
    end = generator(latents, condition, Phase(resolution, 1.0))
    torch.testing.assert_close(generator(latents, condition, Phase(resolution, 1.0 - 1e-7)), end, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("channels", ["1", "match"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_at_every_resolution_and_fade_both_networks_use_the_condition(
    alpha: float, precision: str, channels: str
) -> None:
    config = tiny(condition_channels=channels, precision=precision, batch_size=2)
    generator, discriminator = CPGGANGenerator(config, seeded()), CPGGANDiscriminator(config, seeded())
    for resolution in config.resolutions():
        latents, images, condition = inputs(2, resolution)
        phase = Phase(resolution, alpha if resolution > 4 else 1.0)
        made = generator(latents, condition, phase)
        score = discriminator(images, condition, phase)
        assert (made.shape, made.dtype) == ((2, 1, resolution, resolution), torch.float32)
        assert (score.shape, score.dtype) == ((2,), torch.float32)
        assert (score - discriminator(images, 0 * condition, phase)).abs().min() > 1e-4
        generated_with_it = resolution > 8 or (resolution == 8 and alpha > 0)  # 4x4 is made of noise alone
        assert bool((made - generator(latents, 0 * condition, phase)).abs().max() > 1e-3) == generated_with_it


def test_512_pixels_by_configuration() -> None:
    config = tiny(resolution=512, widths=(8,) * 8, total_kimg=1.0, batch_size=1)
    latents, images, condition = inputs(1, 512)
    phase = Phase(512, 0.5)
    assert CPGGANGenerator(config, seeded())(latents, condition, phase).shape == (1, 1, 512, 512)
    assert CPGGANDiscriminator(config, seeded())(images, condition, phase).shape == (1,)


@pytest.mark.parametrize("channels", ["1", "match"])
@pytest.mark.parametrize("block", [0, 1])
def test_the_condition_reaches_every_block(channels: str, block: int) -> None:
    config = tiny(condition_channels=channels)
    generator = CPGGANGenerator(config, seeded())
    with torch.no_grad():
        for level, layer in enumerate(generator.upscale):
            if level != block:
                layer.get_parameter("weight")[:, config.widths[level] :] = 0.0
    latents, _, condition = inputs(2)
    difference = generator(latents, condition, FULL) - generator(latents, torch.zeros_like(condition), FULL)
    assert difference.abs().max() > 1e-3


def test_paper_widths_make_the_known_parameter_counts() -> None:
    config = GANConfig()
    generator = CPGGANGenerator(config, seeded())
    count = sum(parameter.numel() for parameter in generator.parameters())
    condition = sum(9 * width for width in config.widths[1:])
    assert count - condition == pytest.approx(23.0e6, rel=0.01)


def test_image2image_uses_noise_and_condition_and_its_critic_does_not_couple_samples() -> None:
    config = tiny(variant="image2image")
    generator, discriminator = UNetGenerator(config, seeded()), ConvolutionalDiscriminator(config, seeded())
    _, images, condition = inputs(3)
    noise = torch.randn(3, *generator.latent_shape, generator=seeded(3))
    made = generator(noise, condition, FULL)
    assert made.shape == images.shape
    assert (made - generator(noise.flip(0), condition, FULL)).abs().max() > 1e-3
    assert (made - generator(noise, 0 * condition, FULL)).abs().max() > 1e-3
    together = discriminator(images, condition, FULL)
    torch.testing.assert_close(together[:1], discriminator(images[:1], condition[:1], FULL))
