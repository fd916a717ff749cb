"""Only a complete study, its best by validation, and models that work become champions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from sweep.detect import MODEL_COLUMNS, champion_folder, detect, slice_config
from sweep.plan import Plan
from sweep.registry.registry import DETECTOR, GENERATOR, promote, ranking
from sweep.store import Store
from sweep.tracking.tracker import STAGE_KEY, Tracker
from tests.sweep.small_study import small_plan
from tests.sweep.test_report import put
from tests.trainers.data.phantom import save, stripped_brain
from trainers.exceptions import ConfigError, StoreError, TrackingError

LOAD_BOTH = """
import json, sys
import mlflow, numpy as np, pandas as pd

detector = mlflow.pyfunc.load_model("models:/metsweep-detector@champion")
found = detector.predict(np.load(sys.argv[1])[:2], params={"confidence": 0.001})
inside = detector.predict("t1c.nii.gz", params={"confidence": 0.001, "stripped": True})
generator = mlflow.pyfunc.load_model("models:/metsweep-generator@champion")
made = generator.predict(pd.DataFrame({"slice": [0], "x0": [8.0], "y0": [8.0], "x1": [16.0], "y1": [18.0]}))
print(json.dumps([list(found.columns), len(found), list(made.shape), str(made.dtype), inside.to_dict("list")]))
"""


def test_the_best_is_chosen_by_validation_not_by_test(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    for trial, validation, test, fps in zip(
        plan.trials, (0.5, 0.7, 0.7, 0.6), (0.9, 0.1, 0.2, 0.8), (1.0, 3.0, 2.0, 1.0), strict=True
    ):
        put(store, trial, test, validation, fps)
    names = [one.trial.name for one in ranking(plan, store)]
    assert names == ["cpggan 8 seed 0", "cpggan 4 seed 0", "image2image 4 seed 0", "none seed 0"]


def test_an_incomplete_study_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path / "store")
    put(store, plan.trials[0], 0.5)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(StoreError, match=r"3 of 4 trials.*cpggan 4 seed 0.*metsweep launch small"):
        promote(plan, store, Tracker(uri, plan, store))
    assert not (tmp_path / "mlflow.db").exists()


def test_a_study_without_iou_50_is_refused(tmp_path: Path) -> None:
    plan, store = small_plan(evaluation={"ious": [0.25]}), Store(tmp_path)
    for trial in plan.trials:
        put(store, trial, 0.5)
    with pytest.raises(ConfigError, match=r"evaluation.ious is \[0.25\]"):
        ranking(plan, store)


def test_champions_pass_the_gate_and_load_anywhere(
    plan: Plan, full_store: Store, recorded_uri: str, tmp_path: Path
) -> None:
    tracker = Tracker(recorded_uri, plan, full_store)
    tracker.open()
    client = MlflowClient(recorded_uri, recorded_uri)
    best = ranking(plan, full_store)[0].trial

    description = Path(tracker.model_of(best.evaluate.key).artifact_location) / "MLmodel"
    hidden = description.rename(description.with_name("hidden"))
    with pytest.raises(TrackingError, match=r"did not pass the gate.*MLmodel"):
        promote(plan, full_store, tracker)
    assert not client.get_registered_model(DETECTOR).aliases
    hidden.rename(description)

    promotion = promote(plan, full_store, tracker)
    assert promotion.best == best
    assert promotion.generator is not None
    assert (promotion.detector.version, promotion.detector.newly_champion) == ("1", True)
    version = client.get_model_version_by_alias(DETECTOR, "champion")
    assert version.tags == {STAGE_KEY: best.evaluate.key, "license": "AGPL-3.0-or-later"}
    for key in (best.evaluate.key, best.evaluate.detector.key, best.evaluate.detector.slices.key, "Study small"):
        assert key in (version.description or "")
    champion = client.get_model_version_by_alias(GENERATOR, "champion")
    assert champion.tags[STAGE_KEY] in plan.gans

    again = promote(plan, full_store, Tracker(recorded_uri, plan, full_store))
    assert (again.detector.version, again.detector.newly_champion) == ("1", False)
    assert len(client.search_model_versions(f"name = '{DETECTOR}'")) == 1
    assert len(client.search_model_versions(f"name = '{GENERATOR}'")) == 1

    images = full_store.local / "prepare" / best.evaluate.detector.slices.key / "images.npy"
    save(tmp_path / "t1c.nii.gz", stripped_brain())
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD_BOTH, str(images)],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": recorded_uri},
        capture_output=True,
        text=True,
    )
    assert loaded.returncode == 0, loaded.stderr
    columns, count, shape, dtype, inside = json.loads(loaded.stdout.splitlines()[-1])
    assert columns == list(MODEL_COLUMNS)
    assert count > 0
    assert (shape, dtype) == ([1, 32, 32], "uint8")
    weights = champion_folder(promotion.detector.uri, recorded_uri)
    by_command = detect(
        tmp_path / "t1c.nii.gz", weights, slice_config(weights), tmp_path, confidence=0.001, model="m", stripped=True
    )
    assert len(by_command.boxes) > 0
    # Boxes of all but the same confidence come in an order that rounding decides.
    place = ["slice", "x0", "y0", "x1", "y1"]
    boxes = [pd.DataFrame(inside), by_command.boxes.rename(columns={"z": "slice"})]
    by_model, by_hand = (one.sort_values(place, ignore_index=True) for one in boxes)
    pd.testing.assert_frame_equal(by_model, by_hand)
