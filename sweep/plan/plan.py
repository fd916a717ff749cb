"""What a study would run: its trials, the stages they share, and what is in the store already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from search_spaces.cell import Cell
from search_spaces.study import Study
from sweep.plan.looks import Look
from sweep.plan.trial import Trial, TrialMaker
from sweep.settings import cache_folder
from sweep.stages import GANStage, PrepareStage, SourceStage, Stage
from sweep.store import Store
from trainers.data.cohort import MANIFEST, Cohort, open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.strip_program import command_program
from trainers.data.volume_tasks import content_of, plan_volumes
from trainers.exceptions import CohortError
from trainers.variants import GANS


@dataclass(frozen=True)
class Plan:
    """A study's trials, in the order of its arms, then those drawn so far; and their stages without repetition."""

    study: Study
    trials: tuple[Trial, ...]
    looks: tuple[Look, ...] = ()
    """Those that its race has taken; its trials are then those up to the next look."""
    held_up_by: tuple[Trial, ...] = ()
    """Trials of its race that failed or were stopped: further looks at their arms, or of the base at any, need them."""

    @cached_property
    def cells(self) -> dict[str, tuple[Trial, ...]]:
        """Name of a cell -> its trials, one per seed."""
        cells: dict[str, list[Trial]] = {}
        for trial in self.trials:
            cells.setdefault(trial.cell, []).append(trial)
        return {name: tuple(trials) for name, trials in cells.items()}

    @cached_property
    def drawn(self) -> int:
        """How many of its cells a search has drawn."""
        return len({trial.number for trial in self.trials} - {None})

    @cached_property
    def stages(self) -> dict[str, Stage]:
        """Stage key -> stage; every stage after its inputs."""
        stages: dict[str, Stage] = {}
        for trial in self.trials:
            for goal in trial.goals:
                goal.collect(stages)
        return stages

    @property
    def sources(self) -> dict[str, SourceStage]:
        """Stage key -> the stage that synthetic slices are drawn from."""
        return {key: stage for key, stage in self.stages.items() if isinstance(stage, SourceStage)}

    @property
    def gans(self) -> dict[str, GANStage]:
        """The sources that are GANs."""
        return {key: stage for key, stage in self.stages.items() if isinstance(stage, GANStage)}

    @cached_property
    def users(self) -> dict[str, list[Trial]]:
        """Stage key -> the trials that need the stage."""
        users: dict[str, list[Trial]] = {key: [] for key in self.stages}
        for trial in self.trials:
            for key in trial.stages:
                users[key].append(trial)
        return users

    @cached_property
    def keys(self) -> dict[str, list[str]]:
        """Stage name -> keys of the stages of that name."""
        keys: dict[str, list[str]] = {}
        for key, stage in self.stages.items():
            keys.setdefault(stage.name, []).append(key)
        return keys

    @cached_property
    def wanted(self) -> Counter[str]:
        """Stage name -> how many such stages would run if every trial ran its own."""
        wanted: Counter[str] = Counter()
        for key, stage in self.stages.items():
            wanted[stage.name] += len(self.users[key])
        return wanted

    @property
    def shared(self) -> int:
        """Stages saved by sharing: how many more would run if every trial ran its own."""
        return self.wanted.total() - len(self.stages)

    def missing(self, store: Store) -> dict[str, Stage]:
        """The stages whose artifacts are not in the store yet."""
        done_keys = {name: store.keys(name) for name in self.wanted}
        return {key: stage for key, stage in self.stages.items() if key not in done_keys[stage.name]}

    def unfinished(self, store: Store) -> list[Trial]:
        """Trials with a goal that is not in the store."""
        done_keys = {name: store.keys(name) for name in {goal.name for trial in self.trials for goal in trial.goals}}
        return [trial for trial in self.trials if any(goal.key not in done_keys[goal.name] for goal in trial.goals)]


def bytes_of(stages: Iterable[Stage]) -> int:
    """What stages will write, cautiously."""
    return round(sum(stage.bytes_written for stage in stages))


def plan_with(maker: TrialMaker, study: Study, drawn: Sequence[tuple[int, Cell]]) -> Plan:
    """Plan a study, a race with all seeds that it may take, with the cells drawn so far: (Optuna's number, cell).

    Raises:
        ConfigError: a cell's values are not allowed together.
    """
    maker.start_plan()
    enumerated = [trial for cell in study.cells() for trial in maker.trials(cell)]
    return Plan(study, (*enumerated, *(trial for number, cell in drawn for trial in maker.trials(cell, number))))


def make_trial_maker(study: Study, verify: bool = False) -> TrialMaker:
    """The maker of a study's trials, after a check of its cohort.

    With `verify` every file of the cohort is read, even those that have not changed since they were last read.

    Raises:
        CohortError: the cohort is missing or unusable, a split would be without patients or lesions, or an arm is of
            `cpggan+normal` and there are no normal subjects.
    """
    if not Path(study.cohort).exists():
        raise CohortError(
            f"There is no cohort folder {study.cohort}, which study {study.name} needs. If the folder has moved, add "
            "--cohort PATH: results are found by the cohort's content, not by its path. Without a cohort, `metsweep "
            "cohort demo OUT` makes one to begin with."
        )
    cohort = open_cohort(Path(study.cohort))
    cache = CohortCache(cache_folder(), verify)
    fingerprint = content_of(cohort, study.prepare, cache.digest)
    for split in study.splits:
        identity = [fingerprint, split.model_dump(mode="json")]
        cache.once(identity, lambda split=split: plan_volumes(cohort, split, cache))
    cache.keep()
    _check_normal_subjects(study, cohort)
    program = command_program(study.prepare.strip)
    folder = cohort.folder.absolute()
    return TrialMaker(study, PrepareStage(study.prepare, cohort=folder, fingerprint=fingerprint, strip_program=program))


def _check_normal_subjects(study: Study, cohort: Cohort) -> None:
    needing = [variant for variant in study.used_variants if variant in GANS and GANS[variant].needs_normals]
    if needing and not any(subject.kind == "normal" for subject in cohort.subjects):
        raise CohortError(
            f"{cohort.folder / MANIFEST}: 0 of {len(cohort.subjects)} subjects are of kind normal, but the study "
            f"{study.name} has an arm of {needing[0]}, whose GAN needs at least 1. Add normal subjects to the cohort, "
            "or leave that arm out of the study."
        )
