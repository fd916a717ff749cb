"""Settings of the diffusion model that draws lesions into windows of real slices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainers.config import Seed
from trainers.pasting.config import PlacesConfig
from trainers.variants import INPAINTED, InpaintedVariant

GROUPS = 8
"""Groups of channels that the network normalises together."""
WEIGHTS_FILE = "inpainter.pt"
"""The trained network in its folder, which marks such a folder: a GAN's has none."""
Channels = Annotated[int, Field(ge=GROUPS, le=8192, multiple_of=GROUPS)]


class InpaintConfig(PlacesConfig):
    """One inpainter, its training run, and how it draws. The paper has none: the defaults are sized for its slices."""

    variant: InpaintedVariant = Field(
        default="inpaint",
        description=f"What draws: {'; '.join(f'{name}, {how.description}' for name, how in INPAINTED.items())}.",
    )
    window: int = Field(default=96, ge=16, le=512)
    """Height and width of what the network sees around a box, pixels; at most the slice's, and halved without remainder
    at each of `widths` but the first. Lesions whose redrawn region does not fit are left out."""
    rim: int = Field(default=4, ge=1, le=64)
    """Pixels around a box that are redrawn, too, and in which the drawing fades into the slice."""
    widths: tuple[Channels, ...] = Field(default=(64, 128, 128, 256), min_length=1, max_length=8)
    """Feature channels of the U-Net at the window's size, at half of it, and so on; multiples of 8."""
    blocks: int = Field(default=2, ge=1, le=16)
    """Residual blocks of the U-Net's encoder at each size."""
    batch_size: int = Field(default=32, ge=1, le=65_536)
    """Windows per step, over all workers."""
    learning_rate: float = Field(default=4e-4, gt=0.0)
    """Adam's first learning rate, from which it falls to 0 along a cosine."""
    ema: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Share of itself that the averaged network, which draws, keeps at each step."""
    total_kimg: float = Field(default=2000.0, ge=0.001, le=1e9)
    """Length of the run: thousands of windows shown, in whole steps; at least one window."""
    sampling_steps: int = Field(default=20, ge=1, le=1000)
    """Steps of DDIM from noise to a lesion: calls of the network per window that is drawn."""
    precision: Literal["fp32", "tf32"] = "fp32"
    """Number format of the convolutions on a GPU, as `gan.precision`."""
    checkpoint_kimg: float = Field(default=100.0, gt=0.0)
    """Thousands of windows between two checkpoints."""
    seed: Seed = 0
    """Decides initial weights, order and place of the windows, and noise in training."""

    @model_validator(mode="after")
    def _fits_together(self) -> InpaintConfig:
        halved = 2 ** (len(self.widths) - 1)
        if self.window % halved:
            raise ValueError(
                f"window: got {self.window}; allowed with {len(self.widths)} widths: multiples of {halved}"
            )
        if self.window <= 2 * self.rim:
            raise ValueError(f"rim: got {self.rim}; allowed: less than half of the window, {self.window}")
        return self

    @property
    def deterministic(self) -> bool:
        """Whether equal runs on a GPU end bit for bit alike, resumed or not."""
        return True

    @property
    def total_images(self) -> int:
        """Length of the run in windows."""
        return round(self.total_kimg * 1000)
