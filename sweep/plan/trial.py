"""A trial, and how a study's cells become trials."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces.cell import TRAIN_PATIENTS, Cell
from search_spaces.study import Study
from sweep.stages import (
    DetectorStage,
    EvaluateStage,
    GANStage,
    InpainterStage,
    InpaintStage,
    LesionsStage,
    PasteStage,
    PrepareStage,
    RealismStage,
    ShardStage,
    SourceStage,
    Stage,
    SynthesizeStage,
)
from trainers.gan.config import GANConfig
from trainers.variants import GANS, INPAINTED, PASTED, Variant

FIRST_FEEDBACK_SEED = 1_000_000
"""Seed of the detector that `cpggan+detector` learns from, unless a trial uses it."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One detector: an arm (variant x synthetic count) with hyperparameters, one seed and, with folds, one fold."""

    variant: Variant
    count: int
    """Synthetic slices, at the study's scale."""
    seed: int
    evaluate: EvaluateStage
    """The trial's result; its inputs lead to all stages that the trial needs."""
    realism: RealismStage | None = None
    """Figures of the trial's synthetic slices; in the first trial of each source of such slices, or in all trials where
    the study's objectives or constraints are about them."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key -> value of what a search drew for its cell, beside variant and count; or of TRAIN_PATIENTS."""
    number: int | None = None
    """Number of the drawn cell in Optuna's study; None if the study's arms enumerate the cell."""

    @property
    def arm(self) -> str:
        """Name of the arm, e.g. `cpggan 4000`."""
        return arm_name(self.variant, self.count, self.params)

    @property
    def train_patients(self) -> int | None:
        """Real training patients of an arm that has a number of its own."""
        return self.params.get(TRAIN_PATIENTS)

    @property
    def cell(self) -> str:
        """Name of what is trained once per seed and fold: the arm, or e.g. `t7 cpggan 4000` if the cell was drawn."""
        return self.arm if self.number is None else f"t{self.number} {self.arm}"

    @property
    def name(self) -> str:
        """Name of the trial, e.g. `cpggan 4000 seed 0`, or `cpggan 4000 seed 0 fold 2`."""
        return f"{self.cell} seed {self.seed}{self.evaluate.detector.slices.fold_text}"

    @property
    def fold(self) -> int | None:
        """Number of its fold, from 1; None without folds."""
        fold = self.evaluate.detector.slices.config.fold
        return None if fold is None else fold.number

    @property
    def goals(self) -> tuple[Stage, ...]:
        """The stages that no other stage reads; the trial is done when they are."""
        return (self.evaluate, self.realism) if self.realism else (self.evaluate,)

    @property
    def own_goals(self) -> tuple[Stage, ...]:
        """The goals that the trial's own run in MLflow shows, not that of its source."""
        return tuple(goal for goal in self.goals if goal.run_kind == "trial")

    @property
    def stages(self) -> dict[str, Stage]:
        """Stage key -> every stage that the trial needs, after its inputs."""
        stages: dict[str, Stage] = {}
        for goal in self.goals:
            goal.collect(stages)
        return stages

    @property
    def source(self) -> SourceStage | None:
        """What the synthetic slices of this trial, and of others of its variant, are drawn from; None without any."""
        shards = self.evaluate.detector.shards
        return shards[0].source if shards else None

    @property
    def gan(self) -> GANStage | None:
        """The source, if it is a GAN."""
        return self.source if isinstance(self.source, GANStage) else None


def arm_name(variant: Variant, count: int, params: Mapping[str, Any]) -> str:
    """`cpggan 4000`, `none`, or `none 60 patients` for an arm with a number of real training patients of its own."""
    if TRAIN_PATIENTS in params:
        return f"{variant} {params[TRAIN_PATIENTS]} patients"
    return f"{variant} {count}" if count else variant


