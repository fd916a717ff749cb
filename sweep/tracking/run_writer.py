"""Writes the parts of a run into MLflow so that nothing is there twice, however often writing was interrupted."""

from __future__ import annotations

import getpass
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.models.packaging import LICENCE
from sweep.tracking.run_content import NetworkFiles, Part, Slices

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric

WRITTEN = "metsweep.written"
"""Tag of a run: names of its parts that are there, comma-separated."""


@dataclass
class TrackedRun:
    """A run as it stands in MLflow."""

    id: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    tags: dict[str, str]
    written: list[str] = field(default_factory=list)
    """Names of its parts that are there."""
    resumed: bool = False
    """Whether another driver began it."""


class RunWriter:
    """Writes runs of one experiment."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id

    def existing(self) -> Iterator[TrackedRun]:
        """Every run of the experiment that is not deleted."""
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], max_results=1000, page_token=token)
            for run in page:
                tags = dict(run.data.tags)
                written = [name for name in tags.get(WRITTEN, "").split(",") if name]
                yield TrackedRun(run.info.run_id, run.info.status, tags, written, resumed=True)
            token = page.token
            if not token:
                return

    def create(self, name: str, tags: dict[str, str], started: float) -> TrackedRun:
        """A new run with its tags at once: there is no moment at which it could not be found again."""
        tags = {**tags, "mlflow.user": _user(), "mlflow.source.name": "metsweep", "mlflow.source.type": "LOCAL"}
        commit = _commit()
        if commit:
            tags["mlflow.source.git.commit"] = commit
        run = self.client.create_run(self.experiment_id, start_time=round(started * 1000), tags=tags, run_name=name)
        return TrackedRun(run.info.run_id, "RUNNING", tags)

    def resume(self, run: TrackedRun) -> None:
        """Mark a run that ended before it was complete as running again."""
        self.client.update_run(run.id, status="RUNNING")
        run.status = "RUNNING"

    def end(self, run: TrackedRun, status: str, finished: float) -> None:
        """Give a run its final status, as of `finished` (unix seconds)."""
        self.client.set_terminated(run.id, status, end_time=round(finished * 1000))
        run.status = status

    def model_in(self, run: TrackedRun) -> LoggedModel | None:
        """The model that belongs to a run."""
        found = self.client.search_logged_models([self.experiment_id], f"source_run_id = '{run.id}'")
        return found[0] if found else None

    def write(self, run: TrackedRun, part: Part) -> bool:
        """Write a part and mark it; False if it was there already."""
        from mlflow.entities import Param

        if part.name in run.written:
            return False
        there = self.client.get_run(run.id).data.params if run.resumed and part.params else {}
        self.client.log_batch(
            run.id, params=[Param(key, value) for key, value in part.params.items() if key not in there]
        )
        if part.slices:
            self._write_slices(run, part.slices)
        if part.figures is not None and part.figures.is_dir():
            self.client.log_artifacts(run.id, str(part.figures), f"figures/{part.name}")
        if part.network is not None:
            self._write_network(run, part.network)
        if part.note is not None:
            self.client.set_tag(run.id, "mlflow.note.content", part.note)
        model = self.model_in(run) if part.judges_network else None
        # Written twice after a kill, exact duplicates are dropped by MLflow.
        self.client.log_batch(run.id, metrics=_metrics(run, part, model))
        run.written.append(part.name)
        self.client.set_tag(run.id, WRITTEN, ",".join(run.written))
        return True

    def _write_slices(self, run: TrackedRun, slices: tuple[Slices, ...]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=one.name,
                    digest=one.key[:32],
                    source_type="local",
                    source=json.dumps({"uri": str(one.path)}),
                    profile=json.dumps({"slices": one.count}),
                ),
                [InputTag("mlflow.data.context", "training")],
            )
            for one in slices
        ]
        self.client.log_inputs(run.id, datasets=inputs)

    def _write_network(self, run: TrackedRun, network: NetworkFiles) -> None:
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model

        logged = self.model_in(run) or self.client.create_logged_model(
            self.experiment_id, network.name, source_run_id=run.id, tags={"license": LICENCE}
        )
        model = Model(
            artifact_path=logged.artifact_location,
            run_id=run.id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        )
        with tempfile.TemporaryDirectory(prefix="metsweep-") as folder:
            network.save(Path(folder) / "model", model)
            self.client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
        outputs = self.client.get_run(run.id).outputs
        if not (outputs and outputs.model_outputs):
            self.client.log_outputs(run.id, [LoggedModelOutput(logged.model_id, step=0)])
        self.client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _metrics(run: TrackedRun, part: Part, model: LoggedModel | None) -> list[Metric]:
    from mlflow.entities import Metric

    model_id = model.model_id if model else None
    return [
        Metric(point.name, point.value, round(point.time * 1000), point.step, model_id=model_id, run_id=run.id)
        for point in part.points
    ]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


@cache
def _commit() -> str | None:
    """Commit of metsweep's source, if it runs from a clone."""
    clone = Path(__file__).parents[2]
    if not (clone / ".git").exists():
        return None
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
