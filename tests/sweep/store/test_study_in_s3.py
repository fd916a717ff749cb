"""A whole study in a bucket: its artifacts, its report, and what MLflow keeps of it."""

from __future__ import annotations

import os
from pathlib import Path

import mlflow.pyfunc
import pytest

from sweep.plan import Plan
from sweep.report.report import build_report
from sweep.store import Store
from sweep.tracking.tracker import Tracker
from tests.services.seaweedfs import BUCKET, SeaweedFS
from tests.sweep.publishing import publish_copy


@pytest.mark.slow
def test_artifacts_models_and_figures_lie_in_one_bucket(
    plan: Plan,
    full_store: Store,
    seaweedfs: SeaweedFS,
    tracking_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy() | seaweedfs.environment | {"METSWEEP_CACHE": str(tmp_path)})
    store = Store(f"s3://{BUCKET}/whole-study")
    for stage in plan.stages.values():
        made = full_store.find(stage.name, stage.key)
        assert made is not None
        publish_copy(store, stage, made)

    assert build_report(plan, store).markdown() == build_report(plan, full_store).markdown()

    tracker = Tracker(tracking_uri, plan, store)
    tracker.open()
    tracker.record()
    tracker.close()
    listed = seaweedfs.client().list_objects_v2(Bucket=BUCKET, Prefix=f"whole-study/mlflow/{plan.study.name}/")
    names = [entry["Key"] for entry in listed["Contents"]]
    assert sum(name.endswith("MLmodel") for name in names) == len(plan.trials) + len(plan.gans)
    assert any("/figures/" in name for name in names)
    model = tracker.model_of(plan.trials[0].evaluate.key)
    assert mlflow.pyfunc.load_model(f"models:/{model.model_id}").metadata.signature is not None
