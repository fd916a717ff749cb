"""Bounds of the slice browser: what it keeps in memory, and how long it takes in a large study."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import requests
from playwright.sync_api import Page, expect

from dashboards.slices.embedding import with_same_distances
from dashboards.study.studies import Studies
from dashboards.web.recent import Recent
from sweep.plan import Trial
from sweep.store import Store
from tests.dashboards.conftest import ServeStudies
from tests.dashboards.searched import make_search
from tests.dashboards.taken import Taken
from tests.sweep.evaluated import search_plan
from tests.sweep.judged_study import rewriting
from trainers.data.slice_set import SliceSet, open_slice_set, write_slice_set
from trainers.detector.dataset import detector_rows
from trainers.evaluation.evaluate import truth_of
from trainers.evaluation.outcome import match_outcomes, outcome_tables
from trainers.evaluation.outcome_files import TABLES
from trainers.matching import DETECTION_COLUMNS

SLICES, SIZE = 100_000, 64
PER_PATIENT = 100


def test_values_are_made_once_and_the_last_ones_kept() -> None:
    recent: Recent[int] = Recent(2)
    made: list[str] = []
    entered = threading.Barrier(8)

    def make(key: str) -> int:
        made.append(key)
        time.sleep(0.05)
        return len(made)

    def ask() -> None:
        entered.wait()
        assert recent.get("a", lambda: make("a")) == 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["a"]
    for key in ("b", "a", "c", "a", "b"):  # b is the one not asked for longest when c comes
        recent.get(key, lambda key=key: make(key))
    assert made == ["a", "b", "c", "b"]


def test_errors_are_raised_to_all_and_not_kept() -> None:
    recent: Recent[int] = Recent(2)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            recent.get("a", lambda: 1 // 0)
    assert recent.get("a", lambda: 3) == 3


def test_reduced_images_are_as_far_apart_as_before() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 80, 80), dtype=np.uint8)
    reduced = with_same_distances(images)
    assert reduced.shape == (9, 9)
    flat = images.reshape(9, -1).astype(np.float64)
    before, after = (np.linalg.norm(x[:, None] - x, axis=2) for x in (flat, reduced))
    assert after == pytest.approx(before, rel=1e-4, abs=0.5)
    assert with_same_distances(images[:, :2, :4]).shape == (9, 8)


@pytest.mark.slow
@pytest.mark.long
def test_100000_slices_under_1000_trials(tab: Page, serve_studies: ServeStudies, tmp_path: Path) -> None:
    settings = make_search(tmp_path, 996)
    enlarge(Store(settings.store))
    studies = Studies(settings)
    served = serve_studies(studies.store, settings)
    requests.get(f"{served.url}/study/small/figures")  # as the command does before it prints its link
    root = f"{served.url}/study/small/slices?arm=none&arm=cpggan+4"  # other arms know the slices of before
    taken = Taken(tab)
    with taken("first view", 2):
        tab.goto(root)
        expect(tab.locator(".card")).to_have_count(48)

    def within(seconds: float, what: str, url: str) -> None:
        studies.live("small").forget()  # as after a pause: the study is looked at again
        with taken(what, seconds):
            assert requests.get(url).status_code == 200

    for query in ("show=gained", "show=missed", "show=fp&scanner=two", "patient=p900", "least=6&most=8", "iou=0.25"):
        within(0.3, query, f"{root}&{query}")
    within(0.3, "slice", f"{root}&slice=90000")
    key = search_plan(996, seeds=(0,), search={"method": "tpe", "trials": 996}).trials[0].evaluate.detector.slices.key
    within(0.1, "image", f"{served.url}/slices/prepare/{key}/90000")


def enlarge(store: Store) -> None:
    """Give the study 100,000 slices, and its arms an evaluation on 30,000 of them."""
    plan = search_plan(996, seeds=(0,), search={"method": "tpe", "trials": 996})
    stage = plan.trials[0].evaluate.detector.slices
    prepared = store.find(stage.name, stage.key)
    assert prepared is not None
    with rewriting(store, prepared) as folder:
        write_large(folder)
    slices = open_slice_set(store.local / stage.name / stage.key)
    for trial in plan.trials[:2]:
        evaluate(store, trial, slices)


def write_large(folder: Path) -> None:
    draw = np.random.default_rng(0)
    patients = np.arange(SLICES) // PER_PATIENT
    splits = np.array(["train", "validation", "test"])[np.digitize(patients, [700, 800])]
    slices = pd.DataFrame(
        {
            "slice_id": [f"s{i}" for i in range(SLICES)], "patient_id": [f"p{patient}" for patient in patients],
            "split": splits, "scanner": np.where(patients % 3, "one", "two"), "kind": "tumour", "volume": "v",
            "z": np.arange(SLICES) % PER_PATIENT,
        }
    )  # fmt: skip
    with_boxes = np.flatnonzero(draw.random(SLICES) < 0.7)
    corners = draw.integers(0, SIZE - 12, (len(with_boxes), 2))
    sides = draw.integers(3, 12, (len(with_boxes), 2))
    boxes = pd.DataFrame(np.hstack([corners, corners + sides]), columns=["x0", "y0", "x1", "y1"])
    boxes.insert(0, "slice_id", slices["slice_id"].to_numpy()[with_boxes])
    images = draw.integers(0, 255, (1000, SIZE, SIZE), dtype=np.uint8)[np.arange(SLICES) % 1000]
    write_slice_set(folder, images, slices, boxes, {})


def evaluate(store: Store, trial: Trial, slices: SliceSet) -> None:
    """A detector that finds half of the lesions and takes four places of each slice for one."""
    draw = np.random.default_rng(trial.count)
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for split in ("validation", "test"):
        truth = truth_of(slices, split, detector_rows(slices, split))
        hits = truth.lesions[draw.random(len(truth.lesions)) < 0.5][["slice", "x0", "y0", "x1", "y1"]]
        places = np.repeat(np.arange(len(truth.slices)), 4)
        wrong = pd.DataFrame({"slice": places, "x0": 0.0, "y0": 0.0, "x1": 2.0, "y1": 2.0})
        detections = pd.concat([hits, wrong], ignore_index=True).astype({"slice": np.int64})
        detections["confidence"] = draw.uniform(0.5, 1, len(detections))
        outcomes = match_outcomes(detections[[*DETECTION_COLUMNS]], truth, trial.evaluate.config.ious)
        for name, table in outcome_tables(outcomes).items():
            tables[name].append(table.assign(split=split))
    evaluated = store.find("evaluate", trial.evaluate.key)
    assert evaluated is not None
    with rewriting(store, evaluated) as folder:
        for name, parts in tables.items():
            pd.concat(parts, ignore_index=True).to_parquet(folder / f"{name}.parquet", index=False)
