"""Places that a launch was given, kept so that they hold in any working directory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.cli import talk

if TYPE_CHECKING:
    from search_spaces.study import Study
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.studies.records import LaunchOptions

PLACES = ("cohort", "fidelity", "synthesis.review")
"""Keys of a study that are paths."""


def with_database(settings: Settings, study: Study, store: Store) -> Settings:
    """Settings with Optuna's database of a search's last launch, where they name a file that is not there.

    What is taken is said on stderr, and so is a file of the last launch that is gone.

    Raises:
        DamagedDocument: what the store keeps of the last launch cannot be read.
    """
    from sweep.databases import will_be_made
    from sweep.studies.records import StudyRecord

    if not study.search.draws or not will_be_made(settings.optuna_storage):
        return settings
    kept = StudyRecord(store, study.name).options().optuna
    if kept is None:
        return settings
    if will_be_made(kept):
        talk.note(f"Optuna's database of the last launch is gone: {kept}. Cells that it drew are not known.", err=True)
        return settings
    talk.note(f"As at the last launch: OPTUNA_STORAGE={kept}", err=True)
    return replace(settings, optuna_storage=kept)


def for_everywhere(options: LaunchOptions) -> LaunchOptions:
    """Options whose paths also hold in other working directories."""
    return options.model_copy(
        update={
            "fidelity": options.fidelity and _absolute(options.fidelity),
            "cohort": options.cohort and _absolute(options.cohort),
            "overrides": tuple(map(_override_for_everywhere, options.overrides)),
        }
    )


def _override_for_everywhere(override: str) -> str:
    from search_spaces.yaml_text import parse_yaml, to_yaml

    key, _, text = override.partition("=")
    if key not in PLACES:
        return override
    value, _ = parse_yaml(text, lambda _: f"--set {override}")
    return f"{key}={to_yaml(_absolute(value))}" if isinstance(value, str) else override


def _absolute(path: str) -> str:
    """A path that is there; what is none, e.g. a shipped fidelity's name, stays."""
    return os.path.abspath(path) if Path(path).exists() else path


def from_here(path: str | None) -> str | None:
    """A remembered path as one would write it in this working directory."""
    if path is not None and os.path.isabs(path) and Path(path).is_relative_to(Path.cwd()):
        return os.path.relpath(path)
    return path