class TrialMaker:
    """Makes the trials of one study on one slice set, or on one per fold.

    A subclass may name other stage classes, e.g. with trainers that only take time.
    """

    gan_stage: type[GANStage] = GANStage
    synthesize_stage: type[SynthesizeStage] = SynthesizeStage
    lesions_stage: type[LesionsStage] = LesionsStage
    paste_stage: type[PasteStage] = PasteStage
    inpainter_stage: type[InpainterStage] = InpainterStage
    inpaint_stage: type[InpaintStage] = InpaintStage
    detector_stage: type[DetectorStage] = DetectorStage
    evaluate_stage: type[EvaluateStage] = EvaluateStage
    realism_stage: type[RealismStage] = RealismStage

    def __init__(self, study: Study, prepared: PrepareStage) -> None:
        self._study = study
        self._splits = [replace(prepared, config=config) for config in study.splits]
        self._shards: dict[tuple[str, str], list[ShardStage]] = {}
        self._judged: set[str] = set()

    def start_plan(self) -> None:
        """Let the first trial of each source judge that source's slices again."""
        self._judged = set()

    @property
    def slices(self) -> PrepareStage:
        """The stage that makes the slice set of all trials; with folds, of the first."""
        return self._splits[0]

    def trials(self, cell: Cell, number: int | None = None) -> list[Trial]:
        """One trial per seed, in a race of all that it may take, and fold; the first of each source in a plan, or all
        where the study `judges_slices`, also judge that source's slices.

        Raises:
            ConfigError: the cell's values are not allowed together.
        """
        study = self._study.with_params(cell)
        by_split = [self._on_split(study, cell, number, prepared) for prepared in self._splits]
        return [trial for of_seed in zip(*by_split, strict=True) for trial in of_seed]

    def _on_split(self, study: Study, cell: Cell, number: int | None, prepared: PrepareStage) -> list[Trial]:
        """One trial per seed.

        Args:
            study: with the cell's params.
            prepared: the slice set of which sources are made; the detectors of an arm may see fewer patients.
        """
        shards = self._shards_of(study, cell, prepared)
        count = study.synthetic_count(cell.paper_count)
        params = dict(cell.params)
        config = study.detector_for(cell)
        own = study.prepare.model_copy(update={"fold": prepared.config.fold})
        slices = prepared if own == prepared.config else replace(prepared, config=own)
        made = []
        for seed in study.most_seeds:
            seeded = config.model_copy(update={"seed": seed})
            detector = self.detector_stage(
                seeded, slices, shards, count, study.resources.detector, arm_name(cell.variant, count, params)
            )
            evaluate = self.evaluate_stage(study.evaluation, detector)
            made.append(Trial(cell.variant, count, seed, evaluate, params=params, number=number))
        if shards and (study.judges_slices or shards[0].source.key not in self._judged):
            self._judged.add(shards[0].source.key)
            judging = len(made) if study.judges_slices else 1
            realism = self._realism(study, shards[0].source)
            made[:judging] = [replace(trial, realism=realism) for trial in made[:judging]]
        return made

    def _shards_of(self, study: Study, cell: Cell, prepared: PrepareStage) -> tuple[ShardStage, ...]:
        source = self._source(study, cell.variant, prepared)
        return self._first_shards(study, source, study.synthetic_count(cell.paper_count)) if source else ()

    def _source(self, study: Study, variant: Variant, prepared: PrepareStage) -> SourceStage | None:
        if variant in GANS:
            return self._gan(study, study.gan_for(variant), prepared)
        if variant in PASTED:
            return self.lesions_stage(study.paste_for(variant), prepared)
        if variant in INPAINTED:
            return self.inpainter_stage(study.inpaint_for(variant), prepared, study.resources.gan)
        return None

    def _gan(self, study: Study, config: GANConfig, prepared: PrepareStage) -> GANStage:
        feedback = None
        if config.traits.needs_detector:
            # A seed that no trial uses: the trials' real-only detectors judge the synthetic slices, and a detector
            # that the generator was optimised against would be biased in its favour. The seed is far from the usual
            # ones, so that a study that gets more seeds keeps its GAN.
            seed = next(seed for seed in itertools.count(FIRST_FEEDBACK_SEED) if seed not in study.seeds)
            feedback = self._real_only_detector(seed, prepared)
        return self.gan_stage(config, prepared, study.resources.gan, feedback)

    def _first_shards(self, study: Study, source: SourceStage, slices: int) -> tuple[ShardStage, ...]:
        """As many shards as hold `slices` slices."""
        shards = self._shards.setdefault((source.key, study.synthesis.model_dump_json()), [])
        needed = -(-slices // study.synthesis.shard_size)
        shards += [self._shard(study, source, number) for number in range(len(shards), needed)]
        return tuple(shards[:needed])

    def _shard(self, study: Study, source: SourceStage, number: int) -> ShardStage:
        match source:
            case GANStage():
                return self.synthesize_stage(study.synthesis, source, number)
            case LesionsStage():
                return self.paste_stage(study.synthesis, source, number)
            case InpainterStage():
                return self.inpaint_stage(study.synthesis, source, number)
            case _:
                raise TypeError(f"no stage draws slices from {source.name}")

    def _real_only_detector(self, seed: int, prepared: PrepareStage) -> DetectorStage:
        config = self._study.detector.model_copy(update={"seed": seed})
        return self.detector_stage(config, prepared, (), 0, self._study.resources.detector)

    def _realism(self, study: Study, source: SourceStage) -> RealismStage:
        """Judged by a detector of real slices only, that of the arm `none` with the first seed if the study has it."""
        shards = self._first_shards(study, source, study.realism.slices)
        detector = self._real_only_detector(study.seeds[0], source.slices)
        return self.realism_stage(study.realism, study.evaluation, shards, detector)
