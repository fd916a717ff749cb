"""From a study to trials and their stages: what would run, what is shared, what is there already."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from search_spaces.study import Study, Variant
from sweep.stages import (
    DetectorStage,
    EvaluateStage,
    GANStage,
    PrepareStage,
    RealismStage,
    Stage,
    SynthesizeStage,
)
from sweep.store import Store
from trainers.data.cohort import MANIFEST, Cohort, open_cohort
from trainers.data.prepare import check_cohort
from trainers.exceptions import CohortError
from trainers.gan.config import GANVariant

GAN_BYTES, DETECTOR_BYTES = 1_000_000_000, 4_000_000_000
"""A training run of the paper's widths: the model, and two checkpoints of weights, averages and Adam's moments."""

FIRST_FEEDBACK_SEED = 1_000_000
"""Seed of the detector that `cpggan+detector` learns from, unless a trial uses it."""


@dataclass(frozen=True)
class Trial:
    """One detector: an arm (variant x synthetic count) with one seed."""

    variant: Variant
    count: int
    """Synthetic slices, at the study's scale."""
    seed: int
    evaluate: EvaluateStage
    """What the trial is for; its inputs lead to all that it needs."""
    realism: RealismStage | None = None
    """Figures of the trial's GAN, in the first trial of each GAN."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that a search drew for it, by their dotted keys; none in an ablation."""
    number: int | None = None
    """Its number in the Optuna study; None in an ablation."""

    @property
    def arm(self) -> str:
        """Name of the arm, e.g. `cpggan 4000`."""
        return f"{self.variant} {self.count}" if self.count else "none"

    @property
    def name(self) -> str:
        """Name of the trial, e.g. `cpggan 4000 seed 0`."""
        return f"{self.arm} seed {self.seed}"

    @property
    def goals(self) -> tuple[Stage, ...]:
        """The stages that nothing else reads; the trial is done when they are."""
        return (self.evaluate, self.realism) if self.realism else (self.evaluate,)

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Stage key -> every stage that the trial needs, after its inputs."""
        return {stage.key: stage for goal in self.goals for stage in goal.inputs_first()}

    @property
    def gan(self) -> GANStage | None:
        """The GAN stage that this trial shares with others of its variant; None in the real-only arm."""
        shards = self.evaluate.detector.shards
        return shards[0].gan if shards else None


@dataclass(frozen=True)
class Plan:
    """A study's trials, in the order of its arms, and their stages without repetition."""

    study: Study
    trials: tuple[Trial, ...]

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Stage key -> stage; every stage after its inputs."""
        found: dict[str, Stage] = {}
        for trial in self.trials:
            found |= {key: stage for key, stage in trial.stages.items() if key not in found}
        return found

    @property
    def gans(self) -> dict[str, GANStage]:
        """Stage key -> GAN stage."""
        return {key: stage for key, stage in self.stages.items() if isinstance(stage, GANStage)}

    @property
    def shared(self) -> int:
        """Stages saved by sharing: how many more would run if every trial ran its own."""
        return sum(len(trial.stages) for trial in self.trials) - len(self.stages)

    def missing(self, store: Store) -> dict[str, Stage]:
        """The stages whose artifacts are not in the store yet."""
        return {key: stage for key, stage in self.stages.items() if store.find(stage.name, key) is None}

    def bytes_of(self, stages: Mapping[str, Stage]) -> int:
        """What stages will write, cautiously: slices, and each training run's model and checkpoints."""
        pixels = self.study.prepare.size**2
        drawn = sum(isinstance(stage, SynthesizeStage) for stage in stages.values()) * self.study.synthesis.shard_size
        gans = sum(isinstance(stage, GANStage) for stage in stages.values())
        detectors = sum(isinstance(stage, DetectorStage) for stage in stages.values())
        gan_width = self.study.gan.width * max(self.study.gan.widths) / 512
        return round(
            drawn * pixels + gans * GAN_BYTES * gan_width**2 + detectors * DETECTOR_BYTES * self.study.detector.width**2
        )

    def execution_order(self) -> list[Trial]:
        """Trials that are the first to need a GAN come first, so that no worker idles while another trains it."""
        first = {trial.gan.key: trial for trial in reversed(self.trials) if trial.gan}
        return sorted(self.trials, key=lambda trial: trial not in first.values())


