"""Options of a study's launch, remembered in the store: later commands need not be given them again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search_spaces.layers import Layer
from search_spaces.study import Resolved, is_study_file, read_study, study_name
from sweep.databases import absolute, sqlite_file
from sweep.store import Store
from sweep.studies.records import LaunchOptions, StudyRecord
from sweep.studies.resolving import PLACES, is_place, own_places, sets_itself, value_at
from trainers.exceptions import ConfigError
from trainers.yaml_text import parse_yaml, to_yaml


def options_in_effect(
    source: str | Layer, given: LaunchOptions, store: Store, note: Callable[[str], None], *, as_written: bool = False
) -> LaunchOptions:
    """The options given, else those of the last launch; `note` receives a line on what was remembered.

    `--fidelity`, `--cohort` and all `--set` together each count as at the last launch unless they are given again. A
    study that only the store knows has them in its values already: the given come on top.

    Args:
        source: of the study, as `source_of` gives it.
        as_written: leave the options of the last launch aside.

    Raises:
        ConfigError: an option that needs the file of a study that only the store knows.
    """
    if isinstance(source, Layer):
        if as_written or given.fidelity is not None:
            option = "--as-written" if as_written else f"--fidelity {given.fidelity}"
            raise ConfigError(
                f"{option}: {source.source} includes the values of its fidelity and of the command line. To change "
                "them, give the study's YAML file instead of its name."
            )
        return given
    own_name = study_name(source, given.overrides)
    if own_name is None or as_written:
        return given
    kept = StudyRecord(store, own_name).options()
    remembered = LaunchOptions(
        fidelity=_from_here(kept.fidelity) if given.fidelity is None else None,
        cohort=_from_here(kept.cohort) if given.cohort is None else None,
        overrides=() if given.overrides else kept.overrides,
    )
    if str(remembered):
        note(f"Using the options of the last launch: {remembered}")
    return LaunchOptions(
        fidelity=given.fidelity or remembered.fidelity,
        cohort=given.cohort or remembered.cohort,
        overrides=given.overrides or remembered.overrides,
    )


def remember(name: str, options: LaunchOptions, resolved: Resolved, store: Store, optuna: str) -> None:
    """Keep the options of a launch for the commands that follow, with places that hold in any working directory.

    Args:
        name: the study as the command line names it; one that only the store knows also keeps its former options.
        optuna: URI of Optuna's database, which is kept if it is an SQLite file: others may hold a password.
    """
    record = StudyRecord(store, resolved.study.name)
    kept = _for_everywhere(options)
    if sqlite_file(optuna) is not None:
        kept = kept.model_copy(update={"optuna": absolute(optuna)})
    if not is_study_file(name):
        record.keep_options(_on_top(record.options(), kept))
        return
    own = {key: path for key, path in own_places(read_study(name).values).items() if sets_itself(resolved, key)}
    places = {path: os.path.abspath(value_at(resolved.layers.values, key)) for key, path in own.items()}
    record.keep_options(kept.model_copy(update={"places": places}))


def _on_top(kept: LaunchOptions, given: LaunchOptions) -> LaunchOptions:
    overrides = (*kept.overrides, *given.overrides)
    return kept.model_copy(
        update={"cohort": given.cohort or kept.cohort, "overrides": overrides, "optuna": given.optuna}
    )


def _for_everywhere(options: LaunchOptions) -> LaunchOptions:
    """Options whose paths also hold in other working directories."""
    return options.model_copy(
        update={
            "fidelity": _absolute("fidelity", options.fidelity),
            "cohort": _absolute("cohort", options.cohort),
            "overrides": tuple(map(_override_for_everywhere, options.overrides)),
        }
    )


def _override_for_everywhere(override: str) -> str:
    key, _, text = override.partition("=")
    value, _ = parse_yaml(text, lambda _: f"--set {override}")
    changed = value
    for place in PLACES:
        section, _, inner = place.partition(".")
        if key == place:
            changed = _absolute(place, value)
        elif key == section and isinstance(changed, dict) and inner in changed:
            changed = changed | {inner: _absolute(place, changed[inner])}
    return override if changed == value else f"{key}={to_yaml(changed)}"


def _absolute(key: str, path: Any) -> Any:
    """An existing path made absolute; anything else, e.g. a shipped fidelity's name, stays."""
    return os.path.abspath(path) if is_place(key, path) and Path(path).exists() else path


def _from_here(path: str | None) -> str | None:
    """A remembered path as a person would write it in this working directory."""
    if path is not None and os.path.isabs(path) and Path(path).is_relative_to(Path.cwd()):
        return os.path.relpath(path)
    return path
