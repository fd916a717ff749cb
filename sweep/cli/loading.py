"""Studies as the commands see them: file, options of the last launch, and what `metsweep extend` added."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.cli import talk

if TYPE_CHECKING:
    from search_spaces.layers import Layer
    from search_spaces.study import Study
    from sweep.engine.records import LaunchOptions
    from sweep.plan import Plan
    from sweep.settings import Settings
    from sweep.store import Store
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


def load_plan(
    study: str,
    fidelity: str | None,
    cohort: str | Path | None,
    overrides: Sequence[str] | None,
    store: Store,
    settings: Settings,
) -> Plan:
    """The plan of such a study, with the cells that its search has drawn so far.

    Raises:
        MetsweepError: as `load`, `make_plan` and `read_drawn`.
    """
    from sweep.engine.optuna_study import read_drawn
    from sweep.plan import make_plan

    resolved = load(study, fidelity, cohort, overrides, store)
    return make_plan(resolved, [(one.number, one.cell) for one in read_drawn(resolved, settings.optuna_storage)])


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
    from sweep.engine.records import LaunchOptions, StudyRecord

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
        fidelity=_from_here(kept.fidelity) if given.fidelity is None else None,
        cohort=_from_here(kept.cohort) if given.cohort is None else None,
        overrides=() if given.overrides else kept.overrides,
    )
    if str(remembered):
        talk.note(f"As at the last launch: {remembered}", err=True)
    return LaunchOptions(
        fidelity=given.fidelity or remembered.fidelity,
        cohort=given.cohort or remembered.cohort,
        overrides=given.overrides or remembered.overrides,
    )


def remember(study: str, options: LaunchOptions, name: str, store: Store) -> None:
    """Keep the options of a launch for the commands that follow.

    Args:
        study: as it was given; one that only the store knows keeps what it was launched with before, too.
        options: as they were given.
        name: what the study calls itself.
        store: where they are kept.
    """
    from search_spaces.study import is_study_file
    from sweep.engine.records import StudyRecord

    record = StudyRecord(store, name)
    given = _for_everywhere(options)
    record.keep_options(given if is_study_file(study) else _on_top(record.options(), given))


def _source(study: str, store: Store) -> str | Layer:
    """The name itself of a shipped study or a file, else all values of the study that was launched by that name.

    Raises:
        ConfigError: there is no such study; lists what there is.
    """
    from search_spaces.layers import Layer
    from search_spaces.study import is_study_file, unknown_study
    from sweep.engine.records import StudyRecord, launched_studies

    if is_study_file(study):
        return study
    launched = launched_studies(store)
    values = StudyRecord(store, study).launched() if study in launched else None
    if values is None:
        raise unknown_study(study, {f"launched with the store {store.uri}: ": launched})
    return Layer(f"{study} as launched with the store {store.uri}", values)


def _needs_the_file(launched: Layer, option: str) -> ConfigError:
    from trainers.exceptions import ConfigError

    return ConfigError(
        f"{option}: {launched.source} has its fidelity's values and those of the command line in it. To change them, "
        "give the study's YAML file instead of its name."
    )


def _on_top(kept: LaunchOptions, given: LaunchOptions) -> LaunchOptions:
    return kept.model_copy(
        update={"cohort": given.cohort or kept.cohort, "overrides": (*kept.overrides, *given.overrides)}
    )


def _for_everywhere(options: LaunchOptions) -> LaunchOptions:
    """Options whose paths also hold in other working directories."""
    return options.model_copy(
        update={
            name: os.path.abspath(path) if path is not None and Path(path).exists() else path
            for name, path in (("fidelity", options.fidelity), ("cohort", options.cohort))
        }
    )


def extended(study: str, options: LaunchOptions, store: Store, added: Mapping[str, Any] | None = None) -> Study:
    """A study under these options, with what was added to it; `added` instead of what the store keeps."""
    from search_spaces.layers import Layer
    from search_spaces.study import resolve_study
    from sweep.engine.records import StudyRecord

    chosen = {"fidelity": options.fidelity, "cohort": options.cohort, "overrides": options.overrides}
    source = _source(study, store)
    base = resolve_study(source, **chosen).study
    added = StudyRecord(store, base.name).extension() if added is None else added
    if not added:
        return base
    extension = Layer("metsweep extend", _over(base, added))
    return resolve_study(source, **chosen, extension=extension).study


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


def _from_here(path: str | None) -> str | None:
    """A remembered path as one would write it in this working directory."""
    if path is not None and os.path.isabs(path) and Path(path).is_relative_to(Path.cwd()):
        return os.path.relpath(path)
    return path
