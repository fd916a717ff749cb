"""The values of a study: what to try, at which fidelity, on which cohort."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeVar, cast

from pydantic import Field, model_validator

from search_spaces.cell import TRAIN_PATIENTS, Cell
from search_spaces.search import Budget, Constraint, Objective, Prices, SearchConfig, SearchedFigure
from search_spaces.space import Dimension
from trainers.config import Config, Seed, Text
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.stratified import FEWEST_FOLDS, Fold
from trainers.detector.config import DetectorConfig
from trainers.distributed import WorkerResources
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.realism.config import RealismConfig
from trainers.gan.config import GANConfig, SynthesisConfig
from trainers.inpainting.config import InpaintConfig
from trainers.pasting.config import PasteConfig
from trainers.variants import (
    REAL,
    REAL_ONLY,
    SECTIONS,
    SYNTHETIC,
    AdjustableVariant,
    GANVariant,
    InpaintedVariant,
    PastedVariant,
    Variant,
)

SectionConfig = TypeVar("SectionConfig", bound=Config)
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
"""What a study may be called."""
LONGEST_NAME = 100
MOST_SLICES = 10_000_000
"""Of an arm, in the paper's scale: of 256 x 256 pixels they take 655 GB."""
Count = Annotated[int, Field(ge=0, le=MOST_SLICES)]


class Arm(Config):
    """One or more rows of the ablation: a variant at one or several synthetic counts."""

    variant: Variant
    """Where the synthetic slices come from; `none` is the real-only arm, and `classic` has none either."""
    counts: tuple[Count, ...] = Field(default=(0,), max_length=10_000)
    """Synthetic counts, in the paper's scale; the fidelity's `count_scale` multiplies them. At most 10,000,000 each: so
    many slices of 256 x 256 pixels take 655 GB."""
    train_patients: tuple[Annotated[int, Field(ge=1, le=100_000)], ...] = Field(
        default=(), max_length=1000, exclude_if=lambda numbers: not numbers
    )
    """Only of `none`: one row for each number of real training patients, in place of `prepare.train_patients`. So the
    report shows how many real patients synthetic slices are worth."""

    def cells(self) -> list[Cell]:
        """Its rows, in their order."""
        numbers = [((TRAIN_PATIENTS, number),) for number in self.train_patients]
        return [Cell(self.variant, count, params) for params in numbers or [()] for count in self.counts]

    @model_validator(mode="after")
    def _counts_fit_variant(self) -> Arm:
        if self.variant in REAL and self.counts != (0,):
            raise ValueError(f"variant {self.variant!r} draws no slices, so its counts must be left out")
        if self.variant in SYNTHETIC and (not self.counts or 0 in self.counts):
            raise ValueError(
                f"variant {self.variant!r} needs counts above 0; the real-only arm is variant {REAL_ONLY!r}"
            )
        if self.variant != REAL_ONLY and self.train_patients:
            raise ValueError(
                f"train_patients is only for variant {REAL_ONLY!r}; for all others set prepare.train_patients"
            )
        return self


class Resources(Config):
    """What each training stage occupies on the cluster."""

    gan: WorkerResources = WorkerResources()
    """One training run of a GAN, or of an inpainter."""
    detector: WorkerResources = WorkerResources()
    """One detector training run."""


