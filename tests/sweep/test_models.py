"""The logged models do what the trained networks do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import init

from sweep.detect import detect, slice_config
from sweep.plan import Plan
from sweep.store import Store
from sweep.tracking.tracker import Tracker
from tests.trainers.data.phantom import save, stripped_brain
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.detector.prediction import load_detector, predict
from trainers.exceptions import CohortError, SliceSetError

ALL = {"confidence": 0.001}
"""What an untrained network detects is seldom more confident than the small study's threshold."""


@pytest.fixture(scope="module")
def load(plan: Plan, full_store: Store, recorded_uri: str) -> Callable[[str], Any]:
    tracker = Tracker(recorded_uri, plan, full_store)
    tracker.open()
    return lambda key: mlflow.pyfunc.load_model(tracker.model_of(key).model_uri)


@pytest.fixture(scope="module")
def slices(plan: Plan, full_store: Store) -> SliceSet:
    return open_slice_set(full_store.local / "prepare" / plan.trials[0].evaluate.detector.slices.key)


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
    network = load_detector(full_store.local / "detector" / plan.trials[0].evaluate.detector.key)
    found, expected = detector.predict(images, params=ALL), predict(network, images)
    assert len(expected) > 0
    pd.testing.assert_frame_equal(found[list(expected.columns)], expected)
    assert found.drop(columns=list(expected.columns)).isna().all(axis=None), "slices alone lie nowhere in the world"


@pytest.mark.parametrize("as_what", [str, Path])
def test_detector_finds_in_a_volume_what_metsweep_detect_finds(
    plan: Plan, full_store: Store, detector: Any, tmp_path: Path, as_what: Callable[[Path], Any]
) -> None:
    volume, folder = tmp_path / "t1c.nii.gz", full_store.local / "detector" / plan.trials[0].evaluate.detector.key
    save(volume, stripped_brain(), "PSR")
    expected = detect(
        volume, folder, slice_config(folder), tmp_path, confidence=ALL["confidence"], model="tiny", stripped=True
    ).boxes
    assert len(expected) > 0
    found = detector.predict(as_what(volume), params={**ALL, "stripped": True})
    pd.testing.assert_frame_equal(found, expected.rename(columns={"z": "slice"}))
    assert np.isfinite(found.to_numpy()).all()
    assert (found["mm_x1"] > found["mm_x0"]).all()


def test_detector_finds_out_whether_the_volume_is_stripped(detector: Any, tmp_path: Path) -> None:
    save(tmp_path / "t1c.nii.gz", stripped_brain())
    said, found_out = (
        detector.predict(str(tmp_path / "t1c.nii.gz"), params={**ALL, **more}) for more in ({"stripped": True}, {})
    )
    pd.testing.assert_frame_equal(said, found_out)
    with_skull = detector.predict(str(tmp_path / "t1c.nii.gz"), params={**ALL, "stripped": False})
    assert not with_skull.equals(said), "deepbet's mask is another than the non-zero part"


def test_table_of_the_detector_is_its_signatures_for_both_inputs(
    slices: SliceSet, detector: Any, tmp_path: Path
) -> None:
    save(tmp_path / "t1c.nii.gz", stripped_brain())
    names = detector.metadata.signature.outputs.input_names()
    for given in (np.array(slices.images[:2]), str(tmp_path / "t1c.nii.gz")):
        for confidence in (0.001, 1.0):
            table = detector.predict(given, params={"confidence": confidence, "stripped": True})
            assert list(table.columns) == names
            assert table.dtypes.astype(str).tolist() == ["int64"] + ["float64"] * (len(names) - 1)
        assert len(table) == 0


def test_detector_refuses_what_is_no_volume(detector: Any, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"nowhere\.nii\.gz: cannot be read as a volume"):
        detector.predict(str(tmp_path / "nowhere.nii.gz"))
    with pytest.raises(CohortError, match="cannot be read as a volume"):
        detector.predict(tmp_path)
    (tmp_path / "notes.txt").write_text("no volume")
    with pytest.raises(CohortError, match=r"notes\.txt: cannot be read as a volume.*allowed: NIfTI"):
        detector.predict(tmp_path / "notes.txt")


