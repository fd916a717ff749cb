"""What the study itself is in MLflow: versions of its file, and what one sees on opening the experiment."""

from __future__ import annotations

import hashlib

import yaml

from sweep.plan import Plan
from sweep.report.report import Report
from sweep.tracking.run_writer import RunWriter, TrackedRun

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
    writer.tag(parent, tags)
    return True


def describe_experiment(writer: RunWriter, plan: Plan, report: Report) -> None:
    """Set what one sees on opening the study's experiment."""