def make_plan(study: Study) -> Plan:
    """Plan a study on its cohort.

    Raises:
        CohortError: the cohort is missing or unusable, a split would be without patients or lesions, or an arm is of
            `cpggan+normal` and there are no normal subjects.
    """
    cohort = check_cohort(open_cohort(Path(study.cohort)), study.prepare)
    _check_normal_subjects(study, cohort)
    prepared = PrepareStage(study.prepare, cohort=cohort.folder.absolute(), fingerprint=cohort.fingerprint())
    trials = [
        _trial(study, prepared, arm.variant, study.synthetic_count(count), seed)
        for arm in study.arms
        for count in arm.counts
        for seed in study.seeds
    ]
    return Plan(study, tuple(_with_realism(study, trials)))


def seconds_of_stages(store: Store) -> dict[str, float]:
    """Stage name -> median seconds of the stages in the store."""
    names = ("prepare", "gan", "synthesize", "detector", "evaluate", "realism")
    costs = {name: [artifact.manifest.cost.seconds for artifact in store.artifacts(name)] for name in names}
    return {name: statistics.median(seconds) for name, seconds in costs.items() if seconds}


def _check_normal_subjects(study: Study, cohort: Cohort) -> None:
    if any(arm.variant == "cpggan+normal" for arm in study.arms) and not any(
        subject.kind == "normal" for subject in cohort.subjects
    ):
        raise CohortError(
            f"{cohort.folder / MANIFEST}: 0 of {len(cohort.subjects)} subjects are of kind normal, but the study "
            f"{study.name} has an arm of cpggan+normal, whose GAN needs at least 1. Add normal subjects to the cohort, "
            "or leave that arm out of the study."
        )


def _trial(study: Study, prepared: PrepareStage, variant: Variant, count: int, seed: int) -> Trial:
    shards: tuple[SynthesizeStage, ...] = ()
    if variant != "none":
        feedback = _feedback_detector(study, prepared) if variant == "cpggan+detector" else None
        gan = GANStage(study.gan_for(cast(GANVariant, variant)), prepared, study.resources.gan, feedback)
        shards = _shards(study, gan, count)
    config = study.detector.model_copy(update={"seed": seed})
    detector = DetectorStage(config, prepared, shards, count, study.resources.detector)
    return Trial(variant, count, seed, EvaluateStage(study.evaluation, detector))


def _feedback_detector(study: Study, prepared: PrepareStage) -> DetectorStage:
    # A seed that no trial uses: the trials' real-only detectors judge synthetic slices (do they find the boxes?), and
    # the very one that the generator was optimised against would praise its own pupil. It is far from the usual seeds,
    # so that the same study with more of them keeps its GAN.
    seed = next(seed for seed in itertools.count(FIRST_FEEDBACK_SEED) if seed not in study.seeds)
    return _real_only(study, prepared, seed)


def _real_only(study: Study, prepared: PrepareStage, seed: int) -> DetectorStage:
    config = study.detector.model_copy(update={"seed": seed})
    return DetectorStage(config, prepared, shards=(), count=0, workers=study.resources.detector)


def _shards(study: Study, gan: GANStage, slices: int) -> tuple[SynthesizeStage, ...]:
    """As many as hold `slices` slices."""
    needed = -(-slices // study.synthesis.shard_size)
    return tuple(SynthesizeStage(study.synthesis, gan, shard) for shard in range(needed))


def _with_realism(study: Study, trials: Sequence[Trial]) -> Iterator[Trial]:
    """The trials; the first of each GAN also looks at its slices, with a detector that has seen real slices only."""
    seen: set[str] = set()
    for trial in trials:
        if trial.gan is None or trial.gan.key in seen:
            yield trial
            continue
        seen.add(trial.gan.key)
        shards = _shards(study, trial.gan, study.realism.slices)
        # That of the arm `none` and the first seed, where the study has that arm.
        detector = _real_only(study, trial.evaluate.detector.slices, study.seeds[0])
        yield replace(trial, realism=RealismStage(study.realism, study.evaluation, shards, detector))
