"""The function that Ray Tune runs for a trial, which waits while Ray Train and Ray tasks work."""

from __future__ import annotations

import logging
import threading
from typing import Any

from sweep.engine.board import BoardHandle
from sweep.engine.execution import ensure
from sweep.plan import Trial
from sweep.redaction import without_secrets
from sweep.store import Store
from sweep.store.process import Process
from sweep.studies.outcome import Outcome
from sweep.studies.study_logs import StudyLogs
from trainers.exceptions import StopRequestedError

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.5


def run_trial(config: dict[str, Any], store: Store, board: BoardHandle, watched: str | None) -> dict[str, Any]:
    """Make the goals of the trial named in `config`; reports the validation figures along the way to Tune.

    Ray Train's own reports to Tune can hang a trial for good when Tune is slow (they share a queue of size one with
    the thread that reads it), so only this function's thread reports, and the work is done in another.

    Args:
        config: `trial`, the name under which the board hands it out.
        store: where its artifacts go.
        board: the sweep's board.
        watched: the figure that is reported, of the trial's own detector; None reports nothing.

    Returns:
        The trial's outcome. A failure is an outcome too: what is raised here is a driver that was lost, which Tune
        starts again.
    """
    from ray import tune

    board.join(str(Process.this()))
    trial = board.trial(config["trial"])
    with StudyLogs(store, board.study).written(trial=trial.name):
        work = _Work(trial, store, board)
        reported: set[int] = set()
        while work.is_alive():
            work.join(LOOK_EVERY_SECONDS)
            if watched is None:
                continue
            validated = board.validated(trial.evaluate.detector.key)
            for step in sorted(set(validated) - reported):
                reported.add(step)
                tune.report({"validated": validated[step][watched], "step": step})
    assert work.outcome is not None, "the thread has ended"
    return work.outcome.model_dump(mode="json")


class _Work(threading.Thread):
    """Makes the goals of one trial."""

    def __init__(self, trial: Trial, store: Store, board: BoardHandle) -> None:
        super().__init__(name=trial.name, daemon=True)
        self.outcome: Outcome | None = None
        self._trial, self._store, self._board = trial, store, board
        self.start()

    def run(self) -> None:
        try:
            for goal in self._trial.goals:
                ensure(goal, self._store, self._board, self._trial.name)
            self.outcome = Outcome(state="done")
        except StopRequestedError:
            self.outcome = Outcome(state="stopped", reason=self._board.stop_reason(self._trial.name))
        except Exception as error:
            logger.exception("trial failed")
            lines = str(error).strip().splitlines() or [repr(error)]
            self.outcome = Outcome(state="failed", error=without_secrets(lines[-1]))
