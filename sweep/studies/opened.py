"""A study opened for a command: resolved with what the store remembers, its trials, and its search's database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from search_spaces.study import Resolved, Study
from sweep.databases import will_be_made
from sweep.plan import Plan, TrialMaker
from sweep.settings import Settings
from sweep.store import Store
from sweep.studies.cohort_kept import trial_maker
from sweep.studies.launch_options import options_in_effect, remember
from sweep.studies.optuna_study import Drawn, plan_drawn, read_drawn
from sweep.studies.records import LaunchOptions, StudyRecord
from sweep.studies.resolving import resolve
from trainers.exceptions import ConfigError


@dataclass(frozen=True)
class OpenedStudy:
    """A study with its store and database; made by `open_study`."""

    given: str
    """The study as the command line names it: shipped, a file, or launched."""
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

        Raises:
            CohortError: the cohort cannot be used.
        """
        return trial_maker(self.study, self.store, self.note, self.verify)

    def drawn(self) -> list[Drawn]:
        """The cells that its search has drawn so far.

        Raises:
            MetsweepError: as `read_drawn`.
        """
        return read_drawn(self.study, self.settings.optuna_storage)

    def plan(self, drawn: Sequence[Drawn] | None = None) -> Plan:
        """The plan with the cells that its search has drawn so far.

        Args:
            drawn: those cells; None reads them from the database.

        Raises:
            MetsweepError: as `maker` and `drawn`.
        """
        return plan_drawn(self.maker, self.study, self.drawn() if drawn is None else drawn)

    def extended(self, added: Mapping[str, Any]) -> OpenedStudy:
        """The same study with these additions instead of those that the store keeps.

        Raises:
            ConfigError: as `resolve`.
        """
        return replace(self, resolved=resolve(self.given, self.options, self.store, self.note, added))

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
) -> OpenedStudy:
    """Open a study by its shipped name or file, else the one launched by that name.

    Args:
        name: as the command line names the study.
        given: options of the command line.
        settings: where the store and the databases are.
        note: receives lines on what was taken from the last launch.
        launched: refuse a study that was not launched with the store.
        as_written: leave the options of the last launch aside.
        verify: read every file of the cohort, also those read before.

    Raises:
        StoreError: a launched study is wanted, and the store does not exist.
        ConfigError: as `options_in_effect` and `resolve`; or the study was not launched with this store.
        DamagedDocument: what the store keeps of the study cannot be read.
    """
    store = Store(settings.store)
    options = options_in_effect(name, given, store, note, as_written=as_written)
    resolved = resolve(name, options, store, note)
    if launched:
        _refuse_unlaunched(name, resolved.study, store)
    return OpenedStudy(
        name, options, resolved, store, _with_database(settings, resolved.study, store, note), note, verify
    )


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
        note(f"Optuna's database of the last launch is gone: {kept}. Cells that its search drew are unknown.")
        return settings
    note(f"Using the OPTUNA_STORAGE of the last launch: {kept}")
    return replace(settings, optuna_storage=kept)
