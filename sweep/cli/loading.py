"""Studies as the commands see them: file, options of the last launch, and what `metsweep extend` added."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cli import talk
from sweep.cli.places import for_everywhere, from_here, with_database

if TYPE_CHECKING:
    from search_spaces.layers import Layer
    from search_spaces.study import Study
    from sweep.plan import Plan
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.studies.records import LaunchOptions, StudyRecord
    from trainers.exceptions import ConfigError


def load(
    study: str,
    fidelity: str | None,
    cohort: str | Path | None,
    overrides: Sequence[str] | None,
    store: Store,
    *,
    as_written: bool = False,
) -> Study:
    """A study by its shipped name or file, with what the store remembers of it; else the one launched by that name.

    `--fidelity`, `--cohort` and all `--set` together each count as they were given at the last launch unless they are
    given again; what was remembered is said on stderr. What `metsweep extend` added lies over the study file and under
    `--set`.

    Args:
        as_written: leave the options of the last launch aside.

    Raises:
        ConfigError: as `search_spaces.study.resolve_study`, or an option needs the file of a study that has none here.
    """
    return extended(study, options_for(study, fidelity, cohort, overrides, store, as_written=as_written), store)


def load_launched(
    study: str, fidelity: str | None, cohort: str | Path | None, overrides: Sequence[str] | None, store: Store
) -> Study:
    """`load` of a study that must have been launched with the store.

    Raises:
        StoreError: there is no such store.
        ConfigError: as `load`, or it was not launched with this store.
    """
    resolved = load(study, fidelity, cohort, overrides, store)
    store.check_there()
    check_launched(resolved, study, store)
    return resolved


def check_launched(resolved: Study, study: str, store: Store) -> None:
    """Refuse a study that was not launched with a store.

    Args:
        resolved: the study.
        study: as it was given.

    Raises:
        ConfigError: says how to launch it.
    """
    from sweep.studies.records import StudyRecord
    from trainers.exceptions import ConfigError

    if not StudyRecord(store, resolved.name).is_launched:
        raise ConfigError(
            f"Study {resolved.name} was not launched with the store {store.uri} yet. Next: metsweep launch {study}, or "
            "set METSWEEP_STORE (--store) to the store that it was launched with."
        )


def load_plan(
    study: str,
    fidelity: str | None,
    cohort: str | Path | None,
    overrides: Sequence[str] | None,
    store: Store,
    settings: Settings,
) -> tuple[Plan, Settings]:
    """The plan of such a study, with the cells that its search has drawn so far, and the settings that name them.

    Raises:
        MetsweepError: as `load_launched`, `trial_maker` and `read_drawn`.
    """
    from sweep.cli.cohort_kept import trial_maker
    from sweep.plan.plan import plan_with
    from sweep.studies.optuna_study import read_drawn

    resolved = load_launched(study, fidelity, cohort, overrides, store)
    settings = with_database(settings, resolved, store)
    drawn = [(one.number, one.cell) for one in read_drawn(resolved, settings.optuna_storage)]
    return plan_with(trial_maker(resolved, store), resolved, drawn), settings


def options_for(
    study: str,
    fidelity: str | None,
    cohort: str | Path | None,
    overrides: Sequence[str] | None,
    store: Store,
    *,
    as_written: bool = False,
) -> LaunchOptions:
    """The options that count: those given, else those of the last launch, of which one line on stderr tells.

    A study that only the store knows has those of the last launch in it already: the given come on top.

    Raises:
        ConfigError: unknown study, or an option that needs the file of a study that only the store knows.
    """
    from search_spaces.layers import Layer
    from search_spaces.study import study_name
    from sweep.studies.records import LaunchOptions, StudyRecord

    given = LaunchOptions(
        fidelity=fidelity, cohort=None if cohort is None else str(cohort), overrides=tuple(overrides or ())
    )
    source = _source(study, store)
    if isinstance(source, Layer):
        if as_written or fidelity is not None:
            raise _needs_the_file(source, "--as-written" if as_written else f"--fidelity {fidelity}")
        return given
    name = study_name(source, given.overrides)
    if name is None or as_written:
        return given
    kept = StudyRecord(store, name).options()
    remembered = LaunchOptions(
        fidelity=from_here(kept.fidelity) if given.fidelity is None else None,
        cohort=from_here(kept.cohort) if given.cohort is None else None,
        overrides=() if given.overrides else kept.overrides,
    )
    if str(remembered):
        talk.note(f"As at the last launch: {remembered}", err=True)
    return LaunchOptions(
        fidelity=given.fidelity or remembered.fidelity,
        cohort=given.cohort or remembered.cohort,
        overrides=given.overrides or remembered.overrides,
    )


def remember(study: str, options: LaunchOptions, resolved: Study, store: Store, settings: Settings) -> None:
    """Keep the options of a launch for the commands that follow, with places that hold in any working directory.

    Args:
        study: as it was given; one that only the store knows keeps what it was launched with before, too.
        options: as they were given.
        resolved: what is launched.
        store: where they are kept.
        settings: that it is launched with; of them Optuna's database is kept, if it is a file.
    """
    from search_spaces.study import is_study_file, read_study
    from sweep.databases import absolute, sqlite_file
    from sweep.studies.records import StudyRecord

    record = StudyRecord(store, resolved.name)
    given = for_everywhere(options)
    if sqlite_file(settings.optuna_storage) is not None:  # other URIs may hold a password
        given = given.model_copy(update={"optuna": absolute(settings.optuna_storage)})
    if not is_study_file(study):
        record.keep_options(_on_top(record.options(), given))
        return
    written = read_study(study).values.get("cohort")
    if isinstance(written, str) and not os.path.isabs(written) and not _sets_cohort(options):
        given = given.model_copy(update={"places": {written: os.path.abspath(resolved.cohort)}})
    record.keep_options(given)


def _source(study: str, store: Store) -> str | Layer:
    """The name itself of a shipped study or a file, else all values of the study that was launched by that name.

    Raises:
        ConfigError: there is no such study; lists what there is.
    """
    from search_spaces.layers import Layer
    from search_spaces.study import is_study_file, unknown_study
    from sweep.studies.records import StudyRecord, launched_studies
    from trainers.exceptions import ConfigError

    if is_study_file(study):
        return study
    launched = launched_studies(store)
    values = StudyRecord(store, study).launched() if study in launched else None
    if values is None:
        unknown = unknown_study(study, {f"launched with the store {store.uri}: ": launched})
        if store.is_there():
            raise unknown
        raise ConfigError(
            f"{unknown} And there is no store {store.uri}: METSWEEP_STORE (--store) names the one that a study was "
            "launched with."
        )
    return Layer(f"{study} as launched with the store {store.uri}", values)


def _needs_the_file(launched: Layer, option: str) -> ConfigError:
    from trainers.exceptions import ConfigError

    return ConfigError(
        f"{option}: {launched.source} has its fidelity's values and those of the command line in it. To change them, "
        "give the study's YAML file instead of its name."
    )


def _on_top(kept: LaunchOptions, given: LaunchOptions) -> LaunchOptions:
    return kept.model_copy(
        update={
            "cohort": given.cohort or kept.cohort,
            "overrides": (*kept.overrides, *given.overrides),
            "optuna": given.optuna,
        }
    )


def _sets_cohort(options: LaunchOptions) -> bool:
    return options.cohort is not None or any(one.startswith("cohort=") for one in options.overrides)


def extended(study: str, options: LaunchOptions, store: Store, added: Mapping[str, Any] | None = None) -> Study:
    """A study under these options, with what was added to it; `added` instead of what the store keeps.

    A relative cohort of its own is the folder that it was at the last launch, whatever is called so here.

    Raises:
        ConfigError: an older version kept a relative cohort, and the folder of that name here is another.
    """
    from search_spaces.layers import Layer
    from search_spaces.study import resolve_study
    from sweep.studies.records import StudyRecord

    chosen = {"fidelity": options.fidelity, "cohort": options.cohort, "overrides": options.overrides}
    source = _source(study, store)
    base = resolve_study(source, **chosen).study
    record = StudyRecord(store, base.name)
    added = record.extension() if added is None else added
    if added:
        base = resolve_study(source, **chosen, extension=Layer("metsweep extend", _over(base, added))).study
    if _sets_cohort(options) or os.path.isabs(base.cohort):
        return base
    if isinstance(source, Layer):
        _refuse_another_cohort(base, record)
    place = record.options().places.get(base.cohort)
    if place is None or place == os.path.abspath(base.cohort):
        return base
    talk.note(f"As at the last launch: cohort {place}", err=True)
    return base.model_copy(update={"cohort": place})


def _refuse_another_cohort(launched: Study, record: StudyRecord) -> None:
    """Raise ConfigError unless the folder here is the cohort of a study that was kept with a relative path."""
    from sweep.plan.plan import make_trial_maker
    from trainers.exceptions import CohortError, ConfigError

    try:
        same = make_trial_maker(launched).slices.key in record.needs().get("prepare", set())
    except CohortError:
        same = False
    if not same:
        raise ConfigError(
            f"Study {launched.name} was launched by an older version, which noted its cohort as {launched.cohort!r} "
            f"without saying where; {os.path.abspath(launched.cohort)} is not it. Give --cohort, or go to the folder "
            "that it was launched from."
        )


def _over(base: Study, added: Mapping[str, Any]) -> dict[str, Any]:
    """The values that seeds, cells to draw and arms get when these are added: more, never fewer."""
    values: dict[str, Any] = {}
    if "seeds" in added:
        values["seeds"] = [*base.seeds, *(seed for seed in added["seeds"] if seed not in base.seeds)]
    if "trials" in added:
        values["search"] = {"trials": max(base.search.trials, added["trials"])}
    if "arms" in added:
        arms = [[arm.variant, list(arm.counts)] for arm in base.arms]
        for variant, counts in added["arms"]:
            there = {count for known, some in arms for count in some if known == variant}
            new = [count for count in counts if count not in there]
            last = next((arm for arm in reversed(arms) if arm[0] == variant), None)
            if last is not None:
                last[1].extend(new)
            elif new:
                arms.append([variant, new])
        values["arms"] = [{"variant": variant, "counts": counts} for variant, counts in arms]
    return values
