"""What a launch asks before it draws or races on: can cells or looks be continued, and which cells come first?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from search_spaces.search import SearchConfig
from search_spaces.study import Study
from search_spaces.values import Arm
from sweep.databases import sqlite_file, will_be_made
from sweep.plan.trial import arm_name
from sweep.studies.choices import widen_choices
from sweep.studies.optuna_study import (
    ARM,
    damaged,
    drawn_cells,
    explained,
    find_optuna_study,
    not_opened,
    open_storage,
    within_constraints,
)
from sweep.studies.records import StudyRecord, changes, lasting
from trainers.documents import shown
from trainers.exceptions import ConfigError
from trainers.variants import SECTIONS

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

CONFIG = "metsweep.config"
"""Attribute of Optuna's study: the settings that all drawn cells share."""
COMMON = {
    "count_scale", "prepare", "gan", "paste", "inpaint", "variants", "synthesis", "detector", "evaluation",
    "objectives", "constraints",
}  # fmt: skip
"""Parts of a study that decide what the value of a drawn cell means; where slices are judged, so do `realism` and the
first seed, which is that of the detector that judges them."""
LATER = ("inpaint",)
"""Sections that older searches have no record of: they count only where a variant that reads them is drawn."""

RACED = ("seeds", "search.most_seeds", "search.gain", "evaluation.confidence", "evaluation.ious")
"""What decides when a race looks, at what, and what ends an arm. Arms may be added: all looks are then taken anew."""


def check_optuna_study(study: Study, slices: str, uri: str) -> None:
    """Refuse a study that Optuna's study of that name cannot continue; makes no database.

    Args:
        slices: key of the study's slice set.

    Raises:
        TrackingError: the database cannot be opened, or made.
        ConfigError: as `find_optuna_study` and, before cells are drawn, `best_cells_elsewhere`; or a setting that all
            cells have in common has changed since cells were drawn, so that their values cannot be compared.
    """
    if (file := sqlite_file(uri)) and will_be_made(uri):
        if not os.access(file.parent, os.W_OK | os.X_OK):
            raise not_opened(uri, f"no file can be made in {file.parent}")
        if study.search.first_from is None:
            return
    with explained(uri):
        storage = open_storage(uri)
        optuna_study = find_optuna_study(study, storage)
        drawn = drawn_cells(optuna_study, study)
        if not drawn:
            best_cells_elsewhere(study, storage)
        if optuna_study is None or not drawn:
            return
        before, now = optuna_study.user_attrs.get(CONFIG), common_config(study, slices)
        if before is None:
            return
    if not isinstance(before, dict):
        raise damaged(uri, f"{CONFIG} is {shown(before)}")
    if changed := changes(before, now):
        key, (old, new) = next(iter(changed.items()))
        raise ConfigError(
            f"Study {study.name}: {key} was {old} when its search drew cells, and is {new} now, so the values of old "
            "and new cells cannot be compared. Restore the setting, or give the study another name; artifacts in the "
            "store are found again."
        )


def check_race(study: Study, record: StudyRecord) -> None:
    """Refuse a race whose looks would differ from those of its last launch, which would make its error larger.

    Raises:
        ConfigError: the seeds of a look, or what is compared or decided at it, have changed, or an arm is missing.
    """
    before = record.study() or {}
    search = before.get("search")
    if not study.search.races or not isinstance(search, dict) or search.get("method") != study.search.method:
        return

    def refused(what: str) -> ConfigError:
        return ConfigError(
            f"Study {study.name}: {what}. Looks that are chosen after others have been taken err more often than in "
            "5 % of studies. Restore it, or give the study another name; artifacts in the store are found again."
        )

    now = lasting(study)
    for key in RACED:
        section, _, name = key.rpartition(".")
        default = None if section != "search" else getattr(SearchConfig(), name)  # which documents leave out
        old, new = ((values[section] if section else values).get(name, default) for values in (before, now))
        if old != new:
            raise refused(f"{key} was {shown(old)} when its race began, and is {shown(new)} now")
    raced = [cell for arm in before["arms"] for cell in Arm.model_validate(arm).cells()]
    if missing := [cell for cell in raced if cell not in study.cells()]:
        gone = arm_name(missing[0].variant, study.synthetic_count(missing[0].paper_count), dict(missing[0].params))
        raise refused(f"its race has an arm less than when it began: {gone}")


def take_up_choices(study: Study, uri: str) -> None:
    """Let a search that has drawn cells go on with choices added to its space; only the process that launches writes.

    Raises:
        TrackingError: the database cannot be opened or written.
        ConfigError: as `find_optuna_study`.
    """
    if study.search.draws and not will_be_made(uri):
        with explained(uri):
            storage = open_storage(uri)
            if find_optuna_study(study, storage) is not None:
                widen_choices(study, storage)


def best_cells_elsewhere(study: Study, storage: BaseStorage) -> list[dict[str, Any]]:
    """Values of the best cells of `search.first_from` that the study's search could draw, best first; none without it.

    Raises:
        ConfigError: the other study is not in the database, or has no such cell.
    """
    import optuna

    if (wanted := study.search.first_from) is None:
        return []
    names = optuna.get_all_study_names(storage)
    where = f"Study {study.name}: search.first_from.study is {wanted.study!r}"
    if wanted.study not in names:
        raise ConfigError(
            f"{where}, but Optuna's database holds no study of that name. Allowed: {', '.join(names) or 'none yet'}."
        )
    other = optuna.load_study(study_name=wanted.study, storage=storage)
    complete = [
        trial
        for trial in other.get_trials(deepcopy=False)
        if trial.state.name == "COMPLETE" and trial.values and ARM not in trial.user_attrs and within_constraints(trial)
    ]
    highest_first = other.directions[0].name == "MAXIMIZE"
    complete.sort(key=lambda trial: trial.values[0], reverse=highest_first)
    fitting = [trial.params for trial in complete if study.can_draw(trial.params)]
    if not fitting:
        raise ConfigError(
            f"{where}, none of whose {len(complete)} complete cells lies in this study's space: its keys, choices and "
            "ranges. Widen the space, or leave search.first_from out."
        )
    return fitting[: wanted.cells]


def common_config(study: Study, slices: str) -> dict[str, Any]:
    """The settings that all drawn cells of a study share, JSON-able; without keys that are drawn."""
    drawn = study.variants_to_draw()
    unread = {section for section in LATER if not any(variant in SECTIONS[section] for variant in drawn)}
    judge: dict[str, Any] = {"realism": True, "seeds": {0}} if study.judges_slices else {}
    values = study.model_dump(mode="json", include=dict.fromkeys(COMMON - unread, True) | judge, by_alias=True)
    for key in study.space:
        part, _, name = key.partition(".")
        if name:
            values.get(part, {}).pop(name, None)  # a section of defaults may be left out
    return values | {"slices": slices}
