"""Damaged files of data sets that are imported, and of cohorts that are prepared: refused, or used as they say."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nibabel.nifti1 import Nifti1Image

from tests.fuzz.damage import BYTES, DOCUMENT, TABLE, TEXT
from tests.fuzz.harness import Damage, fuzz
from tests.trainers.data.tiny_cohort import AFFINE, SHAPE, make_tiny_cohort, tiny_brain
from trainers.data.annotation import read_boxes
from trainers.data.cohort import Cohort, open_cohort
from trainers.data.importing import import_cohort
from trainers.data.layouts.contract import Tree
from trainers.data.layouts.known import layout_of
from trainers.data.layouts.pseudonyms import pseudonymised
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_set import open_slice_set
from trainers.data.stratified import as_given

pytestmark = pytest.mark.slow

PICTURES = [(f"case{case}_z{z:03d}", x, 5, x + 2, 8) for case in "AB" for z, x in ((3, 4), (4, 6), (6, 8))]
"""Name, x0, y0, x1, y1 of boxes on slices of 14 x 16 pixels."""
WIDTH, HEIGHT = SHAPE[:2]


def volumes(folder: Path, *names: str) -> Path:
    """Small volumes, and masks where a name says so."""
    for seed, name in enumerate(names):
        voxels = tiny_brain(seed)
        if "mask" in name or "label" in name:
            voxels = np.zeros(SHAPE, np.uint8)
            voxels[4 + seed : 7 + seed, 5, 4] = 1
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Nifti1Image(voxels, AFFINE).to_filename(folder / f"{name}.nii.gz")
    return folder


def coco(folder: Path) -> tuple[Path, str]:
    images = [{"id": n, "file_name": f"{p[0]}.png", "width": WIDTH, "height": HEIGHT} for n, p in enumerate(PICTURES)]
    annotations = [{"image_id": n, "bbox": [x0, y0, x1 - x0, y1 - y0], "category_id": 1}
                   for n, (_, x0, y0, x1, y1) in enumerate(PICTURES)]  # fmt: skip
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "met"}]}
    return volumes(folder, "caseA", "caseB") / "instances.json", json.dumps(content, indent=1)


def yolo(folder: Path) -> tuple[Path, str]:
    for name, x0, y0, x1, y1 in PICTURES:
        shares = ((x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT)
        (folder / f"{name}.txt").write_text("0 " + " ".join(f"{share:.5f}" for share in shares))
    more = "\n0 0.5 0.5 0.2 0.2\n0 0.25 0.75 0.1 0.1\n"
    return volumes(folder, "caseA", "caseB") / "caseA_z005.txt", more


def voc(folder: Path) -> tuple[Path, str]:
    item = "<object><name>met</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>7</xmax><ymax>9</ymax></bndbox></object>"
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>1</depth></size>"
    text = f"<annotation>\n<filename>caseA_z003.png</filename>\n{size}\n{item}\n{item.replace('5', '4')}\n</annotation>"
    return volumes(folder, "caseA") / "caseA_z003.xml", text


def csv_boxes(folder: Path) -> tuple[Path, str]:
    rows = [",".join(map(str, picture)) for picture in PICTURES]
    return volumes(folder, "caseA", "caseB") / "boxes.csv", "\n".join(["image,x0,y0,x1,y1", *rows])


def nnunet(folder: Path) -> tuple[Path, str]:
    cases = [f"{part}/{name}" for name in ("a", "b") for part in ("labelsTr",)]
    volumes(folder, "imagesTr/a_0000", "imagesTr/a_0001", "imagesTr/b_0000", "imagesTr/b_0001", *cases)
    info = {"channel_names": {"0": "FLAIR", "1": "T1ce"}, "labels": {"background": 0, "met": 1, "edema": 2}}
    return folder / "dataset.json", json.dumps(info | {"numTraining": 2, "file_ending": ".nii.gz"}, indent=1)


def bids(folder: Path) -> tuple[Path, str]:
    for name in ("sub-01", "sub-02"):
        volumes(folder, f"{name}/anat/{name}_ce-gd_T1w", f"derivatives/{name}_label-lesion_mask")
    volumes(folder, "sub-03/anat/sub-03_T1w")
    rows = ["sub-01\tpatient\tA\t50", "sub-02\tpatient\tB\t60", "sub-03\tcontrol\tA\t70"]
    return folder / "participants.tsv", "\n".join(["participant_id\tgroup\tsite\tage", *rows])


def table(folder: Path) -> tuple[Path, str]:
    volumes(folder, "a", "b", "c", "mask_a", "mask_b")
    rows = [
        "A,tumour,a.nii.gz,mask_a.nii.gz,1 3,true,train,3T",
        "B,tumour,b.nii.gz,mask_b.nii.gz,,yes,test,",
        "N,normal,c.nii.gz,,,no,,3T",
    ]
    return folder / "scans.csv", "\n".join(["patient_id,kind,volume,mask,mask_labels,stripped,split,scanner", *rows])


SOURCES: dict[str, tuple[Callable[[Path], tuple[Path, str]], dict[str, Damage], set[str]]] = {
    "coco": (coco, DOCUMENT, {"key twice"}),
    "yolo": (yolo, TEXT, set()),
    "voc": (voc, TEXT, set()),
    "csv": (csv_boxes, TABLE, {"field more", "field less"}),
    "nnunet": (nnunet, DOCUMENT, {"key twice"}),
    "bids": (bids, TEXT, set()),
    "table": (table, TABLE, {"field more", "field less"}),
}
"""Layout -> what makes a tree of it and the file to damage, how, and which damages make no other legal file."""


def content_of(cohort: Cohort) -> list[Any]:
    return [(subject, read_boxes(cohort, subject).to_numpy().tolist()) for subject in cohort.subjects]


@pytest.mark.parametrize("name", SOURCES)
def test_imports(tmp_path: Path, name: str) -> None:
    """Whatever is imported, also under pseudonyms, is a cohort that opens."""
    make, damages, illegal = SOURCES[name]
    source = tmp_path / "source"
    source.mkdir()
    file, content = make(source)
    file.write_text(content)
    layout = layout_of(name, Tree.of(source))

    def run(made: bytes) -> Any:
        file.write_bytes(made)
        tree = Tree.of(file if name == "table" else source)
        with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
            out = Path(scratch)
            chosen = pseudonymised(layout, b"0123456789abcdef") if len(made) % 3 == 0 else layout
            import_cohort(chosen, tree, out, out, lambda *_: None)
            opened = open_cohort(out)
            boxes = [boxes for _, boxes in content_of(opened)]
            return boxes, [(s.kind, s.split, s.scanner, s.mask_labels, s.stripped) for s in opened.subjects]

    tally = fuzz(run, content.encode(), damages, count=290, illegal=illegal)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 30, str(tally)


def test_splits_that_a_table_gives(tmp_path: Path) -> None:
    cohort, file = open_cohort(make_tiny_cohort(tmp_path / "cohort", 6, 1)), tmp_path / "splits.csv"
    splits = ("train", "train", "train", "validation", "test", "test")
    rows = [f"P{number:03d},{split}" for number, split in enumerate(splits, start=1)]

    def run(made: bytes) -> Any:
        file.write_bytes(made)
        return as_given(cohort, file).subjects

    content = "\n".join(["patient_id,split", *rows]).encode()
    tally = fuzz(run, content, TABLE, count=300, illegal={"field more", "field less", "line twice", "line gone"})
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 200, str(tally)


@pytest.mark.parametrize("damaged_file", ["P001/t1c.nii.gz", "P001/mask.nii.gz", "P001/boxes.csv"])
def test_no_damage_gives_a_slice_set_that_is_silently_wrong(tmp_path: Path, damaged_file: str) -> None:
    folder = make_tiny_cohort(tmp_path / "cohort", 3)
    subjects = json.loads((folder / "cohort.json").read_text())["subjects"]
    if "mask" in damaged_file:
        volumes(folder, "P001/mask")
        subjects[0] |= {"mask": "P001/mask.nii.gz", "boxes": None}
        (folder / "cohort.json").write_text(json.dumps({"name": "c", "subjects": subjects}))
    cohort, file = open_cohort(folder), folder / damaged_file

    def run(made: bytes) -> Any:
        file.write_bytes(made)
        with tempfile.TemporaryDirectory(dir=tmp_path) as scratch:
            prepare(cohort, PrepareConfig(size=32), Path(scratch) / "slices", lambda *_: None)
            made_of = open_slice_set(Path(scratch) / "slices")
            tables = [pd.DataFrame(frame).to_csv() for frame in (made_of.slices, made_of.boxes)]
            return made_of.images.tobytes(), tables

    text = file.suffix == ".csv"
    tally = fuzz(run, file.read_bytes(), TABLE if text else BYTES, count=100, illegal=() if text else BYTES)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 25, str(tally)
