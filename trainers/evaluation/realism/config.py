"""The settings of the realism figures."""

from __future__ import annotations

from pydantic import Field

from trainers.config import Config, Seed, Text

FEWEST = 10
"""Fewer synthetic slices are too few to compare."""
LARGEST = 1_000_000
"""Of slices, draws and the like: they are held in memory."""


class RealismConfig(Config):
    """How synthetic slices are compared with real ones; the t-SNE's values are the paper's (section 2.5)."""

    slices: int = Field(default=2000, ge=FEWEST, le=LARGEST)
    """Synthetic slices that are looked at, and the most real ones on either side of a comparison."""
    extractors: tuple[Text, ...] = Field(default=("detector", "wavelet"), min_length=1, max_length=20)
    """What turns slices into the features that distances are measured in: `detector`, `wavelet`, `pixels`, or
    `package.module:function`. Figures compare only within one extractor (and one detector). Two, because a detector
    looks for tumours and is almost blind to blur, which wavelets measure."""
    memorisation_extractor: Text = "pixels"
    """The same for the memorisation test, whose p value holds only for features that were not learnt from the training
    split: a detector responds differently to the slices it was trained on."""
    kid_subset: int = Field(default=1000, ge=2, le=LARGEST)
    """Slices of each side in one estimate of the kernel distance; at most half of those available."""
    kid_subsets: int = Field(default=100, ge=2, le=LARGEST)
    """Estimates whose mean and spread are reported."""
    precision_neighbours: int = Field(default=3, ge=1, le=LARGEST)
    """The k of precision and recall."""
    density_neighbours: int = Field(default=5, ge=1, le=LARGEST)
    """The k of density and coverage."""
    patches: int = Field(default=128, ge=1, le=LARGEST)
    """Patches of 7 x 7 pixels from each level of each slice for the sliced Wasserstein distance."""
    projections: int = Field(default=512, ge=1, le=LARGEST)
    """Random directions of the sliced Wasserstein distance."""
    pairs: int = Field(default=2000, ge=2, le=LARGEST)
    """Pairs of slices whose likeness (MS-SSIM) is averaged."""
    placements: int = Field(default=20, ge=1, le=LARGEST)
    """Random placements of every conditioning box, which show how often a box is found by chance."""
    permutations: int = Field(default=5000, ge=100, le=LARGEST)
    """Random divisions of the patients that the memorisation test compares with the true one."""
    embedded: int = Field(default=500, ge=1, le=LARGEST)
    """Tumour crops, and slices, of each group in a t-SNE."""
    perplexity: float = Field(default=100.0, gt=0)
    """Of the t-SNE; lowered, with a note, where there are fewer than three times as many points."""
    iterations: int = Field(default=1000, ge=250, le=LARGEST)
    """Of the t-SNE."""
    crop_size: int = Field(default=32, ge=2, le=512)
    """Side in pixels that tumour crops are resized to."""
    batch: int = Field(default=32, ge=1, le=65_536)
    """Slices that a network sees at once."""
    seed: Seed = 0
    """Decides which slices, pairs, patches and placements are drawn, and all resampling."""
