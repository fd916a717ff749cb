"""The Optuna study behind a study: its cells as Optuna trials, in a database that optuna-dashboard opens.

An Optuna trial is a cell; its value is the mean over the cell's seeds. One process writes: that of `metsweep launch`.
"""

from __future__ import annotations

import functools
import math
import operator
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from search_spaces.cell import Cell
from search_spaces.search import SearchConfig
from search_spaces.study import Study
from sweep.databases import explaining, file_now, in_a_line, refuse_damaged, sqlite_file, will_be_made
from sweep.plan import Plan, TrialMaker
from sweep.plan.plan import plan_with
from sweep.redaction import without_secrets
from sweep.studies.choices import refuse_other_choices
from trainers.exceptions import ConfigError, TrackingError

if TYPE_CHECKING:
    import optuna
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.trial import FrozenTrial

ARM, ERROR, RETRY_OF, TWIN_OF = "metsweep.arm", "metsweep.error", "metsweep.retry_of", "metsweep.twin_of"
"""Attributes of Optuna trials: the arm of a cell that was enumerated, why it failed, the number of the trial whose cell
is drawn once more, and that of the trial whose cell was drawn again by chance."""
LIBRARIES = frozenset({"optuna", "sqlalchemy", "alembic"})
TABLES = frozenset({"studies", "study_directions", "study_user_attributes", "trials", "trial_params", "trial_values"})
TABLE_ATTEMPTS = 5
RESTORE = "Restore it from a copy, or move it away: a search then draws its cells anew, artifacts are found again."


DrawnState = Literal["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"]
"""Optuna's names; no drawn cell is WAITING."""


@dataclass(frozen=True)
class Drawn:
    """A cell that the search drew."""

    number: int
    """Optuna's."""
    cell: Cell
    state: DrawnState
    error: str | None
    """Why it failed."""
    ended: float = math.inf
    """Unix seconds."""
    values: tuple[float, ...] = ()
    """Of the objectives, if it is complete and within the constraints."""


def open_storage(uri: str) -> RDBStorage:
    """The database at an SQLAlchemy URI; TrackingError if it cannot be opened."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    refuse_damaged("Optuna", uri, TABLES, RESTORE)
    with explained(uri):
        # SQLite: a dashboard that reads must not make a writer fail.
        options = {"pool_pre_ping": True} if sqlite_file(uri) is None else {"connect_args": {"timeout": 60}}
        return _with_tables(functools.partial(optuna.storages.RDBStorage, uri, engine_kwargs=options))


def _with_tables(open_database: Callable[[], RDBStorage]) -> RDBStorage:
    """Two launches may make a new database's tables at once; PostgreSQL refuses one of them, which then finds them."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(TABLE_ATTEMPTS - 1):
        with suppress(IntegrityError, ProgrammingError):
            return open_database()
        time.sleep(0.5)
    return open_database()


def find_optuna_study(study: Study, storage: BaseStorage) -> optuna.Study | None:
    """The Optuna study of that name, or None before the first launch.

    Raises:
        ConfigError: it has other objectives than the study, or other choices.
    """
    import optuna

    try:
        optuna_study = optuna.load_study(study_name=study.name, storage=storage)
    except KeyError:
        return None
    wanted = [objective.direction.upper() for objective in study.objectives]
    if [direction.name for direction in optuna_study.directions] != wanted:
        raise ConfigError(
            f"Study {study.name}: Optuna's study of that name has the objectives "
            f"{[direction.name.lower() for direction in optuna_study.directions]}, this one "
            f"{[direction.lower() for direction in wanted]}. Give the study another name; artifacts in the store are "
            "found again."
        )
    refuse_other_choices(study, optuna_study.get_trials(deepcopy=False))
    return optuna_study


def create_optuna_study(study: Study, storage: BaseStorage) -> optuna.Study:
    """The Optuna study of that name, created if needed."""
    import optuna

    directions: list[Any] = [objective.direction for objective in study.objectives]
    return optuna.create_study(study_name=study.name, storage=storage, directions=directions, load_if_exists=True)


def drawn_cells(optuna_study: optuna.Study | None, study: Study) -> list[Drawn]:
    """The cells drawn so far, in Optuna's order; without cells that failed and were drawn again."""
    if optuna_study is None or not study.search.draws:
        return []
    return [
        Drawn(
            trial.number,
            study.cell_of(trial.params),
            trial.state.name,
            trial.user_attrs.get(ERROR),
            trial.datetime_complete.timestamp() if trial.datetime_complete else math.inf,
            tuple(trial.values or ()) if trial.state.name == "COMPLETE" and within_constraints(trial) else (),
        )
        for trial in counted(optuna_study)
        if _belongs(trial, study)
    ]


def left_to_draw(study: Study, drawn: Sequence[Drawn]) -> int:
    """How many cells a study's search draws after these, at most."""
    patience = study.search.patience
    if patience is not None and _without_a_new_best(study, drawn) >= patience:
        return 0
    return study.search.left_to_draw(len(drawn))


