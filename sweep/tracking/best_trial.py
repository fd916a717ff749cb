"""The best trial so far, whose figures the parent run of a study shows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from search_spaces.study import Study
from sweep.objectives import Measured, figure, read_measured, tried_in_turn, undefined, violations
from sweep.plan import Trial
from sweep.store import Store
from sweep.tracking.compared import evaluation_figures
from sweep.tracking.run_content import Point
from sweep.tracking.run_writer import RunWriter, TrackedRun
from sweep.tracking.tags import BEST_RUN, BEST_TRIAL
from trainers.evaluation.outcome import name_of


class BestTrial:
    """Compares the complete trials of a study; reads the results of each once."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[tuple[float, ...], dict[str, float]]] = {}

    def read(self, trials: Iterable[Trial], study: Study, store: Store) -> int:
        """Read the results of complete trials that were not read yet; returns how many are.

        One that was damaged and set aside is missing; it is read once it has been made again.
        """
        unread = [trial for trial in trials if trial.evaluate.key not in self._read]
        for key, measured in read_measured(unread, study, store).items():
            figures = evaluation_figures(measured.metrics) | _of_slices(study, measured)
            self._read[key] = _order(study, measured), figures
        return len(self._read)

    def show(
        self, writer: RunWriter, parent: TrackedRun, trials: Mapping[str, Trial], runs: Mapping[str, TrackedRun]
    ) -> None:
        """Let the parent run show the figures of the best trial and name it, if that changed.

        The best is chosen by the study's constraints and objectives; a trial that lacks a figure for one
        of them is left out.

        Args:
            trials: evaluate key -> complete trial.
            runs: evaluate key -> run of its trial.
        """
        defined = {key: order for key in trials if (order := self._read.get(key, ((), {}))[0])}
        if not defined:
            return
        best = min(defined, key=lambda key: defined[key])
        if parent.tags.get(BEST_RUN) == runs[best].id:
            return
        now = time.time()
        points = [Point(name, value, now, len(self._read)) for name, value in self._read[best][1].items()]
        writer.add(parent, points, {BEST_TRIAL: trials[best].name, BEST_RUN: runs[best].id})


def _order(study: Study, measured: Measured) -> tuple[float, ...]:
    """Smaller is better: how far constraints are exceeded, then the objectives; empty if one of these is undefined."""
    if undefined(study, [measured]) is not None:
        return ()
    exceeded = sum(max(0.0, violation) for violation in violations(study, [measured]).values())
    values = ((aim, figure(aim, measured)) for aim in tried_in_turn(study))
    return exceeded, *((-value if aim.direction == "maximize" else value) for aim, value in values)


def _of_slices(study: Study, measured: Measured) -> dict[str, float]:
    """What objectives and constraints are about in synthetic slices, as the run of their source names it."""
    names = {
        asked: f"box_fidelity/{name_of(asked.iou)}/conditioned/recall" if asked.has_iou else asked.metric
        for asked in study.searched
        if asked.of_slices and measured.slices
    }
    return {f"realism/{name}": figure(asked, measured) for asked, name in names.items()}
