"""A trial, and how a study's cells become trials."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from search_spaces.cell import Cell
from search_spaces.study import Study
from sweep.stages import (
    DetectorStage,
    EvaluateStage,
    GANStage,
    PrepareStage,
    RealismStage,
    Stage,
    SynthesizeStage,
)
from trainers.gan.config import GANConfig
from trainers.variants import GANS, Variant

FIRST_FEEDBACK_SEED = 1_000_000
"""Seed of the detector that `cpggan+detector` learns from, unless a trial uses it."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One detector: an arm (variant x synthetic count) with hyperparameters and one seed."""

    variant: Variant
    count: int
    """Synthetic slices, at the study's scale."""
    seed: int
    evaluate: EvaluateStage
    """The trial's result; its inputs lead to all stages that the trial needs."""
    realism: RealismStage | None = None
    """Figures of the trial's GAN, in the first trial of each GAN."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Dotted key -> value of what a search drew for its cell, beside variant and count."""
    number: int | None = None
    """Number of the drawn cell in Optuna's study; None if the study's arms enumerate the cell."""

    @property
    def arm(self) -> str:
        """Name of the arm, e.g. `cpggan 4000`."""
        return f"{self.variant} {self.count}" if self.count else self.variant

    @property
    def cell(self) -> str:
        """Name of what is trained once per seed: the arm, or e.g. `t7 cpggan 4000` if the cell was drawn."""
        return self.arm if self.number is None else f"t{self.number} {self.arm}"

    @property
    def name(self) -> str:
        """Name of the trial, e.g. `cpggan 4000 seed 0`."""
        return f"{self.cell} seed {self.seed}"

    @property
    def goals(self) -> tuple[Stage, ...]:
        """The stages that no other stage reads; the trial is done when they are."""
        return (self.evaluate, self.realism) if self.realism else (self.evaluate,)

    @property
    def own_goals(self) -> tuple[Stage, ...]:
        """The goals that the trial's own run in MLflow shows, not that of its GAN."""
        return tuple(goal for goal in self.goals if goal.run_kind == "trial")

    @property
    def stages(self) -> dict[str, Stage]:
        """Stage key -> every stage that the trial needs, after its inputs."""
        stages: dict[str, Stage] = {}
        for goal in self.goals:
            goal.collect(stages)
        return stages

    @property
    def gan(self) -> GANStage | None:
        """The GAN stage that this trial shares with others of its variant; None in the real-only arm."""
        shards = self.evaluate.detector.shards
        return shards[0].gan if shards else None


class TrialMaker:
    """Makes the trials of one study on one slice set.

    A subclass may name other stage classes, e.g. with trainers that only take time.
    """

    gan_stage: type[GANStage] = GANStage
    synthesize_stage: type[SynthesizeStage] = SynthesizeStage
    detector_stage: type[DetectorStage] = DetectorStage
    evaluate_stage: type[EvaluateStage] = EvaluateStage
    realism_stage: type[RealismStage] = RealismStage

    def __init__(self, study: Study, prepared: PrepareStage) -> None:
        self._study = study
        self.slices = prepared
        """The stage that makes the slice set of all trials."""
        self._shards: dict[tuple[str, str], list[SynthesizeStage]] = {}
        self._judged_gans: set[str] = set()

    def start_plan(self) -> None:
        """Let the first trial of each GAN judge that GAN's slices again."""
        self._judged_gans = set()

    def trials(self, cell: Cell, number: int | None = None) -> list[Trial]:
        """One trial per seed; the first trial of each GAN in a plan also judges that GAN's slices.

        Raises:
            ConfigError: the cell's values are not allowed together.
        """
        study = self._study.with_params(cell)
        shards = self._shards_of(study, cell)
        count = study.synthetic_count(cell.paper_count)
        params = dict(cell.params)
        made = []
        for seed in study.seeds:
            evaluate = self.evaluate_stage(study.evaluation, self._detector(study, seed, shards, count))
            made.append(Trial(cell.variant, count, seed, evaluate, params=params, number=number))
        if shards and shards[0].gan.key not in self._judged_gans:
            self._judged_gans.add(shards[0].gan.key)
            made[0] = replace(made[0], realism=self._realism(study, shards[0].gan))
        return made

    def _shards_of(self, study: Study, cell: Cell) -> tuple[SynthesizeStage, ...]:
        if cell.variant not in GANS:
            return ()
        gan = self._gan(study, study.gan_for(cell.variant))
        return self._first_shards(study, gan, study.synthetic_count(cell.paper_count))

    def _gan(self, study: Study, config: GANConfig) -> GANStage:
        feedback = None
        if config.traits.needs_detector:
            # A seed that no trial uses: the trials' real-only detectors judge the synthetic slices, and a detector
            # that the generator was optimised against would be biased in its favour. The seed is far from the usual
            # ones, so that a study that gets more seeds keeps its GAN.
            seed = next(seed for seed in itertools.count(FIRST_FEEDBACK_SEED) if seed not in study.seeds)
            feedback = self._detector(self._study, seed)
        return self.gan_stage(config, self.slices, study.resources.gan, feedback)

    def _first_shards(self, study: Study, gan: GANStage, slices: int) -> tuple[SynthesizeStage, ...]:
        """As many shards as hold `slices` slices."""
        shards = self._shards.setdefault((gan.key, study.synthesis.model_dump_json()), [])
        needed = -(-slices // study.synthesis.shard_size)
        shards += [self.synthesize_stage(study.synthesis, gan, shard) for shard in range(len(shards), needed)]
        return tuple(shards[:needed])

    def _detector(
        self, study: Study, seed: int, shards: tuple[SynthesizeStage, ...] = (), count: int = 0
    ) -> DetectorStage:
        config = study.detector.model_copy(update={"seed": seed})
        return self.detector_stage(config, self.slices, shards, count, study.resources.detector)

    def _realism(self, study: Study, gan: GANStage) -> RealismStage:
        """Judged by a detector of real slices only, that of the arm `none` with the first seed if the study has it."""
        shards = self._first_shards(study, gan, study.realism.slices)
        return self.realism_stage(study.realism, study.evaluation, shards, self._detector(self._study, study.seeds[0]))
