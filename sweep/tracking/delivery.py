"""Delivers a study to MLflow in parallel to its trials, so that an absent, slow or failing server delays no trial.

Everything is delivered from the store, which keeps it: the next launch of the study, or `metsweep track`, delivers the
runs that could not be delivered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from sweep.databases import ReplacedDatabaseError, sqlite_file
from sweep.redaction import without_secrets
from sweep.text import count_text
from sweep.tracking.mlflow_client import TrackingOutageError
from sweep.tracking.tracker import Status, Tracker
from trainers.exceptions import LostLeaseError, MetsweepError

logger = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 30.0
"""Between two attempts while the server is away."""
FIRST_ANSWER_SECONDS = 10.0
"""How long work waits for MLflow to accept or refuse; an unreachable server costs no wait."""
PATIENCE_SECONDS = 120.0
"""How long the end of a study waits for each run to be delivered."""
PATIENCE_WHEN_STOPPED_SECONDS = 10.0
LOOK_SECONDS = 0.2
"""How often the end of a study checks for delivered runs."""


@dataclass(eq=False)
class Delivery:
    """Keeps MLflow in step with the store from a thread of its own, until `finish`, or until its `with` block ends.

    A block left by Ctrl-C ends the runs as KILLED, a block left by an error as FAILED.

    Raises:
        TrackingError: on entering, when MLflow answers but refuses (login, deleted experiment, unknown kind of URI).
    """

    tracker: Tracker
    """Used by this thread alone from now on, but for `plan`, which a launch replaces as cells are drawn."""
    say: Callable[[str], None]
    """Shows one line to the person who launched."""
    every_seconds: float = 2.0
    """How often the store is read."""

    def __post_init__(self) -> None:
        self._where = without_secrets(self.tracker.tracking_uri)
        self._answered, self._wake, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._status: Status | None = None
        self._away_since: float | None = None
        self._error: BaseException | None = None
        self._complete = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def __enter__(self) -> Delivery:
        self._thread.start()
        # A file has no server that could keep us waiting.
        self._answered.wait(None if sqlite_file(self.tracker.tracking_uri) else FIRST_ANSWER_SECONDS)
        self._answered.set()
        if self._error is not None and self.failed:
            self._ended.set()
            self._wake.set()
            raise self._error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._status is None:
            stopped = kind is not None and issubclass(kind, KeyboardInterrupt)
            status: Status = "FINISHED" if kind is None else "KILLED" if stopped else "FAILED"
            self.finish(status, PATIENCE_SECONDS if kind is None else PATIENCE_WHEN_STOPPED_SECONDS)

    @property
    def failed(self) -> bool:
        """Whether MLflow refuses, or delivery ended by an error; an unreachable server is no failure."""
        return self._error is not None and not isinstance(self._error, TrackingOutageError)

    def finish(self, status: Status, patience_seconds: float = PATIENCE_SECONDS) -> bool:
        """Deliver the remaining runs and end the parent run; whether everything is delivered.

        Waits at most `patience_seconds` for each run, then gives up; the next delivery completes a half-written run.
        """
        self._status = status
        self._wake.set()
        delivered, given_up = self.tracker.delivered, time.monotonic() + patience_seconds
        while self._thread.is_alive() and time.monotonic() < given_up:
            self._thread.join(LOOK_SECONDS)
            if self.tracker.delivered != delivered:
                delivered, given_up = self.tracker.delivered, time.monotonic() + patience_seconds
        self._ended.set()
        self._wake.set()
        if not self._complete and not isinstance(self._error, LostLeaseError):  # after that loss others deliver
            why = f"failed ({self._reason(self._error)})" if self._error and self.failed else "could not be reached"
            missing = count_text(self.tracker.undelivered(), "run")
            self.say(
                f"MLflow at {self._where} {why}: {missing} not uploaded. The store keeps all results; to upload them "
                f"later, run `metsweep track {self.tracker.plan.study.name}`."
            )
        return self._complete

    def _run(self) -> None:
        try:
            self._keep_delivering()
            self._complete = True
        except BaseException as error:
            # `finish` reports the error: showing a line may be what failed here.
            logger.exception("delivery to MLflow ended")
            self._error = error
        finally:
            self._answered.set()

    def _keep_delivering(self) -> None:
        pause = self.every_seconds
        while not self._ended.is_set():
            self._wake.clear()
            ending = self._status
            try:
                self.tracker.open()
                self._answered.set()
                self.tracker.record()
                if ending is not None:
                    self.tracker.close(ending)
            except LostLeaseError:
                raise
            except Exception as error:  # no error of MLflow is a reason for the trials to stop
                self._went_away(error)
                if ending and isinstance(error, ReplacedDatabaseError):
                    raise
                pause = self.every_seconds if ending else min(pause * 2, LONGEST_PAUSE_SECONDS)
            else:
                if self._away_since is not None:
                    away = time.monotonic() - self._away_since
                    self.say(f"MLflow at {self._where} is back after {away:.0f} s; its runs are being uploaded.")
                self._away_since = self._error = None
                pause = self.every_seconds
                if ending is not None:
                    return
            self._answered.set()
            self._wake.wait(pause)
        raise self._error or TrackingOutageError(f"MLflow at {self._where} did not answer in time.")

    def _went_away(self, error: Exception) -> None:
        # The failed call may have been carried out: everything is looked up again.
        self.tracker.forget()
        if self._away_since is None:
            self._away_since = time.monotonic()
            logger.warning("delivery to MLflow failed", exc_info=error)
            if self._answered.is_set() or isinstance(error, TrackingOutageError):
                reason = self._reason(error)
                self.say(f"The study continues without MLflow; its runs are uploaded later. {reason}")
        self._error = error

    def _reason(self, error: BaseException) -> str:
        said = str(error) if isinstance(error, MetsweepError) else f"{type(error).__name__}: {error}"
        return without_secrets(said, self.tracker.tracking_uri)
