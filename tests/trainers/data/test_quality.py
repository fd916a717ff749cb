"""What the report of a cohort is made of: figures and views of volumes, and which of them differ from the others."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.trainers.data.phantom import LESION, SHAPE, SPACING, make_cohort, save, stripped_brain
from tests.trainers.data.tiny_cohort import make_tiny_cohort
from trainers.data.cohort import open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.quality.cohort_facts import CohortFacts, cohort_facts
from trainers.data.quality.outliers import outliers
from trainers.data.quality.volume_facts import VolumeFacts, volume_facts
from trainers.data.volume_tasks import plan_volumes


def facts_of(folder: Path) -> CohortFacts:
    return cohort_facts(open_cohort(folder), CohortCache(folder.parent / "cache"), lambda *_: None)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASR"])
def test_a_volume_is_described_in_canonical_axes(tmp_path: Path, axes: str) -> None:
    folder = make_cohort(tmp_path / "cohort")
    save(folder / "P000" / "t1c.nii.gz", stripped_brain(), axes)
    task = plan_volumes(open_cohort(folder), PrepareConfig()).tasks[0]
    facts = volume_facts(task)
    assert (facts.shape, facts.spacing) == (SHAPE, pytest.approx(SPACING))
    assert facts.intensity == pytest.approx([85, 93, 100, 107, 115], abs=4)
    (lesion,) = facts.lesions.to_dict("records")
    assert lesion["diameter_mm"] == 15
    assert lesion["brightness"] == pytest.approx(2, abs=0.1)
    brain = np.argwhere(stripped_brain() > 0)
    low, high = brain.min(axis=0), brain.max(axis=0) + 1
    middle = np.array([(s.start + s.stop) / 2 for s in LESION])
    assert [lesion[axis] for axis in "xyz"] == pytest.approx(list((middle - low) / (high - low)), abs=0.03)


def test_a_view_shows_the_lesion_in_its_box_with_the_patients_right_on_the_left(tmp_path: Path) -> None:
    volume = stripped_brain()
    volume[38:41, 45:48, LESION[2]] = 300  # the patient's right (high x), anterior (high y)
    folder = make_cohort(tmp_path / "cohort")
    save(folder / "P000" / "t1c.nii.gz", volume, "LPS")
    view = volume_facts(plan_volumes(open_cohort(folder), PrepareConfig()).tasks[0]).view
    picture = np.asarray(Image.open(io.BytesIO(view.jpeg)))
    height, width = picture.shape
    assert width / height == pytest.approx(view.size[0] / view.size[1], rel=0.02)
    row, column = np.unravel_index(int(picture.argmax()), picture.shape)
    assert (row < height / 2, column < width / 2) == (True, True)
    (box,) = view.boxes
    x0, y0, x1, y1 = (box / [*view.size, *view.size] * [width, height, width, height]).round().astype(int)
    inside = picture[y0:y1, x0:x1]
    assert np.median(inside) > 1.5 * np.median(picture[picture > 20])
    assert inside.shape == pytest.approx((15 / view.size[1] * height, 12 / view.size[0] * width), abs=1)
    corners = np.array([[LESION[0].stop, LESION[1].stop]])
    assert view.place(corners)[0] == pytest.approx(box[:2])


def test_a_box_beyond_the_head_is_in_its_view(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort")
    (folder / "P000" / "boxes.csv").write_text("z,x0,y0,x1,y1\n20,0,0,6,5\n")
    view = volume_facts(plan_volumes(open_cohort(folder), PrepareConfig()).tasks[0]).view
    assert view.boxes[0].tolist() == [view.size[0] - 18, view.size[1] - 15, *view.size]


@pytest.fixture(scope="module")
def alike(tmp_path_factory: pytest.TempPathFactory) -> list[VolumeFacts]:
    """Twelve volumes of one kind."""
    folder = make_tiny_cohort(tmp_path_factory.mktemp("alike") / "cohort", 12)
    tasks = plan_volumes(open_cohort(folder), PrepareConfig()).tasks
    lesions = volume_facts(tasks[0]).lesions
    return [replace(volume_facts(task), lesions=lesions) for task in tasks]


DIFFERENT: dict[str, Callable[[VolumeFacts], VolumeFacts]] = {
    "voxel size 20 mm": lambda facts: replace(facts, spacing=(20.0, 10.0, 12.0)),
    "slice distance 20 mm": lambda facts: replace(facts, spacing=(10.0, 10.0, 20.0), shape=(14, 16, 6)),
    "height 60 mm": lambda facts: replace(facts, shape=(14, 16, 5)),
    "median intensity 1e+03": lambda facts: replace(facts, intensity=np.full(5, 1000.0)),
    "lesions 400": lambda facts: replace(facts, lesions=pd.concat([facts.lesions[:1]] * 400)),
    "largest lesion 60 mm": lambda facts: replace(facts, lesions=facts.lesions.assign(diameter_mm=60.0)),
    "brightness of lesions 1 x brain": lambda facts: replace(facts, lesions=facts.lesions.assign(brightness=1.0)),
}


@pytest.mark.parametrize("reason", DIFFERENT)
def test_a_volume_that_differs_is_named_with_its_figure(alike: list[VolumeFacts], reason: str) -> None:
    assert outliers(alike, {}) == []
    different = DIFFERENT[reason](alike[5])
    (outlier,) = outliers([*alike[:5], different, *alike[6:]], {})
    assert outlier.facts is different
    (shown,) = outlier.reasons
    assert shown.startswith(f"{reason}, median ")


def test_what_is_noted_comes_first_and_few_volumes_have_no_outliers(alike: list[VolumeFacts]) -> None:
    volumes = [*alike[:5], replace(alike[5], shape=(14, 16, 5)), *alike[6:]]
    found = outliers(volumes, {alike[9].subject.volume: ["odd"]})
    assert {outlier.facts.subject.patient_id for outlier in found} == {"P006", "P010"}
    assert found[0].distance == float("inf")
    assert outliers(volumes[:7], {}) == []


def test_volumes_that_cannot_be_used_are_left_out_and_named(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=9)
    save(folder / "P003" / "t1c.nii.gz", np.full(SHAPE, 7.0))
    (folder / "P004" / "boxes.csv").write_text("z,x0,y0,x1,y1\n")
    facts = facts_of(folder)
    assert [of.subject.patient_id for of in facts.volumes] == [f"P{number:03}" for number in (0, 1, 2, 5, 6, 7, 8, 9)]
    reasons = dict(facts.dropped)
    assert "all voxels are 7" in reasons["P003/t1c.nii.gz"]
    assert "holds no box" in reasons["P004/t1c.nii.gz"]
    assert facts.counts()["patients"].sum() == 7
