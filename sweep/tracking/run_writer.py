"""Writes the parts of a run into MLflow, none twice, however often writing was interrupted."""

from __future__ import annotations

import getpass
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from sweep.models.packaging import LICENCE_TAG
from sweep.tracking.mlflow_client import every_page
from sweep.tracking.run_content import NetworkFiles, Part, Point, Slices
from sweep.tracking.tags import NOTE, SOURCE_COMMIT, WRITTEN

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric

RunStatus = Literal["SCHEDULED", "RUNNING", "FINISHED", "FAILED", "KILLED"]
"""MLflow's names."""
MOST_ENTITIES, MOST_PARAMS = 1000, 100
"""Most that MLflow takes in one call: in total, and of params."""
RUNS_PER_PAGE = 100
"""Runs read at once; each comes with a hundred params and as many metrics."""


@dataclass
class TrackedRun:
    """The present state of a run in MLflow."""

    id: str
    status: RunStatus
    tags: dict[str, str]
    written: list[str] = field(default_factory=list)
    """Names of the parts that it holds."""
    resumed: bool = False
    """Whether the run existed before this process: it may hold more than is marked as written."""
    model_id: str | None = None
    """Its model in MLflow, once looked up."""


class RunWriter:
    """Writes runs of one experiment."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self.client = client
        self.experiment_id = experiment_id

    def existing(self) -> Iterator[TrackedRun]:
        """Every run of the experiment that is not deleted."""
        ids = [self.experiment_id]
        for run in every_page(lambda token: self.client.search_runs(ids, max_results=RUNS_PER_PAGE, page_token=token)):
            tags = dict(run.data.tags)
            written = [name for name in tags.get(WRITTEN, "").split(",") if name]
            yield TrackedRun(run.info.run_id, cast(RunStatus, run.info.status), tags, written, resumed=True)

    def create(self, name: str, tags: dict[str, str], started: float) -> TrackedRun:
        """A new run that has its tags from the start, so that it can always be found again."""
        tags = {**tags, "mlflow.user": _user(), "mlflow.source.name": "metsweep", "mlflow.source.type": "LOCAL"}
        if commit := _commit():
            tags[SOURCE_COMMIT] = commit
        run = self.client.create_run(self.experiment_id, start_time=round(started * 1000), tags=tags, run_name=name)
        return TrackedRun(run.info.run_id, "RUNNING", tags)

    def resume(self, run: TrackedRun) -> None:
        """Mark a run that ended before it was complete as running again."""
        if run.status != "RUNNING":
            self.client.update_run(run.id, status="RUNNING")
            run.status = "RUNNING"

    def end(self, run: TrackedRun, status: RunStatus, finished: float) -> None:
        """Give a run its final status, as of `finished` (unix seconds)."""
        self.client.set_terminated(run.id, status, end_time=round(finished * 1000))
        run.status = status

    def delete(self, run: TrackedRun) -> None:
        """Delete a run and its model, as MLflow's UI does: both can be restored until `mlflow gc` removes them."""
        if (model := self.model_in(run)) is not None:
            self.client.delete_logged_model(model.model_id)
        self.client.delete_run(run.id)

    def is_registered(self, run: TrackedRun) -> bool:
        """Whether a version in the Model Registry came from a run."""
        return bool(self.client.search_model_versions(f"run_id = '{run.id}'", max_results=1))

    def model_in(self, run: TrackedRun) -> LoggedModel | None:
        """The model that belongs to a run."""
        models = self.client.search_logged_models([self.experiment_id], f"source_run_id = '{run.id}'")
        return models[0] if models else None

    def write(self, run: TrackedRun, parts: Sequence[Part], tags: Mapping[str, str] | None = None) -> bool:
        """Write the parts that a run lacks, in their order, and mark them; False if it lacks none.

        Files go first; then all params, metrics and `tags` in as few calls as MLflow allows, the mark in the last.
        """
        lacking = [part for part in parts if part.name not in run.written]
        if not lacking:
            return False
        self.resume(run)
        for part in lacking:
            self._write_files(run, part)
        marked = [*run.written, *(part.name for part in lacking)]
        notes = [part.note for part in lacking if part.note is not None]
        note = {NOTE: notes[-1]} if notes else {}
        # After a kill or an outage parts are written twice: MLflow drops duplicate metrics, but refuses params again.
        params = {name: value for part in lacking for name, value in part.params.items()}
        written_params = self.client.get_run(run.id).data.params if run.resumed and params else {}
        metrics = [metric for part in lacking for metric in _metrics(run, part)]
        tags = note | dict(tags or {}) | {WRITTEN: ",".join(marked)}
        self._send(run, {name: value for name, value in params.items() if name not in written_params}, metrics, tags)
        run.written = marked
        return True

    def tag(self, run: TrackedRun, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        self._send(run, {}, [], tags)
        run.tags |= tags

    def add(self, run: TrackedRun, points: Sequence[Point], tags: Mapping[str, str]) -> None:
        """Add metrics to a run, and set its tags with the last of them."""
        from mlflow.entities import Metric

        metrics = [Metric(point.name, point.value, round(point.time * 1000), point.step) for point in points]
        self._send(run, {}, metrics, tags)
        run.tags |= tags

    def _send(self, run: TrackedRun, params: Mapping[str, str], metrics: list[Metric], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        entities = [Param(key, value) for key, value in params.items()]
        param_batches = [entities[at : at + MOST_PARAMS] for at in range(0, len(entities), MOST_PARAMS)]
        size = MOST_ENTITIES - MOST_PARAMS - len(tags)
        metric_batches = [metrics[at : at + size] for at in range(0, len(metrics), size)]
        calls = list(zip_longest(param_batches, metric_batches)) or [(None, None)]
        for number, (some_params, some_metrics) in enumerate(calls, 1):
            last = [RunTag(key, value) for key, value in tags.items()] if number == len(calls) else []
            self.client.log_batch(run.id, metrics=some_metrics or [], params=some_params or [], tags=last)

    def _write_files(self, run: TrackedRun, part: Part) -> None:
        for name, text in part.texts.items():
            self.client.log_text(run.id, text, name)
        if part.slices:
            self._write_slices(run, part.slices)
        if part.figures is not None and part.figures.is_dir():
            self.client.log_artifacts(run.id, str(part.figures), f"figures/{part.name}")
        if part.network is not None:
            self._write_network(run, part.network)
        if part.judges_network and run.model_id is None:
            model = self.model_in(run)
            run.model_id = model.model_id if model else None

    def _write_slices(self, run: TrackedRun, slices: tuple[Slices, ...]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=slice_set.name,
                    digest=slice_set.key[:32],
                    source_type="local",
                    source=json.dumps({"uri": str(slice_set.path)}),
                    profile=json.dumps({"slices": slice_set.count}),
                ),
                [InputTag("mlflow.data.context", "training")],
            )
            for slice_set in slices
        ]
        self.client.log_inputs(run.id, datasets=inputs)

    def _write_network(self, run: TrackedRun, network: NetworkFiles) -> None:
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus
        from mlflow.models import Model

        existing = self.model_in(run) if run.resumed else None
        logged = existing or self.client.create_logged_model(
            self.experiment_id, network.name, source_run_id=run.id, tags=LICENCE_TAG
        )
        key = logged.model_id
        model = Model(artifact_path=logged.artifact_location, run_id=run.id, model_uuid=key, model_id=key)
        with tempfile.TemporaryDirectory(prefix="metsweep-") as folder:
            network.save(Path(folder) / "model", model)
            self.client.log_model_artifacts(key, str(Path(folder) / "model"))
        outputs = self.client.get_run(run.id).outputs if existing else None
        if not (outputs and outputs.model_outputs):
            self.client.log_outputs(run.id, [LoggedModelOutput(key, step=0)])
        self.client.finalize_logged_model(key, LoggedModelStatus.READY)
        run.model_id = key


def _metrics(run: TrackedRun, part: Part) -> Iterator[Metric]:
    from mlflow.entities import Metric

    model_id = run.model_id if part.judges_network else None
    for point in part.points:
        yield Metric(point.name, point.value, round(point.time * 1000), point.step, model_id=model_id, run_id=run.id)


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
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
