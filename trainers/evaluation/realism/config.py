"""The settings of the realism figures."""

from __future__ import annotations

from pydantic import Field

from trainers.config import Config

FEWEST = 10
"""Fewer synthetic slices tell nothing."""


class RealismConfig(Config):
    """How synthetic slices are compared with real ones; the t-SNE's values are the paper's (section 2.5)."""

    slices: int = Field(default=2000, ge=FEWEST)
    """Synthetic slices that are looked at, and the most real ones on either side of a comparison."""
    extractors: tuple[str, ...] = Field(default=("detector", "wavelet"), min_length=1)
    """What turns slices into the features that distances are measured in: `detector`, `wavelet`, `pixels`, or
    `package.module:function`. Figures compare only within one extractor (and one detector). Two, because a detector
    looks for tumours and hardly minds blur, which wavelets do."""
    memorisation_extractor: str = "pixels"
    """The same for the memorisation test, whose p value holds only for features that were not learnt from the training
    split: a detector sees the slices it has learnt from with other eyes."""
    kid_subset: int = Field(default=1000, ge=2)
    """Slices of each side in one estimate of the kernel distance; at most half of those there are."""
    kid_subsets: int = Field(default=100, ge=2)
    """Estimates whose mean and spread are reported."""
    precision_neighbours: int = Field(default=3, ge=1)
    """The k of precision and recall."""
    density_neighbours: int = Field(default=5, ge=1)
    """The k of density and coverage."""
    patches: int = Field(default=128, ge=1)
    """Patches of 7 x 7 pixels from each level of each slice for the sliced Wasserstein distance."""
    projections: int = Field(default=512, ge=1)
    """Random directions of the sliced Wasserstein distance."""
    pairs: int = Field(default=2000, ge=2)
    """Pairs of slices whose likeness (MS-SSIM) is averaged."""
    placements: int = Field(default=20, ge=1)
    """Random placements of every conditioning box, which tell how often a box is found by chance."""
    permutations: int = Field(default=5000, ge=100)
    """Random divisions of the patients that the memorisation test compares with the true one."""
    embedded: int = Field(default=500, ge=1)
    """Tumour crops, and slices, of each group in a t-SNE."""
    perplexity: float = Field(default=100.0, gt=0)
    """Of the t-SNE; lowered, and said so, where there are fewer than three times as many points."""
    iterations: int = Field(default=1000, ge=250)
    """Of the t-SNE."""
    crop_size: int = Field(default=32, ge=2)
    """Side in pixels that tumour crops are resized to."""
    batch: int = Field(default=32, ge=1)
    """Slices that a network sees at once."""
    seed: int = Field(default=0, ge=0)
    """Decides which slices, pairs, patches and placements are drawn, and all resampling."""
