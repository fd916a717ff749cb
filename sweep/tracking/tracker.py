"""Writes a sweep into MLflow: one parent run, one child run a trial and one a GAN.

MLflow is filled from the store, never the other way round, and only by the process that drives the sweep. Every run is
found again by its stage key, and every part of it is marked when written: kill the driver at any moment, launch again,
and what is missing is added, nothing is doubled.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweep.plan import Plan
from sweep.redaction import without_secrets
from sweep.report.report import build_report
from sweep.store import Store
from sweep.tracking.gan_content import StagesAfter, gan_content, stages_after_gans
from sweep.tracking.mlflow_client import absolute, connect, explained, sqlite_folder
from sweep.tracking.run_content import Part, RunContent, cost_points, cost_tags, trial_content
from sweep.tracking.run_writer import RunWriter, TrackedRun
from sweep.tracking.study_content import describe_experiment, write_study
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

KIND, STAGE_KEY = "metsweep.kind", "metsweep.stage_key"
"""Tags that runs are found again by: the parent is the only one of kind `sweep`, a child has its stage's key."""
PARENT = "parent"
Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker:
    """Keeps MLflow in step with the store, for one plan.

    Call `open`, then `record` as often as you like, then `close`; each raises TrackingError if MLflow cannot be reached
    or written. After an outage call `forget` and begin with `open` again.

    Args:
        tracking_uri: where MLflow is.
        plan: what is to be there; may be replaced by a longer one at any time.
        store: what it is read from.
        cluster: where the runs that this tracker creates were made, e.g. `local`.
    """

    def __init__(self, tracking_uri: str, plan: Plan, store: Store, cluster: str = "local") -> None:
        self.tracking_uri = absolute(tracking_uri)
        self.plan = plan
        self._store = store
        self._cluster = cluster
        self._writer: RunWriter | None = None
        self._parent: TrackedRun | None = None
        self._runs: dict[str, TrackedRun] = {}
        self._complete: set[str] = set()
        self._wrote = False

    def follow(self, plan: Plan) -> None:
        """The plan has grown: its search drew more cells."""
        self.plan = plan

    def open(self) -> None:
        """Find the study's experiment and parent run, or create them; learn which runs are there already.

        Raises:
            TrackingOutageError: nobody answers.
            TrackingError: also if the experiment was deleted.
        """
        if self._parent is not None:
            return
        client = connect(self.tracking_uri)
        with explained(self.tracking_uri):
            self._writer = writer = RunWriter(client, self._find_experiment(client))
            self._runs = _without_twins(writer)
            parent = self._runs.pop(PARENT, None) or self._create_parent(writer)
            if parent.status != "FINISHED" or self._lacks_anything():
                writer.resume(parent)
            self._wrote |= write_study(writer, parent, self.plan)
        self._parent = parent

    def forget(self) -> None:
        """Know nothing of MLflow any more: a call that failed may have been carried out, its answer lost."""
        self._writer = self._parent = None
        self._runs = {}

    def record(self) -> int:
        """Write what the store holds and MLflow does not; returns how many runs were finished by it.

        Looks only for what is not finished yet, so it is cheap when there is nothing new.
        """
        self._record_prepare()
        plan, finished = self.plan, 0
        after = stages_after_gans(plan)
        for key, stage in plan.gans.items():
            if not self._holds_gan(key, after[key]):
                finished += self._write(gan_content(stage, after[key], plan, self._store))
        for trial in plan.trials:
            if not self._is_finished(trial.evaluate.key):
                finished += self._write(trial_content(trial, plan, self._store))
        return finished

    @property
    def delivered(self) -> int:
        """How many runs MLflow is known to hold whole."""
        return len(self._complete)

    def undelivered(self) -> int:
        """How many runs the store has something of that MLflow is not known to hold; asks the store alone."""
        gans = [key for key in self.plan.gans if self._store.find("gan", key)]
        trials = [trial.evaluate.key for trial in self.plan.trials]
        evaluated = [key for key in trials if self._store.find("evaluate", key)]
        return len({*gans, *evaluated} - self._complete)

    def close(self, status: Status = "FINISHED") -> None:
        """End the parent run, with the study's table in it; changes nothing if it was finished and nothing was added.

        Who ended the study by Ctrl-C does not wait for a table: it comes with the next launch. Runs that were begun
        and still lack something get the same status; the next launch completes them.
        """
        writer, parent = self._opened
        if parent.status == "FINISHED" and not self._wrote:
            return
        if status != "KILLED":
            self._log_report(writer, parent)
        with explained(self.tracking_uri):
            for run in [*self._runs.values(), parent]:
                if run.status == "RUNNING" or run is parent:
                    writer.end(run, status, time.time())
        self._wrote = False

    def _log_report(self, writer: RunWriter, parent: TrackedRun) -> None:
        report = build_report(self.plan, self._store)
        with explained(self.tracking_uri), tempfile.TemporaryDirectory(prefix="metsweep-") as folder:
            report.write(Path(folder))
            writer.client.log_artifacts(parent.id, folder, "report")
            describe_experiment(writer, parent, report)

    def model_of(self, stage_key: str) -> LoggedModel:
        """The model in the run of a GAN (its own key) or of a trial (its evaluate stage's key).

        Raises:
            TrackingError: also if there is no such run, or it holds no model.
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

    def _find_experiment(self, client: MlflowClient) -> str:
        name = self.plan.study.name
        found = client.get_experiment_by_name(name)
        if found is None:
            return client.create_experiment(name, artifact_location=self._artifact_location())
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"The MLflow experiment {name!r} at {without_secrets(self.tracking_uri)} was deleted. Restore it "
                f"(`mlflow experiments restore -x {found.experiment_id}`), or give the study another name."
            )
        return found.experiment_id

    def _artifact_location(self) -> str | None:
        """A server knows where artifacts go; without one they go beside the store in S3, or beside the SQLite file."""
        name = self.plan.study.name
        if self.tracking_uri.startswith("http"):
            return None
        if self._store.uri.startswith("s3://"):
            return f"{self._store.uri}/mlflow/{name}"
        # MLflow would pin its default to the working directory of whoever creates the experiment.
        folder = sqlite_folder(self.tracking_uri)
        return folder and str(folder / "mlruns" / name)

    def _create_parent(self, writer: RunWriter) -> TrackedRun:
        study = self.plan.study
        tags = {KIND: "sweep", "metsweep.study": study.name, "metsweep.cluster": self._cluster}
        return writer.create(study.name, tags, time.time())

    def _lacks_anything(self) -> bool:
        after = stages_after_gans(self.plan)
        return not all(self._is_finished(trial.evaluate.key) for trial in self.plan.trials) or not all(
            self._holds_gan(key, after[key]) for key in self.plan.gans
        )

    def _is_finished(self, key: str) -> bool:
        finished = key in self._runs and self._runs[key].status == "FINISHED"
        if finished:
            self._complete.add(key)
        return finished

    def _holds_gan(self, key: str, after: StagesAfter) -> bool:
        return self._is_finished(key) and {"gan", *after} <= set(self._runs[key].written)

    def _record_prepare(self) -> None:
        writer, parent = self._opened
        if "prepare" in parent.written:
            return
        for key, stage in self.plan.stages.items():
            artifact = self._store.find(stage.name, key) if stage.name == "prepare" else None
            if artifact is not None:
                with explained(self.tracking_uri):
                    self._wrote |= writer.write(parent, [Part("prepare", points=cost_points(artifact))])

    def _write(self, content: RunContent | None) -> bool:
        """Write what a run lacks; whether it is finished now."""
        if content is None:
            return False
        writer, parent = self._opened
        with explained(self.tracking_uri):
            run = self._runs.get(content.key)
            if run is None:
                tags = {STAGE_KEY: content.key, "mlflow.parentRunId": parent.id, "metsweep.cluster": self._cluster}
                run = writer.create(content.name, {**content.tags, **tags}, content.started)
                self._runs[content.key] = run
            self._wrote |= writer.write(run, content.parts, cost_tags(content.costs, self.plan.study.prices))
            if content.complete:
                writer.end(run, "FINISHED", content.finished)
                self._complete.add(content.key)
                self._wrote = True
        return content.complete


def _without_twins(writer: RunWriter) -> dict[str, TrackedRun]:
    """Stage key, or `parent` -> run. Of two with the same key the one that holds something, or is older, counts.

    An empty one is deleted: it was made by a call whose answer was lost in an outage, and the call that followed.
    """
    found: dict[str, TrackedRun] = {}
    for run in writer.existing():
        key = PARENT if run.tags.get(KIND) == "sweep" else run.tags.get(STAGE_KEY)
        if key is None:  # somebody else's
            continue
        twin = found.get(key)
        if twin is None or run.written or not twin.written:
            found[key], run = run, twin
        if run is not None and not run.written:
            writer.client.delete_run(run.id)
    return found
