"""Writes a sweep into MLflow: one parent run, and one child run per trial and per GAN.

MLflow is filled from the store, never the other way round, and only by the process that drives the sweep. A stage key
identifies every run, and every part of a run is marked when written: after a kill at any moment, the next launch adds
what is missing and writes nothing twice.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweep.databases import DatabaseFile, ReplacedDatabaseError, absolute
from sweep.plan import Plan
from sweep.redaction import without_secrets
from sweep.stages import SourceStage, Stage
from sweep.store import Lease, Store
from sweep.tracking.best_trial import BestTrial
from sweep.tracking.experiment import find_experiment
from sweep.tracking.mlflow_client import connect, explained
from sweep.tracking.run_content import RunContent, cost_tags, part_of, trial_content
from sweep.tracking.run_writer import RunWriter, TrackedRun
from sweep.tracking.source_content import StagesAfter, source_content, stages_after_sources
from sweep.tracking.study_content import describe_experiment, write_study
from sweep.tracking.tags import CLUSTER, KIND, PARENT_RUN, STAGE_KEY, STUDY
from sweep.tracking.twins import PARENT, Twins, look_up
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

Status = Literal["FINISHED", "FAILED", "KILLED"]
WriteReport = Callable[[Plan, Store, Path], str]
"""Writes a study's report into a folder; returns its Markdown (`report.write_report`)."""