def test_confidence_parameter_drops_weaker_detections(slices: SliceSet, detector: Any) -> None:
    images = np.array(slices.images[:2])
    everything = detector.predict(images, params=ALL)
    threshold = float(everything["confidence"].median())
    kept = detector.predict(images, params={"confidence": threshold})
    assert 0 < len(kept) < len(everything)
    assert detector.metadata.signature.params.params[0].default == 0.5, "the study's threshold"
    assert kept["confidence"].min() >= threshold


def test_detector_refuses_what_is_not_a_stack_of_square_slices(detector: Any) -> None:
    for shape in ((1, 32, 16), (2, 16, 16), (32, 32), (1, 32, 32, 3)):
        with pytest.raises(SliceSetError) as refused:
            detector.predict(np.zeros(shape, np.uint8))
        assert f"got uint8 of shape {shape}; allowed: slices" in str(refused.value)
        assert "N x 32 x 32 uint8" in str(refused.value)
    with pytest.raises(SliceSetError, match=r"got float32 of shape \(1, 32, 32\); allowed: .* the path of a NIfTI"):
        detector.predict(np.zeros((1, 32, 32), np.float32))
    with pytest.raises(SliceSetError, match="got a DataFrame; allowed: "):
        detector.predict(pd.DataFrame({"volume": ["t1c.nii.gz"]}))
    with pytest.raises(SliceSetError, match="got int64"):
        detector.predict([[[256] * 32] * 32])
    with pytest.raises(SliceSetError, match="lists that are no array"):
        detector.predict([[[1], [1, 2]]])
    with pytest.raises(MlflowException, match="confidence"):
        detector.predict(np.zeros((1, 32, 32), np.uint8), params={"confidence": "high"})


def test_detector_takes_over_the_wire_what_it_takes_here(slices: SliceSet, detector: Any, tmp_path: Path) -> None:
    """`mlflow models serve` hands on what JSON can hold."""
    save(tmp_path / "t1c.nii.gz", stripped_brain())

    async def ask(content: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(init(detector)), base_url="http://here") as client:
            return await client.post("/invocations", json=content)

    for given in (np.array(slices.images[:1]), str(tmp_path / "t1c.nii.gz")):
        params = {**ALL, "stripped": True}
        inputs = given if isinstance(given, str) else given.tolist()
        answer = asyncio.run(ask({"inputs": inputs, "params": params}))
        assert answer.status_code == 200, answer.text
        served = pd.DataFrame(answer.json()["predictions"]).astype(np.float64)
        pd.testing.assert_frame_equal(served, detector.predict(given, params=params).astype(np.float64))


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


@pytest.mark.parametrize(
    "row",
    [(-1, 0, 0, 4, 4), (0, 8, 0, 8, 4), (0, 40, 40, 50, 50), (0, float("nan"), 0, 4, 4), (0, 0, 0, float("inf"), 4)],
)
def test_generator_refuses_boxes_without_area(generator: Any, row: tuple[int, float, float, float, float]) -> None:
    with pytest.raises(SliceSetError, match=r"Row 1 .*within 0 to 32"):
        generator.predict(boxes((0, 1, 1, 4, 4), row))


def test_models_carry_signature_example_and_licence(detector: Any, generator: Any) -> None:
    for model, inputs in ((detector, "tensor"), (generator, "x0")):
        assert inputs in str(model.metadata.signature.inputs.to_dict())
        assert model.input_example is not None
        assert model.metadata.signature.inputs
        assert model.metadata.metadata == {"license": "AGPL-3.0-or-later"}
        assert model.metadata.flavors["python_function"]["loader_module"] == "mlflow.pyfunc.loaders.code_model"
