"""Adds seeds, cells to draw and arms to a launched study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from search_spaces.problems import did_you_mean
from search_spaces.study import Study
from sweep.cli.plan_tables import seeds_text
from sweep.cli.planning import costs_of
from sweep.studies.opened import OpenedStudy
from sweep.text import count_text
from trainers.exceptions import ConfigError
from trainers.variants import REAL, VARIANTS


def add(opened: OpenedStudy, *, seeds: int | None, trials: int | None, arms: Sequence[str]) -> Iterator[str]:
    """Keep the additions in the store; yields lines on what they mean.

    Raises:
        ConfigError: nothing is added, fewer are asked for than the study has, the additions do not fit the study, or
            another command has extended it at the same time.
    """
    study = opened.study
    before = opened.record.extension()
    added = dict(before)
    if seeds is not None:
        added["seeds"] = sorted({*added.get("seeds", []), *_more_seeds(study, seeds)})
    if trials is not None:
        added["trials"] = _more_trials(study, trials)
    if arms:
        added["arms"] = [*added.get("arms", []), *map(_arm, arms)]
    after = opened.extended(added)
    old, new = opened.plan(), after.plan()
    more_to_draw = after.study.search.trials - study.search.trials
    if len(new.trials) <= len(old.trials) and not more_to_draw:
        raise ConfigError(
            f"Study {study.name} already includes all of this. Name the additions with --seeds, --trials or --arms; a "
            "--set of the same key, given here or at the last launch, overrides them."
        )
    opened.record.keep_extension(added, before)
    stages = len(new.stages.keys() - old.stages.keys())
    drawn = f", {count_text(more_to_draw, 'cell')} to draw" if more_to_draw else ""
    yield (
        f"Study {study.name} now has {count_text(len(new.trials), 'trial')}: {len(new.trials) - len(old.trials):,} "
        f"more, with {count_text(stages, 'new stage')}{drawn}."
    )
    yield costs_of(after)
    yield f"Next: metsweep launch {opened.given}"


def _more_seeds(study: Study, wanted: int) -> list[int]:
    if study.search.races:
        raise ConfigError(
            f"--seeds: study {study.name} is a race, which adds seeds itself, up to search.most_seeds "
            f"({study.search.most_seeds}); more that are added once its looks are known would make it err too often. "
            "Allowed: --arms."
        )
    if wanted <= len(study.seeds):
        raise ConfigError(
            f"--seeds is {wanted}, but study {study.name} already has {seeds_text(study.seeds)}; allowed: more. To run "
            "fewer, change the study file, or give --set seeds=[...]."
        )
    return [seed for seed in range(wanted) if seed not in study.seeds]


def _more_trials(study: Study, wanted: int) -> int:
    if not study.search.draws:
        raise ConfigError(
            f"--trials: study {study.name} draws nothing (search.method is {study.search.method}); allowed: --seeds "
            "and --arms, or set search.method and space in the study file."
        )
    if wanted <= study.search.trials:
        raise ConfigError(
            f"--trials is {wanted}, but study {study.name} already draws {study.search.trials}; allowed: more."
        )
    return wanted


def _arm(text: str) -> list[Any]:
    variant, _, counts = text.partition(":")
    if variant not in VARIANTS:
        raise ConfigError(
            f"--arms {text!r}: {variant!r} is not a variant.{did_you_mean(variant, VARIANTS)} "
            f"Allowed: {', '.join(VARIANTS)}."
        )
    if variant in REAL and not counts:
        return [variant, [0]]
    try:
        numbers = [int(count) for count in counts.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or variant in REAL:
        raise ConfigError(
            f"--arms {text!r}: allowed is variant:count,count with whole numbers above 0, e.g. cpggan:4000,8000; "
            f"{' and '.join(REAL)} have no count."
        )
    return [cast(str, variant), numbers]
