"""Detection on a volume: where boxes lie, in every coordinate system."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw, ImageFont

from sweep.detect import (
    COLUMNS,
    detect,
    draw_overlays,
    slice_config,
    slice_config_of_set,
)
from sweep.plan import Plan
from sweep.registry.champion import CHAMPION, champion_folder
from sweep.registry.quality import Quality, quality_in_tags, quality_of_folder
from sweep.store import Store
from sweep.tracking.mlflow_client import connect
from sweep.tracking.tags import QUALITY, tag_text
from sweep.tracking.tracker import Tracker
from tests.trainers.data.phantom import SPACING, save, stripped_brain
from tests.trainers.disc_slices import make_slice_set, tiny_config
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import SliceSet
from trainers.data.volume import SliceConfig, volume_slices
from trainers.detector.prediction import load_detector
from trainers.detector.training import train_detector
from trainers.distributed import Context, Placement
from trainers.exceptions import TrackingError, TrainingError

CONFIG = SliceConfig(size=32)
CONFIDENCE = 0.001


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    return make_slice_set(tmp_path_factory.mktemp("discs"), {"train": 4, "validation": 2, "test": 2})


@pytest.fixture(scope="module")
def detector(discs: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("detector")
    context = Context(Placement.alone(), FolderCheckpoints(tmp_path_factory.mktemp("checkpoints")), lambda *_: None)
    train_detector(tiny_config(steps=2), discs, [], 0, out, context)
    return out


def find(detector: Path, folder: Path, axes: str, confidence: float = CONFIDENCE) -> pd.DataFrame:
    folder.mkdir()
    save(folder / "t1c.nii.gz", stripped_brain(), axes)
    (folder / "out").mkdir()
    detect(folder / "t1c.nii.gz", detector, CONFIG, folder / "out", confidence=confidence, model="tiny", stripped=True)
    return pd.read_csv(folder / "out" / "boxes.csv")


def corners(boxes: pd.DataFrame, lower: list[str], upper: list[str]) -> np.ndarray:
    return np.stack([boxes[lower].to_numpy(), boxes[upper].to_numpy()], axis=1)


def voxel_corners(boxes: pd.DataFrame) -> np.ndarray:
    return corners(boxes, ["i0", "j0", "k0"], ["i1", "j1", "k1"])


def world_corners(boxes: pd.DataFrame) -> np.ndarray:
    return corners(boxes, ["mm_x0", "mm_y0", "mm_z0"], ["mm_x1", "mm_y1", "mm_z1"])


def test_boxes_lie_at_one_place_in_every_coordinate_system(detector: Path, tmp_path: Path) -> None:
    boxes = find(detector, tmp_path / "ras", "RAS")
    assert len(boxes) > 0
    assert (boxes["confidence"] >= CONFIDENCE).all()
    affine = nibabel.load(tmp_path / "ras" / "t1c.nii.gz").affine  # type: ignore[attr-defined]
    voxels, world = voxel_corners(boxes), world_corners(boxes)
    # Voxel i covers i - 0.5 to i + 0.5 of the affine's continuous index.
    assert np.allclose(world, (voxels - 0.5) @ affine[:3, :3].T + affine[:3, 3])
    assert np.allclose(voxels[:, 1, 2] - voxels[:, 0, 2], 1)
    assert np.array_equal(voxels[:, 0, 2], boxes["z"])
    pixel_mm = (world[:, 1, 0] - world[:, 0, 0]) / (boxes["x1"] - boxes["x0"]).to_numpy()
    assert np.allclose(pixel_mm, pixel_mm[0])
    assert 2 < pixel_mm[0] < 10


def test_same_brain_in_another_orientation_gives_the_same_millimetres(detector: Path, tmp_path: Path) -> None:
    ras, psr = (find(detector, tmp_path / axes, axes) for axes in ("RAS", "PSR"))
    assert np.allclose(world_corners(ras), world_corners(psr), atol=1e-3)
    assert np.allclose(ras["confidence"], psr["confidence"], atol=1e-5)
    here = {axes: nibabel.load(tmp_path / axes / "t1c.nii.gz").get_fdata() for axes in ("RAS", "PSR")}  # type: ignore[attr-defined]
    extents = {axes: voxel_corners(boxes) for axes, boxes in (("RAS", ras), ("PSR", psr))}
    assert not np.allclose(extents["RAS"], extents["PSR"])
    for number in range(0, len(ras), max(1, len(ras) // 20)):
        means = []
        for axes, volume in here.items():
            low, high = np.round(extents[axes][number]).astype(int)
            low, high = np.maximum(low, 0), np.minimum(np.maximum(high, low + 1), volume.shape)
            means.append(volume[tuple(map(slice, low, high))].sum())
        assert np.isclose(means[0], means[1], rtol=1e-3, atol=1.0)


def test_json_says_the_same_as_the_table(detector: Path, tmp_path: Path) -> None:
    boxes = find(detector, tmp_path / "ras", "RAS")
    told = json.loads((tmp_path / "ras" / "out" / "boxes.json").read_text())
    assert told["model"] == "tiny"
    assert told["volume"].endswith("t1c.nii.gz")
    first, row = told["boxes"][0], boxes.iloc[0]
    assert first["slice"] == row["z"]
    assert first["lesion"] == row["lesion"]
    lesions = pd.read_csv(tmp_path / "ras" / "out" / "lesions.csv")
    assert sorted(set(boxes["lesion"])) == lesions["lesion"].to_list()
    assert {path.name for path in (tmp_path / "ras" / "out").glob("lesions.*")} == {
        "lesions.csv", "lesions.nii.gz", "lesions.mrk.json",
    }  # fmt: skip
    assert np.allclose(first["pixels"]["lower"], row[["x0", "y0"]].to_list(), atol=1e-3)
    assert np.allclose(first["voxels"]["upper"], row[["i1", "j1", "k1"]].to_list(), atol=1e-3)
    assert np.allclose(first["mm"]["lower"], row[["mm_x0", "mm_y0", "mm_z0"]].to_list(), atol=1e-3)
    overlays = sorted((tmp_path / "ras" / "out" / "overlays").iterdir())
    assert [path.name for path in overlays] == [f"z{z:03d}.png" for z in sorted(boxes["z"].unique())]
    assert Image.open(overlays[0]).size == (512, 512)
    pixels = np.asarray(Image.open(overlays[0]))
    assert ((pixels[..., 0] > 200) & (pixels[..., 2] < 60)).any()  # a yellow box


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PSR"])
def test_the_right_of_the_patient_is_marked_on_the_left_of_the_picture(tmp_path: Path, axes: str) -> None:
    """The phantom with a lesion in its right hemisphere alone: canonical x runs to the right."""
    brain = stripped_brain(lesion=False)
    lesion = (slice(44, 48), slice(30, 35), slice(18, 21))
    brain[lesion] = 250
    save(tmp_path / "t1c.nii.gz", brain, axes)
    slices = volume_slices(tmp_path / "t1c.nii.gz", SliceConfig(size=64), stripped=True)
    edges = np.array([[lesion[0].start, lesion[1].start, lesion[0].stop, lesion[1].stop]])
    box = slices.geometry.to_pixels(edges)
    world = slices.geometry.to_world(box, np.array([19]))[0]
    affine = nibabel.load(tmp_path / "t1c.nii.gz").affine  # type: ignore[attr-defined]
    middle = affine[:3, :3] @ ((np.array(slices.geometry.shape) - 1) / 2) + affine[:3, 3]
    assert (world[:, 0] > middle[0]).all(), "RAS+: the lesion is on the right"
    row = dict.fromkeys(COLUMNS, 0.0) | dict(zip(("x0", "y0", "x1", "y1"), box[0], strict=True))
    draw_overlays(slices, pd.DataFrame([{**row, "z": 19, "confidence": 0.9}]), tmp_path / "overlays")

    picture = np.asarray(Image.open(tmp_path / "overlays" / "z019.png").convert("RGB")).astype(int)
    brightest = np.argwhere((picture.min(axis=2) > 225) & (np.ptp(picture, axis=2) < 5))
    inside = brightest[(np.abs(brightest[:, 1] - 256) < 240)]
    assert inside[:, 1].mean() < 256, "the lesion is in the left half of the picture"
    yellow = np.argwhere((picture[..., 0] > 200) & (picture[..., 2] < 60))
    assert yellow[:, 1].mean() < 256
    assert has_text(picture, "R", (4, 256), "lm")
    assert has_text(picture, "L", (508, 256), "rm")
    assert not has_text(picture, "L", (4, 256), "lm")
    assert has_text(picture, "slice 19", (4, 508), "ls")


def has_text(picture: np.ndarray, text: str, at: tuple[int, int], anchor: str) -> bool:
    """Whether a white text stands there, and nothing else is white around it."""
    alone = Image.new("L", (512, 512))
    ImageDraw.Draw(alone).text(at, text, fill=255, font=ImageFont.load_default(20), anchor=anchor)
    drawn = np.asarray(alone) > 250
    rows, columns = np.nonzero(drawn)
    around = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return bool(np.array_equal(picture[around].min(axis=2) > 250, drawn[around]))


def test_files_say_which_coordinates_they_hold(detector: Path, tmp_path: Path) -> None:
    boxes = find(detector, tmp_path / "ras", "RAS")
    assert set(boxes["mm_space"]) == {"RAS+"}
    told = json.loads((tmp_path / "ras" / "out" / "boxes.json").read_text())
    assert told["coordinates"]["mm"].startswith("RAS+")
    assert "LPS+" in told["coordinates"]["mm"]
    assert told["detector_on_validation"] is None, "nobody evaluated it"


def test_a_detector_in_a_store_says_how_good_it_is(full_store: Store, plan: Plan) -> None:
    trial = plan.trials[0]
    folder = full_store.local / "detector" / trial.evaluate.detector.key
    quality = quality_of_folder(folder, plan.study.evaluation.confidence)
    assert quality is not None
    told = json.loads((full_store.local / "evaluate" / trial.evaluate.key / "metrics.json").read_text())
    figures = told["validation"]["iou50"]
    assert quality.sensitivity == pytest.approx(figures["sensitivity"])
    assert quality.fps_per_slice == pytest.approx(figures["fps_per_slice"])
    assert quality.patients == figures["patients_with_lesions"]
    assert quality.confidence == plan.study.evaluation.confidence
    assert quality_in_tags({QUALITY: tag_text(quality)}) == quality
    assert quality_in_tags({}) is None


def test_a_detector_in_a_store_says_how_good_it_is_at_the_confidence_asked_for(full_store: Store, plan: Plan) -> None:
    evaluate = plan.trials[0].evaluate
    folder = full_store.local / "detector" / evaluate.detector.key
    for asked in (0.3, 0.9):
        quality = quality_of_folder(folder, asked)
        assert quality is not None
        assert quality.confidence == asked
    lowest = quality_of_folder(folder, 0.0)
    assert lowest is not None
    assert lowest.confidence == plan.study.evaluation.froc_confidence, "no box below it was kept"


def test_confidences_stand_on_black_and_no_box_runs_through_them(tmp_path: Path) -> None:
    white = np.full((1, 64, 64), 255, np.uint8)
    save(tmp_path / "v.nii.gz", stripped_brain())
    slices = replace(
        volume_slices(tmp_path / "v.nii.gz", SliceConfig(size=64), stripped=True), images=white, z=np.array([3])
    )
    row = dict.fromkeys(COLUMNS, 0.0) | {"z": 3, "x0": 20, "y0": 20, "x1": 40, "y1": 40, "confidence": 0.87}
    over = row | {"x0": 10, "y0": 18, "x1": 50, "y1": 19}  # its lower edge runs where the number of the first stands
    top = row | {"x0": 20, "y0": 0, "x1": 40, "y1": 10}
    draw_overlays(slices, pd.DataFrame([row, over, top]), tmp_path / "overlays")
    picture = np.asarray(Image.open(tmp_path / "overlays" / "z003.png").convert("RGB")).astype(int)
    for x, y in ((160, 144), (160, 2)):
        around = picture[y : y + 14, x : x + 26]
        black, yellow = around.max(axis=2) < 40, (around[..., 0] > 200) & (around[..., 2] < 60)
        assert 0.4 < black.mean() < 0.9, "a background"
        assert yellow.any(), "a number"


def test_a_poor_detector_is_called_poor() -> None:
    demo = Quality(
        sensitivity=0.355, low=0.029, high=0.681, fps_per_slice=1.98, hitting=0.12, patients=2, confidence=0.5
    )
    assert demo.sentence(shown=0.5) == (
        "On validation, IoU 0.5, confidence 0.5: sensitivity 0.355 [0.029, 0.681] (95% interval over 2 patients with "
        "lesions), 1.98 false positives per slice, 12% of its boxes hit a lesion. A poor detector: misses most lesions "
        "and most of its boxes hit none."
    )
    other = " Boxes shown are from confidence 0.8: fewer lesions found, fewer false positives."
    assert demo.sentence(shown=0.8) == demo.sentence(shown=0.5) + other
    good = replace(demo, sensitivity=0.9, low=None, high=None, hitting=0.8)
    assert "poor" not in good.sentence(0.5)
    assert "sensitivity 0.900 (interval unknown)" in good.sentence(0.5)
    assert "no box" in replace(demo, hitting=None).sentence(0.5)


def test_nothing_found_is_an_empty_table(detector: Path, tmp_path: Path) -> None:
    boxes = find(detector, tmp_path / "ras", "RAS", confidence=1.0)
    assert len(boxes) == 0
    assert "mm_x0" in boxes.columns
    assert json.loads((tmp_path / "ras" / "out" / "boxes.json").read_text())["boxes"] == []


def test_spacing_of_phantoms_is_anisotropic() -> None:
    """Else the tests above could not tell axes apart."""
    assert SPACING[2] != SPACING[0]


def test_detector_in_a_store_knows_its_slices(full_store: Store, plan: Plan) -> None:
    stage = plan.trials[0].evaluate.detector
    config = slice_config(full_store.local / "detector" / stage.key)
    assert config.size == plan.study.prepare.size
    assert config == SliceConfig(**{name: getattr(plan.study.prepare, name) for name in SliceConfig.model_fields})


def test_detector_that_does_not_know_its_slices_is_refused(detector: Path, discs: SliceSet, tmp_path: Path) -> None:
    shutil.copytree(detector, tmp_path / "detector")
    (tmp_path / "detector" / "slices.json").unlink(missing_ok=True)
    with pytest.raises(TrainingError, match="--slices"):
        slice_config(tmp_path / "detector")
    with pytest.raises(TrainingError, match=r"meta\.json does not record"):
        slice_config_of_set(discs.path)


def test_registry_without_the_model(tracking_uri: str) -> None:
    with pytest.raises(TrackingError, match="no champion yet: `metsweep promote STUDY`"):
        champion_folder(CHAMPION, tracking_uri)
    with pytest.raises(TrackingError, match="does not hold models:/nothing/1"):
        champion_folder("models:/nothing/1", tracking_uri)


def test_champion_is_fetched_from_the_registry(recorded_uri: str, plan: Plan, full_store: Store) -> None:
    tracker = Tracker(recorded_uri, plan, full_store)
    tracker.open()
    model = tracker.model_of(plan.trials[0].evaluate.key)
    client, name = connect(recorded_uri), "detector-of-this-test"
    client.create_registered_model(name)
    version = client.create_model_version(name, f"models:/{model.model_id}", model_id=model.model_id)
    client.set_registered_model_alias(name, "champion", version.version)
    folder = champion_folder(f"models:/{name}@champion", recorded_uri)
    assert load_detector(folder).config == plan.trials[0].evaluate.detector.config
