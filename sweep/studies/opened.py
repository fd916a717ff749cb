"""A study opened for a command: resolved with what the store remembers, its trials, and its search's database."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from search_spaces.layers import Layer
from search_spaces.search import Prices
from search_spaces.study import Resolved, Study
from sweep.databases import will_be_made
from sweep.plan import Plan, TrialMaker
from sweep.plan.plan import make_trial_maker
from sweep.settings import Settings
from sweep.stages import PrepareStage
from sweep.store import Store
from sweep.studies.launch_options import options_in_effect, remember
from sweep.studies.optuna_study import Drawn, plan_drawn, read_drawn
from sweep.studies.records import LaunchOptions, StudyRecord
from sweep.studies.resolving import resolve, source_of
from trainers.exceptions import CohortError, ConfigError


@dataclass(frozen=True)
class OpenedStudy:
    """A study with its store and database; made by `open_study`."""

    given: str
    """The study as the command line names it: shipped, a file, or launched."""
    source: str | Layer
    """Of its values, as `source_of` gives it."""
    options: LaunchOptions
    """Those given, else those of the last launch."""
    resolved: Resolved
    store: Store
    settings: Settings
    """With the database that holds the cells of the study's search."""
    note: Callable[[str], None]
    """Receives lines on what was taken from the last launch."""
    verify: bool = False
    """Whether every file of the cohort is read, also those read before."""

    @property
    def study(self) -> Study:
        """Resolved, with what `metsweep extend` added."""
        return self.resolved.study

    @property
    def record(self) -> StudyRecord:
        """What the store keeps of the study beside its artifacts."""
        return StudyRecord(self.store, self.study.name)

    @cached_property
    def maker(self) -> TrialMaker:
        """Makes the trials of the study's cells.

        If the cohort folder no longer exists, its fingerprint is read from the slice set in the store.

        Raises:
            CohortError: the cohort cannot be used; or its folder does not exist, and the store has no slice set of it.
        """
        try:
            return make_trial_maker(self.study, self.verify)
        except CohortError:
            identity = None if Path(self.study.cohort).exists() else self._kept_identity()
            if identity is None:
                raise
        folder = Path(self.study.cohort).absolute()
        self.note(
            f"The cohort folder {folder} does not exist, so trials are those of the last launch's cohort. If the "
            "folder has moved, add --cohort PATH."
        )
        fingerprint, program = str(identity["cohort"]), identity.get("strip_program")
        stage = PrepareStage(self.study.prepare, cohort=folder, fingerprint=fingerprint, strip_program=program)
        return TrialMaker(self.study, stage)

    def _kept_identity(self) -> Mapping[str, Any] | None:
        """Of the slice set at the last launch, if its cohort was the folder that the study names now."""
        if (self.record.launched() or {}).get("cohort") != os.path.abspath(self.study.cohort):
            return None
        name = PrepareStage.name
        artifacts = [self.store.find(name, key) for key in self.record.needs().get(name, set())]
        return next((artifact.manifest.identity for artifact in artifacts if artifact), None)

    def drawn(self) -> list[Drawn]:
        """The cells that its search has drawn so far; errors as `read_drawn`."""
        return read_drawn(self.study, self.settings.optuna_storage)

    def plan(self, drawn: Sequence[Drawn] | None = None) -> Plan:
        """The plan with the cells that its search has drawn so far: these, or those that `drawn` reads; of a race up to
        the next look."""
        whole = self.whole_plan(drawn)
        if not self.study.search.races:
            return whole
        from sweep.plan.racing import race

        return race(whole, self.store, self.record.outcomes())

    def whole_plan(self, drawn: Sequence[Drawn] | None = None) -> Plan:
        """The same, of a race with all trials that it may take."""
        return plan_drawn(self.maker, self.study, self.drawn() if drawn is None else drawn)

    def extended(self, added: Mapping[str, Any]) -> OpenedStudy:
        """The same study with these additions instead of those that the store keeps; errors as `resolve`."""
        resolved = resolve(self.source, self.options, self.store, self.note, added)
        return replace(self, resolved=_priced(resolved, self.settings))

    def remember_options(self) -> None:
        """Keep the options for the commands that follow a launch."""
        remember(self.given, self.options, self.resolved, self.store, self.settings.optuna_storage)


def open_study(
    name: str,
    given: LaunchOptions,
    settings: Settings,
    note: Callable[[str], None],
    *,
    launched: bool = True,
    as_written: bool = False,
    verify: bool = False,
    store: Store | None = None,
) -> OpenedStudy:
    """Open a study by its shipped name or file, else the one launched by that name.

    Args:
        given: options of the command line.
        note: receives lines on what was taken from the last launch.
        launched: refuse a study that was not launched with the store.
        as_written: leave the options of the last launch aside.
        verify: read every file of the cohort, also those read before.
        store: that of the settings, if it is open already.

    Raises:
        StoreError: a launched study is wanted, and the store does not exist.
        ConfigError: as `source_of`, `options_in_effect` and `resolve`; or the study was not launched with this store.
        DamagedDocument: what the store keeps of the study cannot be read.
    """
    store = store or Store(settings.store)
    source = source_of(name, store)
    options = options_in_effect(source, given, store, note, as_written=as_written)
    resolved = _priced(resolve(source, options, store, note), settings)
    if launched:
        _refuse_unlaunched(name, resolved.study, store)
    settings = _with_database(settings, resolved.study, store, note)
    return OpenedStudy(name, source, options, resolved, store, settings, note, verify)


def _priced(resolved: Resolved, settings: Settings) -> Resolved:
    """With the prices of the settings where the study has none."""
    if resolved.study.prices != Prices():
        return resolved
    return replace(resolved, study=resolved.study.model_copy(update={"prices": settings.prices}))


def _refuse_unlaunched(name: str, study: Study, store: Store) -> None:
    store.check_there()
    if not StudyRecord(store, study.name).is_launched:
        raise ConfigError(
            f"Study {study.name} was not launched with the store {store.uri} yet. Next: metsweep launch {name}, or set "
            "METSWEEP_STORE (--store) to the store that it was launched with."
        )


def _with_database(settings: Settings, study: Study, store: Store, note: Callable[[str], None]) -> Settings:
    """Settings with Optuna's database of a search's last launch, where they name a file that does not exist."""
    if not study.search.draws or not will_be_made(settings.optuna_storage):
        return settings
    kept = StudyRecord(store, study.name).options().optuna
    if kept is None:
        return settings
    if will_be_made(kept):
        note(f"Optuna's database of the last launch does not exist: {kept}. Cells that its search drew are unknown.")
        return settings
    note(f"Using the OPTUNA_STORAGE of the last launch: {kept}")
    return settings.model_copy(update={"optuna_storage": kept})
