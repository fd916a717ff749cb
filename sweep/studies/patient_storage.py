"""Optuna's database on a server that may be away for a while: a launch waits for it, and writes nothing twice."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.storages import BaseStorage, RDBStorage, _CachedStorage
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from sweep.databases import sqlite_file
from sweep.redaction import without_secrets
from sweep.studies.optuna_study import open_storage
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.engine import ExceptionContext

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE_S = 600.0
"""How long the database may be away before a launch fails: a managed one restarts or changes its host in minutes."""
PAUSE_S = 2.0


class _Unanswered(Exception):  # noqa: N818
    """The database did not answer; the request may have been carried out."""


class PatientStorage(_CachedStorage):
    """Repeats requests that the database did not answer; only this process may write to the study.

    Each method raises TrackingError when patience ends.

    Args:
        uri: of the database.
        say: shows a line to the person who launched, when the database goes away and when it is back.
    """

    def __init__(self, backend: RDBStorage, uri: str, say: Callable[[str], None]) -> None:
        super().__init__(backend)
        self._say, self._name = say, f"Optuna's database {without_secrets(uri)}"
        # Optuna repeats its own kind of error, without a look at what was carried out.
        event.listen(backend.engine, "handle_error", functools.partial(_raise_unanswered, uri))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """As Optuna's; a trial that was created although its answer was lost is not created again."""
        count = self.get_n_trials(study_id)

        def create_unless_created() -> int:
            later = self.get_all_trials(study_id, deepcopy=False)[count:]
            return (
                later[0]._trial_id if later else super(PatientStorage, self).create_new_trial(study_id, template_trial)
            )

        return self._patiently(create_unless_created)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna's; a trial that has the state already has it from a request whose answer was lost."""

        def set_unless_set() -> bool:
            if self.get_trial(trial_id).state == state:
                return True
            return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)

        return self._patiently(set_unless_set)

    def _patiently(self, request: Callable[[], T]) -> T:
        began, away = time.monotonic(), False
        while True:
            try:
                answer = request()
            except _Unanswered as error:
                waited = time.monotonic() - began
                logger.warning("no answer from Optuna's database", extra={"error": str(error)})
                if waited > PATIENCE_S:
                    raise TrackingError(
                        f"{self._name} has not answered for {waited:.0f} s: {error}. The store keeps what is done: "
                        "start the database, and launch again."
                    ) from None
                if not away:
                    self._say(
                        f"{self._name} does not answer: {error}. Training goes on; the launch waits for the database "
                        f"for up to {PATIENCE_S / 60:.0f} minutes."
                    )
                away = True
                time.sleep(PAUSE_S)
            else:
                if away:
                    self._say(f"{self._name} is back after {time.monotonic() - began:.0f} s.")
                return answer


def open_patiently(uri: str, say: Callable[[str], None]) -> BaseStorage:
    """As `open_storage`; a server that goes away later is waited for. A file does not come back."""
    storage = open_storage(uri)
    return storage if sqlite_file(uri) else PatientStorage(storage, uri, say)


def _patient(method: Callable[..., T]) -> Callable[..., T]:
    """The same method, patient; repeating the request changes nothing."""

    @functools.wraps(method)
    def patient(self: PatientStorage, *arguments: Any, **options: Any) -> T:
        return self._patiently(lambda: method(self, *arguments, **options))

    return patient


for name in BaseStorage.__abstractmethods__ - vars(PatientStorage).keys():
    setattr(PatientStorage, name, _patient(getattr(_CachedStorage, name)))


def _raise_unanswered(uri: str, context: ExceptionContext) -> None:
    outage = context.is_disconnect or isinstance(context.sqlalchemy_exception, OperationalError)
    if outage and not context.is_pre_ping:  # which SQLAlchemy itself answers with a new connection
        raise _Unanswered(without_secrets(context.original_exception, uri).strip().partition("\n")[0])
