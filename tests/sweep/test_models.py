"""The logged models do what the trained networks do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from sweep.plan import Plan
from sweep.store import Store
from sweep.tracking import Tracker
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.detector.prediction import load_detector, predict
from trainers.exceptions import SliceSetError

ALL = {"confidence": 0.001}
"""What an untrained network detects is seldom more confident than the small study's threshold."""


@pytest.fixture(scope="module")
def load(plan: Plan, full_store: Store, recorded_uri: str) -> Callable[[str], Any]:
    tracker = Tracker(recorded_uri, plan, full_store)
    tracker.open()
    return lambda key: mlflow.pyfunc.load_model(tracker.model_of(key).model_uri)


@pytest.fixture(scope="module")
def slices(plan: Plan, full_store: Store) -> SliceSet:
    return open_slice_set(full_store.root / "prepare" / plan.trials[0].evaluate.detector.slices.key)


@pytest.fixture(scope="module")
def detector(load: Callable[[str], Any], plan: Plan) -> Any:
    return load(plan.trials[0].evaluate.key)


@pytest.fixture(scope="module", params=["cpggan", "image2image"])
def generator(load: Callable[[str], Any], plan: Plan, request: pytest.FixtureRequest) -> Any:
    return load(next(key for key, gan in plan.gans.items() if gan.config.variant == request.param))


def boxes(*rows: tuple[int, float, float, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["slice", "x0", "y0", "x1", "y1"])
    return table.astype({"slice": np.int64} | dict.fromkeys(("x0", "y0", "x1", "y1"), np.float64))


def test_detector_predicts_what_the_trained_network_predicts(
    plan: Plan, full_store: Store, slices: SliceSet, detector: Any
) -> None:
    images = np.array(slices.images[slices.indices("test")])
    network = load_detector(full_store.root / "detector" / plan.trials[0].evaluate.detector.key)
    pd.testing.assert_frame_equal(detector.predict(images, params=ALL), predict(network, images))


def test_confidence_parameter_drops_weaker_detections(slices: SliceSet, detector: Any) -> None:
    images = np.array(slices.images[:2])
    everything = detector.predict(images, params=ALL)
    threshold = float(everything["confidence"].median())
    kept = detector.predict(images, params={"confidence": threshold})
    assert 0 < len(kept) < len(everything)
    assert detector.metadata.signature.params.params[0].default == 0.5, "the study's threshold"
    assert kept["confidence"].min() >= threshold


def test_detector_refuses_what_is_not_a_stack_of_square_slices(detector: Any) -> None:
    with pytest.raises(SliceSetError, match=r"\(1, 32, 16\); allowed: N x 32 x 32"):
        detector.predict(np.zeros((1, 32, 16), np.uint8))
    with pytest.raises(SliceSetError, match=r"\(2, 16, 16\); allowed: N x 32 x 32"):
        detector.predict(np.zeros((2, 16, 16), np.uint8))
    with pytest.raises(MlflowException, match="uint8"):
        detector.predict(np.zeros((1, 32, 32), np.float32))


def test_generator_makes_a_slice_a_number_and_depends_on_boxes_and_seed(generator: Any) -> None:
    asked = boxes((0, 4, 4, 12, 12), (2, 16, 16, 24, 26), (2, 2, 2, 6, 6))
    made = generator.predict(asked)
    assert made.shape == (3, 32, 32)
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, generator.predict(asked))
    assert (made != generator.predict(asked, params={"seed": 1})).any()
    moved = generator.predict(boxes((0, 20, 20, 30, 30), (2, 16, 16, 24, 26), (2, 2, 2, 6, 6)))
    assert (moved[0] != made[0]).any()
    assert np.abs(moved[2].astype(int) - made[2]).max() <= 1


def test_generator_takes_the_detectors_boxes(slices: SliceSet, detector: Any, generator: Any) -> None:
    found = detector.predict(np.array(slices.images[:2]), params=ALL)
    assert generator.predict(found).shape == (2, 32, 32)


@pytest.mark.parametrize("row", [(-1, 0, 0, 4, 4), (0, 8, 0, 8, 4), (0, 40, 40, 50, 50), (0, float("nan"), 0, 4, 4)])
def test_generator_refuses_boxes_without_area(generator: Any, row: tuple[int, float, float, float, float]) -> None:
    with pytest.raises(SliceSetError, match=r"Row 1 .*within 0 to 32"):
        generator.predict(boxes((0, 1, 1, 4, 4), row))


def test_models_carry_signature_example_and_licence(detector: Any, generator: Any) -> None:
    for model, inputs in ((detector, "tensor"), (generator, "x0")):
        assert inputs in str(model.metadata.signature.inputs.to_dict())
        assert model.input_example is not None
        assert model.metadata.metadata == {"license": "AGPL-3.0-or-later"}
        assert model.metadata.flavors["python_function"]["loader_module"] == "mlflow.pyfunc.loaders.code_model"