class StudyValues(Config):
    """All values of a study, each checked by itself."""

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME)
    """Name of the MLflow experiment, of the report and of a folder; file systems take 255 characters, of which a report
    needs a few."""
    cohort: Text
    """Folder of the cohort; a relative path counts from the working directory."""
    fidelity: Text
    """Set of overrides that shrinks or grows the study: `paper`, `gpu`, `laptop` or the path of a YAML file."""
    arms: tuple[Arm, ...] = Field(default=(), max_length=10_000)
    """Rows of the ablation: enumerated, always run. May be left out if a search draws everything."""
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1, max_length=10_000)
    """Each detector, of `arms` or drawn, is trained once per seed; its GAN is shared by all seeds. At most 10,000: with
    the ten arms of Table 1, these are the 100,000 trials that a plan may have."""
    folds: int | None = Field(default=None, ge=FEWEST_FOLDS, le=1000, exclude_if=lambda folds: folds is None)
    """Every trial runs once per fold of the tumour patients, with GANs, inpainters and detectors of that fold's own, so
    that each patient is a test patient once per seed; splits of the cohort's manifest are left aside. None: one
    split."""
    count_scale: float = Field(default=1.0, gt=0, le=1000)
    """Factor on every synthetic count, so that one study fits every fidelity."""
    space: dict[str, Dimension] = Field(default_factory=dict)
    """What a search draws: `variant`, `count` (in the paper's scale) and dotted keys of `gan`, `paste`, `inpaint`,
    `synthesis` and `detector`. `none` and `classic` draw only keys of `detector`. What is not drawn comes from
    `arms`."""
    search: SearchConfig = SearchConfig()
    """How the space is searched."""
    objectives: tuple[Objective, ...] = Field(default=(Objective(),), min_length=1)
    """What the search optimises, on the validation split or of synthetic slices; several objectives lead to their best
    trade-offs."""
    constraints: tuple[Constraint, ...] = ()
    """Bounds on such figures, which the best cell must meet."""
    budget: Budget = Budget()
    """What a launch may use."""
    prices: Prices = Prices()
    """What the machines cost."""
    prepare: PrepareConfig = PrepareConfig()
    """How volumes become slices."""
    gan: GANConfig = GANConfig()
    """How GANs are trained; each arm sets the variant."""
    paste: PasteConfig = Field(default=PasteConfig(), exclude_if=lambda paste: paste == PasteConfig())
    """How lesions, or a placebo, are drawn into real slices; each arm sets the variant."""
    inpaint: InpaintConfig = Field(default=InpaintConfig(), exclude_if=lambda inpaint: inpaint == InpaintConfig())
    """How the diffusion model that draws lesions into real slices is trained, and draws."""
    variants: dict[AdjustableVariant, dict[str, Any]] = Field(default_factory=dict)
    """Overrides for one variant: of `gan`, `paste` or `inpaint`, or (`classic`) of the augmentation in `detector`."""
    synthesis: SynthesisConfig = SynthesisConfig()
    """How synthetic slices are drawn."""
    detector: DetectorConfig = DetectorConfig()
    """How the detector is trained; each trial sets the seed."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How detections are scored."""
    realism: RealismConfig = RealismConfig()
    """How each GAN's slices are compared with real ones."""
    resources: Resources = Resources()
    """Workers, CPUs and GPUs of the training stages."""

    @property
    def searched(self) -> tuple[SearchedFigure, ...]:
        """All that the search optimises or bounds."""
        return (*self.objectives, *self.constraints)

    @property
    def judges_slices(self) -> bool:
        """Whether any of that is about synthetic slices, so that the result of each cell needs their realism."""
        return any(figure.of_slices for figure in self.searched)

    @property
    def splits(self) -> tuple[PrepareConfig, ...]:
        """How the slice sets that every trial runs on are prepared: one for each fold, else the only one."""
        if self.folds is None:
            return (self.prepare,)
        folds = (Fold(number=n + 1, of=self.folds) for n in range(self.folds))
        return tuple(self.prepare.model_copy(update={"fold": fold}) for fold in folds)

    def gan_for(self, variant: GANVariant) -> GANConfig:
        """The GAN config of one variant."""
        return _updated(self.gan, {**self.variants.get(variant, {}), "variant": variant})

    def paste_for(self, variant: PastedVariant) -> PasteConfig:
        """The paste config of one variant."""
        return _updated(self.paste, {**self.variants.get(variant, {}), "variant": variant})

    def inpaint_for(self, variant: InpaintedVariant) -> InpaintConfig:
        """The inpaint config of one variant."""
        return _updated(self.inpaint, {**self.variants.get(variant, {}), "variant": variant})

    def detector_for(self, cell: Cell) -> DetectorConfig:
        """The detector config of a cell whose params are `applied`: they win over the values of its variant."""
        if cell.variant not in REAL:
            return self.detector
        own = dict(REAL[cell.variant].detector)
        if cell.variant != REAL_ONLY:
            own |= self.variants.get(cell.variant, {})
        drawn = {key for key, _ in cell.params}
        return _updated(self.detector, {key: value for key, value in own.items() if f"detector.{key}" not in drawn})

    @property
    def most_seeds(self) -> tuple[Seed, ...]:
        """The seeds that an arm has at most: in a race `seeds`, then the least whole numbers not among them."""
        more = self.search.most_seeds - len(self.seeds) if self.search.races else 0
        others = (seed for seed in itertools.count() if seed not in self.seeds)
        return (*self.seeds, *itertools.islice(others, max(0, more)))

    def synthetic_count(self, count: int) -> int:
        """A count of the paper's scale at this study's scale."""
        return round(count * self.count_scale)

    def cells(self) -> list[Cell]:
        """What `arms` enumerates, in its order."""
        return [cell for arm in self.arms for cell in arm.cells()]

    def variants_to_draw(self) -> tuple[Variant, ...]:
        """Variants that a search may draw: those of `space.variant`, else those of `arms` with synthetic slices."""
        if "variant" in self.space:
            return tuple(cast(Variant, variant) for variant in self.space["variant"].tried())
        return tuple(dict.fromkeys(arm.variant for arm in self.arms if arm.variant in SYNTHETIC))

    @property
    def used_variants(self) -> set[Variant]:
        """All that the study enumerates or may draw."""
        return {*(arm.variant for arm in self.arms), *(self.variants_to_draw() if self.search.draws else ())}

    def dimensions(self, variant: Variant) -> dict[str, Dimension]:
        """What is drawn for a variant, apart from the variant itself."""
        return {
            key: drawn
            for key, drawn in self.space.items()
            if key != "variant" and (drawn.when is None or variant in drawn.when.variant) and applies(key, variant)
        }

    def applied(self, cell: Cell) -> Self:
        """The study with a cell's dotted values set, of which each section is checked by itself.

        Keys of `gan`, `paste` and `inpaint` win over the overrides in `variants`: the section becomes the whole config
        of the cell's variant.

        Raises:
            ValidationError: a section refuses its values.
        """
        sections: dict[str, dict[str, Any]] = {}
        for key, value in cell.params:
            section, _, name = key.partition(".")
            sections.setdefault(section, {})[name] = value
        changed: dict[str, Any] = {}
        for section, values in sections.items():
            config = getattr(self, section)
            if cell.variant != REAL_ONLY and cell.variant in SECTIONS.get(section, ()):
                config = _updated(config, {**self.variants.get(cell.variant, {}), "variant": cell.variant})
            changed[section] = _updated(config, values)
        if changed.keys() & SECTIONS.keys():
            changed["variants"] = {name: over for name, over in self.variants.items() if name != cell.variant}
        return self.model_copy(update=changed)


def applies(key: str, variant: Variant) -> bool:
    """Whether a key of `space` decides anything about cells of a variant."""
    needed = {**SECTIONS, "synthesis": SYNTHETIC, "count": SYNTHETIC}
    return variant in needed.get(key.partition(".")[0], (variant,))


def _updated(config: SectionConfig, values: Mapping[str, Any]) -> SectionConfig:
    # Not model_dump, which leaves out the fields that no stage key depends on.
    return type(config).model_validate({**dict(config), **values})