def _without_a_new_best(study: Study, drawn: Sequence[Drawn]) -> int:
    """How many cells have ended since the last that none before it equalled in every objective."""
    signs = [1 if objective.direction == "maximize" else -1 for objective in study.objectives]
    before: list[list[float]] = []
    since = 0
    ended = [cell for cell in drawn if cell.state in ("COMPLETE", "PRUNED")]
    for cell in sorted(ended, key=lambda cell: cell.ended):
        values = [sign * value for sign, value in zip(signs, cell.values, strict=False)]
        equalled = any(all(map(operator.ge, other, values)) for other in before)
        since = since + 1 if equalled or not values else 0
        before += [values] if values else []
    return since


def counted(optuna_study: optuna.Study) -> list[FrozenTrial]:
    """Optuna's trials that have begun, without twins and those that failed and were drawn again."""
    trials = optuna_study.get_trials(deepcopy=False)
    replaced = {trial.user_attrs.get(RETRY_OF) for trial in trials}
    return [
        trial
        for trial in trials
        if trial.number not in replaced and trial.state.name != "WAITING" and TWIN_OF not in trial.user_attrs
    ]


def read_drawn(study: Study, uri: str) -> list[Drawn]:
    """The cells that a study's search drew so far; opens the database only for a study that draws, and makes none.

    Raises:
        TrackingError: the database cannot be opened.
        ConfigError: as `find_optuna_study`.
    """
    return DrawnCells(study, uri).read()


class DrawnCells:
    """`read_drawn` again and again: of a database that stays open, cells that have ended are read once."""

    def __init__(self, study: Study, uri: str) -> None:
        self._study, self._uri = study, uri
        self._optuna_study: optuna.Study | None = None
        self._file: tuple[int, int] | None = None

    def read(self) -> list[Drawn]:
        """As `read_drawn`."""
        if not self._study.search.draws or will_be_made(self._uri):
            return []
        found, self._optuna_study = self._optuna_study, None
        with explained(self._uri):
            if found is None or self._file != file_now(self._uri):
                self._file = file_now(self._uri)
                found = find_optuna_study(self._study, open_storage(self._uri))
            drawn = drawn_cells(found, self._study)
        self._optuna_study = found  # after an error the database is opened anew
        return drawn


def plan_drawn(maker: TrialMaker, study: Study, drawn: Sequence[Drawn]) -> Plan:
    """A study's plan with these drawn cells; `maker` makes the trials."""
    return plan_with(maker, study, [(cell.number, cell.cell) for cell in drawn])


def given_up(study: Study, uri: str) -> frozenset[int]:
    """Numbers of the drawn cells that have ended without a value: pruned, failed or stopped; errors as `read_drawn`."""
    return frozenset(cell.number for cell in read_drawn(study, uri) if cell.state in ("PRUNED", "FAIL"))


def make_sampler(search: SearchConfig, number: int) -> BaseSampler:
    """Draws the cell `number`; a sampler per cell lets a killed search continue as if it had not been killed."""
    import numpy as np
    import optuna

    # Optuna's generator starts alike for consecutive seeds: 0 to 3 all draw from the middle first.
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    if search.method == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # Cells run in parallel: a running cell counts as bad until its value is known.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.startup_trials, constant_liar=True)


def make_pruner(search: SearchConfig, steps: int) -> BasePruner:
    """Ends cells early by validation figures during the `steps` steps of detector training."""
    import optuna

    least = max(1, round(search.grace * steps))
    if search.pruning == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=least, reduction_factor=search.reduction)
    if search.pruning == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=search.startup_trials, n_warmup_steps=least - 1)
    return optuna.pruners.NopPruner()


def explained(uri: str) -> AbstractContextManager[None]:
    """Turns errors of Optuna and of the database within the block into a TrackingError."""
    return explaining(LIBRARIES, functools.partial(_meaning, uri))


def _meaning(uri: str, error: Exception) -> TrackingError:
    from sqlalchemy.exc import SQLAlchemyError

    refused = isinstance(error, SQLAlchemyError | ImportError | OSError | RuntimeError)
    return (not_opened if refused else damaged)(uri, in_a_line(error, uri, LIBRARIES))


def damaged(uri: str, why: str) -> TrackingError:
    """The error for a database whose content makes no sense."""
    return TrackingError(f"Optuna's database {without_secrets(uri)} is damaged: {why.rstrip('.')}. {RESTORE}")


def not_opened(uri: str, why: str) -> TrackingError:
    """The error for a database that cannot be opened or made."""
    return TrackingError(
        f"Optuna's database {without_secrets(uri)} cannot be opened: {why.rstrip('.')}. Correct "
        "OPTUNA_STORAGE, or unset it to use optuna.db in the working directory."
    )


def within_constraints(trial: FrozenTrial) -> bool:
    """Whether a complete trial keeps the constraints that its study had."""
    return max(trial.constraints.values(), default=0.0) <= 0


def _belongs(trial: FrozenTrial, study: Study) -> bool:
    """Whether a trial was drawn from the study's present space, or from other ranges of the same keys."""
    drawn = set(trial.params)
    if ARM in trial.user_attrs or not drawn or not drawn <= set(study.space):
        return False
    variant = trial.params.get("variant", study.variants_to_draw()[0])
    return drawn - {"variant"} == set(study.dimensions(variant))
