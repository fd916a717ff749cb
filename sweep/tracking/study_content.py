"""What the study itself is in MLflow: versions of its file, and what one sees on opening the experiment."""

from __future__ import annotations

import hashlib
import json

import yaml

from sweep.plan import Plan
from sweep.report.report import Report
from sweep.tracking.run_writer import RunWriter, TrackedRun

VIEW = "trials"
LONGEST_NOTE = 5000
"""What MLflow takes as an experiment's tag, characters."""
VERSION, DIGEST = "metsweep.study_version", "metsweep.study_digest"


def write_study(writer: RunWriter, parent: TrackedRun, plan: Plan) -> bool:
    """Keep the study's file in its parent run, as `study/study-<n>.yaml`, a new one whenever it changed.

    MLflow's params never change, a study's arms and seeds do: those are tags.

    Returns:
        Whether it changed.
    """
    study = plan.study
    text = yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    tags = {
        "metsweep.study": study.name,
        "metsweep.fidelity": study.fidelity,
        "metsweep.arms": "; ".join(dict.fromkeys(trial.arm for trial in plan.trials)),
        "metsweep.seeds": ", ".join(map(str, study.seeds)),
        "metsweep.trials": str(len(plan.trials)),
        DIGEST: digest,
    }
    if all(parent.tags.get(name) == value for name, value in tags.items()):
        return False
    if parent.tags.get(DIGEST) != digest:
        version = str(int(parent.tags.get(VERSION, "0")) + 1)
        writer.client.log_text(parent.id, text, f"study/study-{version}.yaml")
        tags[VERSION] = version
    show_trials_first(writer, plan)
    writer.tag(parent, tags)
    return True


def show_trials_first(writer: RunWriter, plan: Plan) -> None:
    """Make the experiment open on its trials, the best on top, with the columns that they are compared by.

    The view is one of those that MLflow's button "Share" makes, under a name of our own: see `trials_page`.
    """
    iou = f"iou{round(100 * plan.study.evaluation.ious[0])}"
    sensitivity, fps = f"metrics.`validation/sensitivity_{iou}`", f"metrics.`validation/fps_per_slice_{iou}`"
    view = {
        "searchFilter": "",
        "orderByKey": sensitivity,
        "orderByAsc": False,
        "selectedColumns": [sensitivity, fps, "params.`variant`", "params.`count`", "params.`seed`"],
    }
    tags = {"mlflow.experimentKind": "custom_model_development", f"mlflow.sharedViewState.{VIEW}": json.dumps(view)}
    for name, value in tags.items():
        writer.client.set_experiment_tag(writer.experiment_id, name, value)


def trials_page(experiment_id: str) -> str:
    """What follows the address of MLflow's UI to show a study's trials, best first."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW}"


def describe_experiment(writer: RunWriter, parent: TrackedRun, report: Report) -> None:
    """Put the report's table, with a link to the trials, where MLflow shows the notes of the sweep and the study."""
    note = f"[The trials, best first]({trials_page(writer.experiment_id)[1:]})\n\n{report.markdown()}"
    writer.tag(parent, {"mlflow.note.content": note[:LONGEST_NOTE]})
    writer.client.set_experiment_tag(writer.experiment_id, "mlflow.note.content", note[:LONGEST_NOTE])
