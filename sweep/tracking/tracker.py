"""Writes a sweep into MLflow: one parent run, one child run a trial and one a GAN.

MLflow is filled from the store, never the other way round, and only by the process that drives the sweep. Every run is
found again by its stage key, and every part of it is marked when written: kill the driver at any moment, launch again,
and what is missing is added, nothing is doubled.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sweep.plan import Plan
from sweep.report.report import build_report
from sweep.store import Store
from sweep.tracking.gan_content import gan_content, gan_parts
from sweep.tracking.mlflow_client import absolute, connect, explained, sqlite_folder
from sweep.tracking.run_content import Part, RunContent, cost_points, flat, trial_content
from sweep.tracking.run_writer import RunWriter, TrackedRun
from trainers.exceptions import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

STUDY_KEY, STAGE_KEY = "metsweep.study_key", "metsweep.stage_key"
"""Tags that runs are found again by: the parent, and the children."""
Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker:
    """Keeps MLflow in step with the store, for one plan.

    Call `open`, then `record` as often as you like, then `close`; each raises TrackingError if MLflow cannot be reached
    or written.
    """

    def __init__(self, tracking_uri: str, plan: Plan, store: Store) -> None:
        self.tracking_uri = absolute(tracking_uri)
        self._plan = plan
        self._store = store
        self._writer: RunWriter | None = None
        self._parent: TrackedRun | None = None
        self._runs: dict[str, TrackedRun] = {}
        self._wrote = False

    def open(self) -> None:
        """Find the study's experiment and parent run, or create them; learn which runs are there already.

        Raises:
            TrackingError: also if the experiment was deleted.
        """
        if self._parent is not None:
            return
        client = connect(self.tracking_uri)
        with explained(self.tracking_uri):
            self._writer = writer = RunWriter(client, self._find_experiment(client))
            key = study_key(self._plan)
            for run in writer.existing():
                if run.tags.get(STUDY_KEY) == key:
                    self._parent = run
                elif STAGE_KEY in run.tags:
                    self._runs[run.tags[STAGE_KEY]] = run
            if self._parent is None:
                study = self._plan.study
                tags = {STUDY_KEY: key, "metsweep.kind": "sweep", "metsweep.fidelity": study.fidelity}
                self._parent = writer.create(study.name, tags, time.time())
            elif self._parent.status != "FINISHED":
                writer.resume(self._parent)
            self._wrote |= writer.write(self._parent, self._study_part())

    def record(self) -> int:
        """Write what the store holds and MLflow does not; returns how many runs were finished by it.

        Looks only for what is not finished yet, so it is cheap when there is nothing new.
        """
        self._record_prepare()
        finished = 0
        for key, stage in self._plan.gans.items():
            if not self._is_finished(key) or not gan_parts(stage, self._plan) <= set(self._runs[key].written):
                finished += self._write(gan_content(stage, self._plan, self._store))
        for trial in self._plan.trials:
            if not self._is_finished(trial.evaluate.key):
                finished += self._write(trial_content(trial, self._plan, self._store))
        return finished

    def close(self, status: Status = "FINISHED") -> None:
        """End the parent run, with the study's table in it; changes nothing if it was finished and nothing was added.

        Runs that were begun and still lack something get the same status; the next launch completes them.
        """
        writer, parent = self._opened
        if parent.status == "FINISHED" and not self._wrote:
            return
        report = build_report(self._plan, self._store)
        with explained(self.tracking_uri), tempfile.TemporaryDirectory(prefix="metsweep-") as folder:
            report.write(Path(folder))
            writer.client.log_artifacts(parent.id, folder, "report")
            writer.client.set_tag(parent.id, "mlflow.note.content", report.markdown())
            for run in [*self._runs.values(), parent]:
                if run.status == "RUNNING" or run is parent:
                    writer.end(run, status, time.time())
        self._wrote = False

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
            name = self._plan.study.name
            raise TrackingError(
                f"MLflow at {self.tracking_uri} holds no model of stage key {stage_key[:12]} in the experiment "
                f"{name!r}; `metsweep launch {name}` writes what is missing."
            )
        return model

    @property
    def _opened(self) -> tuple[RunWriter, TrackedRun]:
        if self._writer is None or self._parent is None:
            raise RuntimeError("open() comes first")
        return self._writer, self._parent

    def _find_experiment(self, client: MlflowClient) -> str:
        name = self._plan.study.name
        found = client.get_experiment_by_name(name)
        if found is None:
            folder = sqlite_folder(self.tracking_uri)
            # MLflow would pin its default to the working directory of whoever creates the experiment.
            return client.create_experiment(name, artifact_location=folder and str(folder / "mlruns" / name))
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"The MLflow experiment {name!r} at {self.tracking_uri} was deleted. Restore it (`mlflow experiments "
                f"restore -x {found.experiment_id}`), or give the study another name."
            )
        return found.experiment_id

    def _is_finished(self, key: str) -> bool:
        return key in self._runs and self._runs[key].status == "FINISHED"

    def _record_prepare(self) -> None:
        writer, parent = self._opened
        for key, stage in self._plan.stages.items():
            artifact = self._store.find(stage.name, key) if stage.name == "prepare" else None
            if artifact is not None:
                with explained(self.tracking_uri):
                    self._wrote |= writer.write(parent, Part("prepare", points=cost_points(artifact)))

    def _write(self, content: RunContent | None) -> bool:
        """Write what a run lacks; whether it is finished now."""
        if content is None:
            return False
        writer, parent = self._opened
        with explained(self.tracking_uri):
            run = self._runs.get(content.key)
            if run is None:
                tags = {**content.tags, STAGE_KEY: content.key, "mlflow.parentRunId": parent.id}
                run = self._runs[content.key] = writer.create(content.name, tags, content.started)
            for part in content.parts:
                self._wrote |= writer.write(run, part)
            if content.complete:
                writer.end(run, "FINISHED", content.finished)
                self._wrote = True
        return content.complete

    def _study_part(self) -> Part:
        study = self._plan.study
        params = {
            "study": study.name,
            "arms": "; ".join(dict.fromkeys(trial.arm for trial in self._plan.trials)),
            "seeds": ", ".join(map(str, study.seeds)),
            "count_scale": f"{study.count_scale:g}",
            "trials": str(len(self._plan.trials)),
        }
        for name in ("prepare", "gan", "synthesis", "detector", "evaluation", "realism"):
            params |= flat(name, getattr(study, name))
        return Part("study", params=params)


def study_key(plan: Plan) -> str:
    """Names a sweep by what it makes: SHA-256 over the study's name and its trials' stage keys, hexadecimal."""
    keys = sorted(trial.evaluate.key for trial in plan.trials)
    return hashlib.sha256(json.dumps([plan.study.name, keys]).encode()).hexdigest()
