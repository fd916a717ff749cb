"""Settings of the GANs; the defaults are the paper's values and, where it is silent, those of its base PGGAN."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from trainers.config import Config, Seed, Text
from trainers.data.conditions import ConditionConfig
from trainers.variants import GANS, GANTraits, GANVariant

SMALLEST = 4
"""Side of the first images that progressive growing makes, pixels."""
Channels = Annotated[int, Field(ge=1, le=8192)]


class GANConfig(Config):
    """One GAN and its training run."""

    variant: GANVariant = Field(
        default="cpggan",
        description=f"The GAN of an arm: {'; '.join(f'{name}, {gan.description}' for name, gan in GANS.items())}.",
    )
    resolution: int = Field(default=256, le=512)
    """Height and width of the slices, pixels; a power of two, up to the 512 that slices are made of."""
    initial_resolution: int = Field(default=SMALLEST, le=512)
    """Resolution at which progressive growing starts, pixels; a power of two."""
    widths: tuple[Channels, ...] = Field(default=(512, 512, 512, 512, 256, 128, 64), max_length=16)
    """CPGGAN: feature channels at 4, 8, 16, ... pixels, times `width`."""
    unet_widths: tuple[Channels, Channels, Channels, Channels] = (64, 128, 256, 512)
    """Image-to-image GAN: feature channels after each convolution of the generator's encoder, times `width`."""
    critic_widths: tuple[Channels, Channels, Channels] = (64, 128, 256)
    """Image-to-image GAN: feature channels after each convolution of the discriminator, times `width`."""
    width: float = Field(default=1.0, gt=0.0, le=16.0)
    """Factor on all widths; at most 16, more than fits on any GPU."""
    min_width: int = Field(default=8, ge=1, le=8192)
    """No layer has fewer feature channels than this."""
    latent_size: int = Field(default=512, ge=1, le=65_536)
    """CPGGAN: length of the noise vector. (The image-to-image GAN takes one noise channel as large as the slice.)"""
    condition_channels: Literal["1", "match"] = "1"
    """CPGGAN generator: the conditioning image as one channel, or repeated to as many channels as the features."""
    blur: bool = Field(default=False, exclude_if=lambda blur: not blur)
    """CPGGAN generator: whether each doubling of the resolution smooths its features, as in StyleGAN; without it coarse
    pixels stay visible as a weave of rows and columns until training has undone them."""
    batch_size: int = Field(default=4, ge=1, le=65_536)
    """Images per step, over all workers; at most 65,536, a hundred times more than was ever useful."""
    stddev_group: int = Field(default=4, ge=1, le=65_536)
    """CPGGAN: neighbours in a step whose features' deviation the discriminator sees (the largest number up to this that
    divides `batch_size`); workers take whole groups."""
    learning_rate: float = Field(default=2e-4, gt=0.0)
    """Adam's learning rate, both networks."""
    beta1: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Adam's decay of the mean."""
    beta2: float = Field(default=0.99, ge=0.0, lt=1.0)
    """Adam's decay of the variance."""
    loss: Literal["wgan-gp", "r1", "relativistic"] = "wgan-gp"
    """Wasserstein with gradient penalty; non-saturating logistic with R1; or relativistic pairing with R1 and R2."""
    gradient_penalty: float = Field(default=10.0, ge=0.0)
    """Weight of the gradient penalty: lambda of WGAN-GP, gamma of R1 and R2."""
    penalty_interval: int = Field(default=1, ge=1)
    """Steps per penalty, which then weighs as many times more (lazy regularisation); 1 applies it at every step."""
    drift: float = Field(default=0.001, ge=0.0)
    """WGAN-GP: weight of the squared scores of real images, which keeps scores near 0."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Number format of the convolutions; weights, scores, penalties and losses are fp32 in all. `tf32` rounds what a
    GPU's convolutions multiply to 10 bits of mantissa, torch's own default, and keeps features in fp32; on a CPU it is
    fp32. `bf16` rounds features, too, to 7 bits: half the memory."""
    deterministic: bool = Field(default=True, exclude_if=lambda exact: exact)
    """Whether equal runs on a GPU are to end bit for bit alike, resumed or not; without it cuDNN times its kernels at
    every new shape (15 s each on an H200) and takes the fastest. On a CPU runs always end alike."""
    cuda_graph: bool = Field(default=False, exclude_if=lambda recorded: not recorded)
    """On a GPU, with one worker: whether an update is recorded once and then replayed, which spares the host launching
    some two thousand kernels one by one. On a CPU it changes nothing."""
    ema: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Share of itself that the averaged generator, which makes the synthetic slices, keeps at each step."""
    total_kimg: float = Field(default=12_000.0, ge=0.001, le=1e9)
    """Length of the run: thousands of real images shown (3,000,000 steps of 4); at least one image, and at most a
    billion thousands, more than any run finishes."""
    fade_kimg: float = Field(default=600.0, ge=0.0)
    """Thousands of images over which a new resolution is faded in."""
    stable_kimg: float = Field(default=600.0, ge=0.0)
    """Thousands of images at a resolution before the next is faded in; the last resolution takes what remains."""
    fade_kimg_at: dict[int, float] = Field(default_factory=dict)
    """Exceptions from `fade_kimg`: resolution -> thousands of images."""
    stable_kimg_at: dict[int, float] = Field(default_factory=dict)
    """Exceptions from `stable_kimg`: resolution -> thousands of images."""
    normal_share: float | None = Field(default=None, gt=0.0, lt=1.0)
    """`cpggan+normal`: share of normal slices among those shown; None shows every slice of both kinds equally often."""
    horizontal_flip: bool = True
    """Whether half of the training slices are mirrored left-right together with their boxes."""
    augment: Literal["none", "diffaugment", "adaptive"] = "none"
    """Augmentation of all that the discriminator sees, real or synthetic: none, with the fixed probability
    `augment_probability`, or with one that follows the discriminator's overfitting."""
    augment_probability: float = Field(default=1.0, ge=0.0, le=1.0)
    """`diffaugment`: probability of each augmentation of a slice."""
    augment_target: float = Field(default=0.6, gt=0.0, lt=1.0)
    """`adaptive`: overfitting signal that the probability is steered to."""
    augment_kimg: float = Field(default=500.0, gt=0.0)
    """`adaptive`: thousands of images in which the probability can go from 0 to 1."""
    detector_weight: float = Field(default=1.0, ge=0.0)
    """`cpggan+detector`: weight of the frozen detector's loss in the generator's."""
    detector_start_kimg: float | None = Field(default=None, ge=0.0)
    """`cpggan+detector`: thousands of images before the detector's loss; None waits for the last resolution."""
    detector_ramp_kimg: float = Field(default=600.0, ge=0.0)
    """`cpggan+detector`: thousands of images over which its weight then rises from 0."""
    nonfinite_limit: int = Field(default=100, ge=0)
    """Updates whose loss or gradient is not finite are skipped; more than this many in a run end it."""
    checkpoint_kimg: float = Field(default=100.0, gt=0.0)
    """Thousands of images between two checkpoints."""
    seed: Seed = 0
    """Decides initial weights, order of the slices, flips and noise."""

    @field_validator("resolution", "initial_resolution")
    @classmethod
    def _is_power_of_two(cls, value: int) -> int:
        if value < SMALLEST or value & (value - 1):
            raise ValueError(f"got {value}; allowed: a power of two from {SMALLEST}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> GANConfig:
        smallest = self.traits.smallest
        if self.resolution < smallest:
            raise ValueError(f"resolution: got {self.resolution}; allowed for {self.variant}: {smallest} or more")
        if not self.traits.grows:
            return self
        if self.initial_resolution > self.resolution:
            raise ValueError(f"initial_resolution: got {self.initial_resolution}; allowed: up to {self.resolution}")
        blocks = len(self.resolutions(SMALLEST))
        if len(self.widths) < blocks:
            raise ValueError(f"widths: got {len(self.widths)} values; {self.resolution} pixels need {blocks}")
        for key, lengths in (("fade_kimg_at", self.fade_kimg_at), ("stable_kimg_at", self.stable_kimg_at)):
            for resolution, kimg in lengths.items():
                if resolution not in self.resolutions() or kimg < 0:
                    raise ValueError(f"{key}: got {resolution}: {kimg}; allowed: {self.resolutions()} and 0 or more")
        if self.growth_kimg > self.total_kimg:
            raise ValueError(
                f"total_kimg: got {self.total_kimg:g}, but growing to {self.resolution} pixels takes "
                f"{self.growth_kimg:g}; allowed: at least that, or shorter fade_kimg and stable_kimg"
            )
        return self

    @property
    def traits(self) -> GANTraits:
        """What holds of every GAN of this variant."""
        return GANS[self.variant]

    @property
    def first_resolution(self) -> int:
        """Resolution at which training starts, pixels: the last one, too, if the GAN does not grow."""
        return self.initial_resolution if self.traits.grows else self.resolution

    def resolutions(self, smallest: int | None = None) -> list[int]:
        """The resolutions of training, first (`first_resolution` unless given) to last, pixels."""
        first = smallest or self.first_resolution
        return [1 << level for level in range(first.bit_length() - 1, self.resolution.bit_length())]

    def fade_length(self, resolution: int) -> float:
        """Thousands of images over which `resolution` is faded in; 0 for the first one."""
        return 0.0 if resolution == self.first_resolution else self.fade_kimg_at.get(resolution, self.fade_kimg)

    def stable_length(self, resolution: int) -> float:
        """Thousands of images at `resolution`, faded in, before the next one."""
        return self.stable_kimg_at.get(resolution, self.stable_kimg)

    @property
    def growth_kimg(self) -> float:
        """Thousands of images until the last resolution is faded in."""
        *earlier, last = self.resolutions()
        return sum(self.fade_length(r) + self.stable_length(r) for r in earlier) + self.fade_length(last)

    @property
    def total_images(self) -> int:
        """Length of the run in images."""
        return round(self.total_kimg * 1000)

    @property
    def group(self) -> int:
        """Images of a step that stay on one worker, as their minibatch statistics are shared; 1 without them."""
        if not self.traits.grouped:
            return 1
        return max(size for size in range(1, self.stddev_group + 1) if self.batch_size % size == 0)

    def scaled(self, channels: int) -> int:
        """A layer's feature channels under `width` and `min_width`."""
        return max(self.min_width, round(channels * self.width))


class SynthesisConfig(ConditionConfig):
    """How synthetic slices are drawn from a GAN."""

    shard_size: int = Field(default=1000, ge=1, le=1_000_000)
    """Slices in a shard; a count of slices is a prefix of the shards. At most a million, 65 GB at 256 pixels, as a
    shard is held in memory."""
    batch_size: int | None = Field(default=None, ge=1, le=65_536)
    """Slices in one call of the network; None takes as many as are fast: on a CPU 4 at 256 pixels and 16 up to 128, on
    a GPU 128. It may change an image's grey levels by rounding."""
    seed: Seed = 0
    """Decides noise and conditions."""
    curate: bool = True
    """Whether a slice whose tumours do not stand out is drawn again."""
    threshold_quantile: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Synthetic slices are to stand out more than this share of the real training slices with tumours."""
    max_attempts: int = Field(default=4, ge=1, le=65_536)
    """Attempts at a slice; if none stands out, the clearest one stays and is counted as unclear."""
    review: Text | None = Field(default=None, exclude=True)
    """CSV file of a human's keep/discard decisions, which override the score; a relative path counts from the working
    directory. Its content decides the slices, its name does not."""

    def images(self, shard: int) -> range:
        """Numbers of the images in a shard."""
        return range(shard * self.shard_size, (shard + 1) * self.shard_size)
