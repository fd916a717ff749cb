"""Resolves a study: its file or what the store keeps of it, options, and what `metsweep extend` added."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search_spaces.layers import Layer, merged, override_layer
from search_spaces.study import Resolved, Study, is_study_file, read_study, resolve_study, study_name, unknown_study
from sweep.plan.plan import make_trial_maker
from sweep.store import Store
from sweep.studies.records import LaunchOptions, StudyRecord, launched_studies
from trainers.exceptions import CohortError, ConfigError
from trainers.yaml_text import to_yaml

PLACES = ("cohort", "fidelity", "synthesis.review", "detector.model")
"""Keys of a study that are paths, or may be."""
NAMES_OR_PLACES = ("fidelity", "detector.model")


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

    A relative path in the study's own file is the file or folder that it was at the last launch, whatever has that
    name here; `note` receives a line where the two differ.

    Raises:
        ConfigError: as `search_spaces.study.resolve_study`; or an older version kept a relative cohort, and the folder
            of that name here is another.
    """
    moved = _moved(source, options, store)
    resolved = _resolve(source, options, moved)
    record = StudyRecord(store, resolved.study.name)
    added = record.extension() if added is None else added
    if added:
        resolved = _resolve(source, options, moved, Layer("metsweep extend", _enlarged(resolved.study, added)))
    if isinstance(source, Layer) and sets_itself(resolved, "cohort") and not os.path.isabs(resolved.study.cohort):
        _refuse_another_cohort(resolved.study, record)
    for key, path in moved.items():
        if sets_itself(resolved, key):
            note(f"Using the {key} of the last launch: {path}")
    return resolved


def own_places(values: Mapping[str, Any]) -> dict[str, str]:
    """Key -> relative path, of those that a study's own values name."""
    named = {key: value_at(values, key) for key in PLACES}
    return {key: value for key, value in named.items() if is_place(key, value) and not os.path.isabs(value)}


def value_at(values: Any, key: str) -> Any:
    """The value of a dotted key; None if there is none."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def is_place(key: str, value: Any) -> bool:
    """Whether the value of one of PLACES is a path; the names of fidelities and networks are none."""
    return isinstance(value, str) and value != "" and (key not in NAMES_OR_PLACES or value.endswith((".yaml", ".yml")))


def sets_itself(resolved: Resolved, key: str) -> bool:
    """Whether a dotted key's value is the one of the study's own file, not of an option."""
    origin = resolved.layers.origin(tuple(key.split(".")))
    return origin is not None and origin[0].source == resolved.layers.own


def _moved(source: str | Layer, options: LaunchOptions, store: Store) -> dict[str, str]:
    """Key -> path at the last launch, where the study's own file means another here."""
    own = source if isinstance(source, Layer) else read_study(source)
    name = study_name(own, options.overrides)
    kept = StudyRecord(store, name).options().places if name else {}
    moved = {key: kept.get(path, os.path.abspath(path)) for key, path in own_places(own.values).items()}
    return {
        key: before
        for key, before in moved.items()
        # A project's folder may have moved. Without its cohort a study can still be read from the store.
        if before != os.path.abspath(value_at(own.values, key)) and (key == "cohort" or Path(before).exists())
    }


def _resolve(
    source: str | Layer, options: LaunchOptions, moved: Mapping[str, str], extension: Layer | None = None
) -> Resolved:
    own_values: dict[str, Any] = {}
    for key, path in moved.items():
        own_values = merged(own_values, override_layer(f"{key}={to_yaml(path)}").values)
    return resolve_study(
        source,
        fidelity=options.fidelity,
        cohort=options.cohort,
        overrides=options.overrides,
        extension=extension,
        own_values=own_values,
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
        arms = [arm.model_dump(mode="json") for arm in base.arms]
        for variant, counts in added["arms"]:
            same = [arm for arm in arms if arm["variant"] == variant and "train_patients" not in arm]
            planned = {count for arm in same for count in arm["counts"]}
            new = [count for count in counts if count not in planned]
            if same:
                same[-1]["counts"] += new
            elif new:
                arms.append({"variant": variant, "counts": new})
        values["arms"] = arms
    return values
