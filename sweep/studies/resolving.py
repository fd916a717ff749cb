"""Resolves a study: its file or what the store keeps of it, options, and what `metsweep extend` added."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from search_spaces.layers import Layer
from search_spaces.study import Resolved, Study, is_study_file, resolve_study, unknown_study
from sweep.plan.plan import make_trial_maker
from sweep.store import Store
from sweep.studies.records import LaunchOptions, StudyRecord, launched_studies
from trainers.exceptions import CohortError, ConfigError


def source_of(name: str, store: Store) -> str | Layer:
    """The name of a shipped study or a study file unchanged, else all values of the study that was launched by it.

    Raises:
        ConfigError: no shipped or launched study has that name; the message lists them.
    """
    if is_study_file(name):
        return name
    launched = launched_studies(store)
    values = StudyRecord(store, name).launched() if name in launched else None
    if values is None:
        unknown = unknown_study(name, {f"launched with the store {store.uri}: ": launched})
        if store.is_there():
            raise unknown
        raise ConfigError(
            f"{unknown} The store {store.uri} does not exist either: set METSWEEP_STORE (--store) to the store that "
            "the study was launched with."
        )
    return Layer(f"{name} as launched with the store {store.uri}", values)


def resolve(
    source: str | Layer,
    options: LaunchOptions,
    store: Store,
    note: Callable[[str], None],
    added: Mapping[str, Any] | None = None,
) -> Resolved:
    """The study of a source under these options, with what was added to it; `added` instead of what the store keeps.

    A relative cohort in the study's own file is the folder that it was at the last launch, whatever folder has that
    name here; `note` receives a line where the two differ.

    Raises:
        ConfigError: as `search_spaces.study.resolve_study`; or an older version kept a relative cohort, and the folder
            of that name here is another.
    """
    resolved = _resolve(source, options)
    record = StudyRecord(store, resolved.study.name)
    added = record.extension() if added is None else added
    if added:
        resolved = _resolve(source, options, Layer("metsweep extend", _enlarged(resolved.study, added)))
    study = resolved.study
    if not sets_own_cohort(resolved) or os.path.isabs(study.cohort):
        return resolved
    if isinstance(source, Layer):
        _refuse_another_cohort(study, record)
    folder = record.options().places.get(study.cohort)
    if folder is None or folder == os.path.abspath(study.cohort):
        return resolved
    note(f"Using the cohort of the last launch: {folder}")
    return replace(resolved, study=study.model_copy(update={"cohort": folder}))


def sets_own_cohort(resolved: Resolved) -> bool:
    """Whether the cohort is the one of the study's own file, not of an option."""
    origin = resolved.layers.origin(("cohort",))
    return origin is not None and origin[0].source == resolved.layers.own


def _resolve(source: str | Layer, options: LaunchOptions, extension: Layer | None = None) -> Resolved:
    return resolve_study(
        source, fidelity=options.fidelity, cohort=options.cohort, overrides=options.overrides, extension=extension
    )


def _refuse_another_cohort(launched: Study, record: StudyRecord) -> None:
    """Raise ConfigError unless the folder here is the cohort of a study that was kept with a relative path."""
    try:
        slices = make_trial_maker(launched).slices
        same = slices.key in record.needs().get(slices.name, set())
    except CohortError:
        same = False
    if not same:
        raise ConfigError(
            f"Study {launched.name} was launched by an older version, which noted its cohort as {launched.cohort!r} "
            f"without saying where; {os.path.abspath(launched.cohort)} is another cohort. Give --cohort, or change to "
            "the folder that the study was launched from."
        )


def _enlarged(base: Study, added: Mapping[str, Any]) -> dict[str, Any]:
    """The values that seeds, cells to draw and arms get when these are added: more, never fewer."""
    values: dict[str, Any] = {}
    if "seeds" in added:
        values["seeds"] = [*base.seeds, *(seed for seed in added["seeds"] if seed not in base.seeds)]
    if "trials" in added:
        values["search"] = {"trials": max(base.search.trials, added["trials"])}
    if "arms" in added:
        arms = [[arm.variant, list(arm.counts)] for arm in base.arms]
        for variant, counts in added["arms"]:
            planned = {count for arm, arm_counts in arms for count in arm_counts if arm == variant}
            new = [count for count in counts if count not in planned]
            last = next((arm for arm in reversed(arms) if arm[0] == variant), None)
            if last is not None:
                last[1].extend(new)
            elif new:
                arms.append([variant, new])
        values["arms"] = [{"variant": variant, "counts": counts} for variant, counts in arms]
    return values
