"""The study itself in MLflow: versions of its file, views of its runs, and notes."""

from __future__ import annotations

import hashlib
import json

from sweep.plan import Plan
from sweep.tracking.charts import charts
from sweep.tracking.mlflow_client import connect, explained
from sweep.tracking.run_writer import RunWriter, TrackedRun
from sweep.tracking.tags import (
    ARMS,
    FIDELITY,
    KIND,
    NOTE,
    SEEDS,
    STUDY,
    STUDY_DIGEST,
    STUDY_VERSION,
    TRIALS,
)
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.outcome import name_of
from trainers.yaml_text import to_document

LONGEST_NOTE = 5000
"""Most that MLflow takes as an experiment's tag, characters."""


def write_study(writer: RunWriter, parent: TrackedRun, plan: Plan) -> bool:
    """Keep the study's file in its parent run, as `study/study-<n>.yaml`, with a new version after each change.

    MLflow's params are immutable; a study's arms and seeds are not, so they are tags.

    Returns:
        Whether the study changed.
    """
    study = plan.study
    text = to_document(study.model_dump(mode="json"))
    digest = hashlib.sha256(text.encode()).hexdigest()
    tags = {
        STUDY: study.name,
        FIDELITY: study.fidelity,
        ARMS: "; ".join(dict.fromkeys(trial.arm for trial in plan.trials)),
        SEEDS: ", ".join(map(str, study.seeds)),
        TRIALS: str(len(plan.trials)),
        STUDY_DIGEST: digest,
    }
    if all(parent.tags.get(name) == value for name, value in tags.items()):
        return False
    if parent.tags.get(STUDY_DIGEST) != digest:
        version = str(int(parent.tags.get(STUDY_VERSION, "0")) + 1)
        writer.client.log_text(parent.id, text, f"study/study-{version}.yaml")
        tags[STUDY_VERSION] = version
    _set_views(writer, plan)
    writer.tag(parent, tags)
    return True


def study_pages(tracking_uri: str) -> dict[str, str]:
    """Study -> the path in MLflow's UI that shows its trials, best first.

    Raises:
        TrackingError: MLflow cannot be reached.
    """
    client = connect(tracking_uri)
    with explained(tracking_uri):
        shown = [experiment for experiment in client.search_experiments() if _view_tag("trials") in experiment.tags]
    return {experiment.name: _page(experiment.experiment_id, "trials") for experiment in shown}


def describe_experiment(writer: RunWriter, parent: TrackedRun, report: str) -> None:
    """Put the report in Markdown, and links to the two views, into the notes of the sweep and of the experiment."""
    trials, sweep = (_page(writer.experiment_id, view)[1:] for view in ("trials", "sweep"))
    links = f"[The trials, best first]({trials}), [the sweep with its GANs and trials in order]({sweep})"
    note = f"{links}\n\n{report}"[:LONGEST_NOTE]
    writer.tag(parent, {NOTE: note})
    writer.client.set_experiment_tag(writer.experiment_id, NOTE, note)


def _set_views(writer: RunWriter, plan: Plan) -> None:
    """Two views of the experiment's runs with the columns and charts that they are compared by: trials, and all.

    They are what MLflow's button "Share" makes, under fixed names. MLflow shows children below their parent only if
    runs are sorted by time.
    """
    iou = name_of(plan.study.evaluation.ious[0])
    measures = [f"{split}/{measure.name}_{iou}" for split in ("validation", "test") for measure in TABLE1]
    drawn = dict.fromkeys(name for trial in plan.trials for name in trial.params)
    params = dict.fromkeys(("variant", "count", "seed", *(["fold"] if plan.study.folds else []), *drawn))
    columns = [*(f"metrics.`{name}`" for name in measures), *(f"params.`{name}`" for name in params)]
    views = {"trials": (f"tags.`{KIND}` = 'trial'", columns[0]), "sweep": ("", "attributes.start_time")}
    for view, (search, key) in views.items():
        state = {"searchFilter": search, "orderByKey": key, "orderByAsc": False, "selectedColumns": columns}
        state |= charts(measures, ("detector/validation/sensitivity", "detector/loss", "gan/d_loss", "gan/g_loss"))
        text = json.dumps(state, separators=(",", ":"))
        writer.client.set_experiment_tag(writer.experiment_id, _view_tag(view), text)


def _view_tag(view: str) -> str:
    return f"mlflow.sharedViewState.{view}"


def _page(experiment_id: str, view: str) -> str:
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={view}"