@dataclass(eq=False, repr=False)
class Tracker:
    """Keeps MLflow in step with the store, for one plan.

    Call `open`, then `record` as often as you like, then `close`; each raises TrackingError if MLflow cannot be reached
    or written, and LostLeaseError once another process has taken over the study. After an outage call `forget` and
    begin with `open` again.
    """

    tracking_uri: str
    """Where MLflow is."""
    plan: Plan
    """The runs that MLflow is to hold; may be replaced by a plan with more cells."""
    store: Store
    """Holds the content of the runs."""
    cluster: str = "local"
    """Where the trials and GANs of new runs were trained."""
    lease: Lease | None = None
    """Of the study, which two processes must not deliver at once."""
    report: WriteReport | None = None
    """Writes the report that the parent run gets at its end; None writes none."""

    def __post_init__(self) -> None:
        self.tracking_uri = absolute(self.tracking_uri)
        self._database = DatabaseFile("MLflow", self.tracking_uri, "it lacks the runs of this study")
        self._writer: RunWriter | None = None
        self._parent: TrackedRun | None = None
        self._runs: dict[str, TrackedRun] = {}
        self._twins: Twins = []
        self._complete: set[str] = set()
        self._made: set[str] = set()
        self._best = BestTrial()
        self._compared = 0
        self._wrote = False

    def open(self) -> None:
        """Find the study's experiment and parent run, or create them, and read which runs exist.

        Raises:
            TrackingOutageError: MLflow does not answer.
            TrackingError: the experiment was deleted, or the database while this process used it; or another error.
        """
        self._refuse_if_lost()
        if self._parent is not None:
            return
        client = connect(self.tracking_uri)
        self._refuse_if_replaced()
        with explained(self.tracking_uri):
            experiment = find_experiment(client, self.tracking_uri, self.plan.study.name, self.store.uri)
            self._writer = writer = RunWriter(client, experiment)
            parent = self._look_up(writer)
            if parent.status != "FINISHED" or self._lacks_anything():
                writer.resume(parent)
            self._wrote |= write_study(writer, parent, self.plan)
        self._parent = parent
        self._delete_twins()

    def forget(self) -> None:
        """Forget the state of MLflow: a call that failed may have been carried out, its answer lost."""
        self._writer = self._parent = None
        self._runs, self._twins, self._compared = {}, [], 0

    def record(self) -> int:
        """Write what the store holds and MLflow lacks; returns how many runs that finished.

        Reads only unfinished runs, so a call without news is cheap.
        """
        self._refuse_if_lost()
        self._record_shared()
        finished = self._record_sources() + self._record_trials()
        self._show_best()
        self._delete_twins()
        return finished

    @property
    def delivered(self) -> int:
        """How many runs this process has seen complete in MLflow."""
        return len(self._complete)

    def undelivered(self) -> int:
        """How many runs have artifacts in the store and were not seen complete in MLflow; reads the store alone."""
        evaluations = [trial.evaluate for trial in self.plan.trials]
        return len(self._made_of([*self.plan.sources.values(), *evaluations]) - self._complete)

    def close(self, status: Status = "FINISHED") -> None:
        """End the parent run, with the study's report; changes nothing if it was finished and nothing was added.

        After Ctrl-C nobody waits for a report: the next launch writes it. Incomplete runs get the same status; the next
        launch completes them.
        """
        self._refuse_if_lost()
        writer, parent = self._opened
        if parent.status == "FINISHED" and not self._wrote:
            return
        with explained(self.tracking_uri):
            # The former holder of the study may have made runs until it noticed its loss.
            self._parent = parent = self._look_up(writer)
        if status != "KILLED" and self.report is not None:
            with tempfile.TemporaryDirectory(prefix="metsweep-") as folder:
                markdown = self.report(self.plan, self.store, Path(folder))
                with explained(self.tracking_uri):
                    writer.client.log_artifacts(parent.id, folder, "report")
                    describe_experiment(writer, parent, markdown)
        with explained(self.tracking_uri):
            for run in [*self._runs.values(), *(twin for _, twin in self._twins), parent]:
                if run.status == "RUNNING" or run is parent:
                    writer.end(run, status, time.time())
        self._delete_twins()
        self._wrote = False

    def model_of(self, stage_key: str) -> LoggedModel:
        """The model in the run of a GAN (its own key) or of a trial (its evaluate stage's key).

        Raises:
            TrackingError: MLflow cannot be read, or has no such run, or the run has no model.
        """
        writer, _ = self._opened
        run = self._runs.get(stage_key)
        with explained(self.tracking_uri):
            model = writer.model_in(run) if run else None
        if model is None:
            name = self.plan.study.name
            raise TrackingError(
                f"MLflow at {without_secrets(self.tracking_uri)} holds no model of stage key {stage_key[:12]} in the "
                f"experiment {name!r}; `metsweep launch {name}` writes what is missing."
            )
        return model

    @property
    def _opened(self) -> tuple[RunWriter, TrackedRun]:
        if self._writer is None or self._parent is None:
            raise RuntimeError("open() comes first")
        return self._writer, self._parent

    def _lacks_anything(self) -> bool:
        after = stages_after_sources(self.plan)
        return not all(self._is_finished(trial.evaluate.key) for trial in self.plan.trials) or not all(
            self._holds_source(stage, after[key]) for key, stage in self.plan.sources.items()
        )

    def _is_finished(self, key: str) -> bool:
        if finished := key in self._runs and self._runs[key].status == "FINISHED":
            self._complete.add(key)
        return finished

    def _holds_source(self, source: SourceStage, after: StagesAfter) -> bool:
        return self._is_finished(source.key) and {source.part, *after} <= set(self._runs[source.key].written)

    def _record_shared(self) -> None:
        """Write the parts of the parent run."""
        writer, parent = self._opened
        for stage in self.plan.stages.values():
            if stage.run_kind == "sweep" and stage.part not in parent.written:
                artifact = self.store.find(stage.name, stage.key)
                if artifact is not None:
                    with explained(self.tracking_uri):
                        self._wrote |= writer.write(parent, [part_of(stage, artifact)])

    def _record_sources(self) -> int:
        plan, after = self.plan, stages_after_sources(self.plan)
        lacking = {key: stage for key, stage in plan.sources.items() if not self._holds_source(stage, after[key])}
        there = self._made_of(lacking.values())
        made = self._made_of(stage for key in there for stage in after[key].values())
        finished = 0
        for key in there:
            parts = {lacking[key].part, *(name for name, stage in after[key].items() if stage.key in made)}
            written = set(self._runs[key].written) if key in self._runs else set()
            if not parts <= written or len(parts) > len(after[key]):
                finished += self._write(source_content(lacking[key], after[key], plan, self.store))
        return finished

    def _record_trials(self) -> int:
        # Trials may share an evaluation: a drawn cell that equals an arm has one run, named after the drawn cell.
        lacking = {trial.evaluate.key: trial for trial in self.plan.trials if not self._is_finished(trial.evaluate.key)}
        made = self._made_of(goal for trial in lacking.values() for goal in trial.own_goals)
        return sum(
            self._write(trial_content(trial, self.plan, self.store))
            for trial in lacking.values()
            if made.issuperset(goal.key for goal in trial.own_goals)
        )

    def _show_best(self) -> None:
        """Let the parent run show the best trial so far, each time that more are complete."""
        writer, parent = self._opened
        if parent.status == "FINISHED":
            return
        complete = {trial.evaluate.key: trial for trial in self.plan.trials if trial.evaluate.key in self._complete}
        read = self._best.read(complete.values(), self.plan.study, self.store)
        if read == self._compared:
            return
        with explained(self.tracking_uri):
            self._best.show(writer, parent, complete, self._runs)
        self._compared = read

    def _made_of(self, stages: Iterable[Stage]) -> set[str]:
        """Keys of the stages that are in the store; lists a kind of stage only if some of its keys were missing."""
        wanted: dict[str, set[str]] = {}
        for stage in stages:
            wanted.setdefault(stage.name, set()).add(stage.key)
        for name, keys in wanted.items():
            if not keys <= self._made:
                self._made |= keys & self.store.keys(name)
        return self._made & set().union(*wanted.values())

    def _write(self, content: RunContent | None) -> bool:
        """Write what a run lacks; returns whether it is finished now."""
        if content is None:
            return False
        self._refuse_if_lost()
        writer, parent = self._opened
        with explained(self.tracking_uri):
            run = self._runs.get(content.key)
            if run is None:
                tags = {STAGE_KEY: content.key, PARENT_RUN: parent.id, CLUSTER: self.cluster}
                run = writer.create(content.name, {**content.tags, **tags}, content.started)
                self._runs[content.key] = run
            self._wrote |= writer.write(run, content.parts, cost_tags(content.costs, self.plan.study.prices))
            if content.complete:
                writer.end(run, "FINISHED", content.finished)
                self._complete.add(content.key)
                self._wrote = True
        return content.complete

    def _look_up(self, writer: RunWriter) -> TrackedRun:
        """Read which runs exist, and which are twins of others; returns the parent run."""
        self._runs, self._twins = look_up(writer)
        tags = {KIND: "sweep", STUDY: self.plan.study.name, CLUSTER: self.cluster}
        parent = self._runs.pop(PARENT, None) or writer.create(self.plan.study.name, tags, time.time())
        for run in self._runs.values():
            if run.tags.get(PARENT_RUN) != parent.id:
                writer.tag(run, {PARENT_RUN: parent.id})
        return parent

    def _delete_twins(self) -> None:
        """Delete each twin of a run that is finished, or that holds all parts of the twin."""
        writer, parent = self._opened
        left: Twins = []
        with explained(self.tracking_uri):
            for key, twin in self._twins:
                kept = parent if key == PARENT else self._runs[key]
                if kept.status == "FINISHED" or set(twin.written) <= set(kept.written):
                    writer.delete(twin)
                else:
                    left.append((key, twin))
        self._twins = left

    def _refuse_if_lost(self) -> None:
        """Refuse to write where another process writes, or into a database that was replaced."""
        if self.lease is not None:
            self.lease.refuse_if_lost()
        if self._parent is not None:
            self._refuse_if_replaced()

    def _refuse_if_replaced(self) -> None:
        try:
            self._database.check()
        except ReplacedDatabaseError:
            self._complete = set()
            raise
