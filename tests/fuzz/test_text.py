"""Documents that come in as text, damaged: cohort.json, boxes, studies and --set, COCO files, patients and reviews."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from search_spaces.study import load_study
from tests.fuzz.damage import DOCUMENT, TABLE, TEXT
from tests.fuzz.harness import Damage, fuzz
from tests.search_spaces.studies import TEXT as STUDY
from tests.trainers.data.phantom import make_cohort
from trainers.data.annotation import read_boxes
from trainers.data.cohort import open_cohort
from trainers.evaluation.coco import read_detections, read_truth
from trainers.gan.review import read_review

Read = Callable[[bytes], Any]

IMAGES = [
    {"id": i, "file_name": f"{i}.png", "width": 64, "height": 64, "patient_id": f"P{i % 3}", "volume": "v", "z": i}
    for i in range(6)
]
ANNOTATIONS = [{"id": i, "image_id": i, "bbox": [i, 2, 8, 6], "category_id": 1, "iscrowd": 0} for i in range(6)]
DETECTIONS = [{"image_id": i, "bbox": [i, 2.5, 8, 6], "score": 0.1 * i, "category_id": 1} for i in range(6)]


def yaml_key_twice(content: bytes, random: Random) -> bytes:
    """A line of a study's top level written twice, the second time with another value."""
    lines = content.decode().splitlines()
    key = random.choice([line.partition(":")[0] for line in lines if line[0].isalpha()])
    return "\n".join([*lines, f"{key}: other"]).encode()


def pretty(content: Any) -> bytes:
    return json.dumps(content, indent=1).encode()


def check(read: Read, content: bytes, damages: dict[str, Damage], illegal: set[str]) -> None:
    tally = fuzz(read, content, damages, count=700, illegal=illegal)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 100, str(tally)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cohort"), split=None)


def test_cohort(cohort: Path) -> None:
    manifest = cohort / "cohort.json"
    content = pretty(json.loads(manifest.read_text()) | {"origin": {"made by": "a test"}})

    def read(made: bytes) -> Any:
        manifest.write_bytes(made)
        opened = open_cohort(cohort)
        return opened, opened.fingerprint()

    check(read, content, DOCUMENT, {"key twice"})


def test_boxes(cohort: Path) -> None:
    (cohort / "cohort.json").write_text(json.dumps({"name": "c", "subjects": [
        {"patient_id": f"P{i}", "kind": "tumour", "volume": f"P00{i}/t1c.nii.gz", "boxes": f"P00{i}/boxes.csv"}
        for i in range(3)
    ]}))  # fmt: skip
    opened = open_cohort(cohort)
    path = opened.path("P000/boxes.csv")
    rows = [(z, 20 + z, 30, 24 + z, 35) for z in range(10, 18)]
    content = "\n".join(",".join(map(str, row)) for row in [("z", "x0", "y0", "x1", "y1"), *rows]).encode()

    def read(made: bytes) -> Any:
        path.write_bytes(made)
        return read_boxes(opened, opened.subjects[0]).to_numpy().tolist()

    check(read, content, TABLE, {"field more", "field less"})


def test_review(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    rows = [f"synthetic-{i:06d}-{i % 3},{('keep', 'discard')[i % 2]},cpggan-0123456789ab" for i in range(8)]
    content = "\n".join(["slice_id,decision,source", *rows]).encode()

    def read(made: bytes) -> Any:
        path.write_bytes(made)
        return read_review(path).content

    check(read, content, TABLE, {"field more", "field less"})


def test_patients(tmp_path: Path) -> None:
    truth, path = tmp_path / "truth.json", tmp_path / "patients.csv"
    truth.write_bytes(pretty({"images": IMAGES, "annotations": ANNOTATIONS}))
    rows = [f"{i}.png,NA{i % 3},v{i % 2},{i},3.0T,0.5" for i in range(6)]
    content = "\n".join(["image,patient_id,volume,z,scanner,mm_per_pixel", *rows]).encode()

    def read(made: bytes) -> Any:
        path.write_bytes(made)
        told, _ = read_truth(truth, path)
        return told.slices.to_json(), told.lesions.to_json()

    check(read, content, TABLE, {"field more", "field less"})


def test_truth(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"

    def read(made: bytes) -> Any:
        path.write_bytes(made)
        told, reference = read_truth(path)
        return told.slices.to_json(), told.lesions.to_json(), reference

    content = pretty({"images": IMAGES, "annotations": ANNOTATIONS, "info": {"a": 1, "b": 2}})
    check(read, content, DOCUMENT, {"key twice"})


def test_detections(tmp_path: Path) -> None:
    truth, path = tmp_path / "truth.json", tmp_path / "detections.json"
    truth.write_bytes(pretty({"images": IMAGES, "annotations": ANNOTATIONS}))
    _, reference = read_truth(truth)

    def read(made: bytes) -> Any:
        path.write_bytes(made)
        return read_detections(path, reference).to_json()

    check(read, pretty(DETECTIONS), DOCUMENT, {"key twice"})


def test_study(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"

    def read(made: bytes) -> Any:
        path.write_bytes(made)
        return load_study(str(path))

    check(read, STUDY.encode(), TEXT | {"key twice": yaml_key_twice}, {"key twice"})


def test_fidelity(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    content = Path("search_spaces/fidelities/laptop.yaml").read_bytes()

    def read(made: bytes) -> Any:
        path.write_bytes(made)
        return load_study("quickstart", fidelity=str(path))

    check(read, content, TEXT | {"key twice": yaml_key_twice}, {"key twice"})


def test_options(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)

    def read(made: bytes) -> Any:
        return load_study(str(path), overrides=[made.decode("utf-8", "surrogateescape")])

    check(read, b"space.gan.learning_rate={float: [1e-4, 3e-3], log: true, when: {variant: [cpggan]}}", TEXT, set())
