"""A cohort is refused with one clear message, and its patients are divided as the paper does."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trainers.data.phantom import LESION, SHAPE, make_cohort, read_manifest, save, write_manifest
from trainers.data.annotation import read_boxes
from trainers.data.cohort import Cohort, Subject, open_cohort
from trainers.data.splits import assign_splits
from trainers.exceptions import CohortError


def test_opens_and_fingerprints_content_not_place(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "a")
    first = open_cohort(folder).fingerprint()
    shutil.copytree(folder, tmp_path / "b")
    assert open_cohort(tmp_path / "b").fingerprint() == first
    (tmp_path / "b" / "P001" / "boxes.csv").write_text("z,x0,y0,x1,y1\n18,20,30,24,36\n")
    assert open_cohort(tmp_path / "b").fingerprint() != first


def test_refuses_what_is_no_cohort(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no cohort folder .*nowhere.*metsweep cohort demo"):
        open_cohort(tmp_path / "nowhere")
    with pytest.raises(CohortError, match=r"lacks cohort\.json"):
        open_cohort(tmp_path)
    (tmp_path / "cohort.json").write_text("{")
    with pytest.raises(CohortError, match="not valid JSON"):
        open_cohort(tmp_path)
    write_manifest(tmp_path, [])
    with pytest.raises(CohortError, match="`subjects` is empty"):
        open_cohort(tmp_path)
    write_manifest(tmp_path, [], flavour="x")
    with pytest.raises(CohortError, match="flavour is not a known key; allowed: name, origin, subjects"):
        open_cohort(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "tset"}, r"0\.split \(patient 'P000'\) is 'tset'; allowed: 'train', 'validation' or 'test'"),
        ({"kind": "cancer"}, r"subjects\.0\.kind \(patient 'P000'\) is 'cancer'; allowed: 'tumour' or 'normal'"),
        ({"vloume": "x"}, r"subjects\.0\.vloume \(patient 'P000'\) is not a known key; allowed: .*volume"),
        (
            {"volume": "P000/gone.nii.gz"},
            r"patient 'P000': volume is 'P000/gone\.nii\.gz', but there is no file",
        ),
        ({"boxes": "P000/gone.csv"}, r"patient 'P000': boxes is 'P000/gone\.csv', but there is no file"),
        ({"boxes": None}, r"patient 'P000': kind is \"tumour\" but neither mask nor boxes"),
        ({"kind": "normal"}, r"patient 'P000': kind is \"normal\" but a mask or boxes"),
        ({"patient_id": "a b"}, r"patient_id \(patient 'a b'\) is 'a b'; allowed: "),
    ],
)
def test_refuses_a_bad_subject(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = make_cohort(tmp_path, **change)
    with pytest.raises(CohortError, match=message) as refused:
        open_cohort(folder)
    assert str(folder / "cohort.json") in str(refused.value)


@pytest.mark.parametrize("patient", ["NA", "null", "1e5", "007", "true"])
def test_a_patient_may_have_any_name(tmp_path: Path, patient: str) -> None:
    assert open_cohort(make_cohort(tmp_path, patient_id=patient)).subjects[0].patient_id == patient


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patient_id": "P" * 101}, "at most 100 characters"),
        (
            {"scanner": "a\nb"},
            r"scanner \(patient 'P000'\) holds '\\n'; allowed: one line of text",
        ),
        ({"scanner": "\x1b[31m"}, "one line of text"),
        ({"volume": "\0"}, "one line of text"),
        ({"volume": "v" * 300}, "there is no file"),
        ({"scanner": "\ud800"}, r"subjects\.0\.scanner holds '\\ud800', of which a part is no character"),
        ({"mask_labels": [10**18]}, "line 1: a whole number has 19 digits; allowed: up to 18"),
    ],
)
def test_refuses_names_that_nothing_can_hold(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder = make_cohort(tmp_path, **change)
    with pytest.raises(CohortError, match=message):
        open_cohort(folder)


def test_refuses_a_key_that_stands_twice(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path)
    text = (folder / "cohort.json").read_text().replace('"kind"', '\n"split": "test", "split":\n "train", "kind"', 1)
    (folder / "cohort.json").write_text(text)
    with pytest.raises(
        CohortError, match=r"cohort\.json, line 2: the key 'split' occurs twice in .*'P000'.*Remove one"
    ):
        open_cohort(folder)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path)
    (folder / "cohort.json").write_bytes(b"\xef\xbb\xbf" + (folder / "cohort.json").read_bytes())
    assert len(open_cohort(folder).subjects) == 4


def test_refuses_a_missing_key(tmp_path: Path) -> None:
    write_manifest(tmp_path, [{"patient_id": "P000", "kind": "tumour"}])
    with pytest.raises(CohortError, match=r"subjects\.0\.volume \(patient 'P000'\) is missing"):
        open_cohort(tmp_path)


def test_refuses_patients_in_two_splits_and_empty_splits(tmp_path: Path) -> None:
    subjects = read_manifest(make_cohort(tmp_path))
    for subject, split in zip(subjects, ("train", "validation", "test", "train"), strict=True):
        subject["split"] = split
    write_manifest(tmp_path, subjects)
    assert len(open_cohort(tmp_path).subjects) == 4

    twice = [dict(subjects[0]), {**subjects[1], "patient_id": "P000"}, *subjects[2:]]
    write_manifest(tmp_path, twice)
    with pytest.raises(CohortError, match="patient 'P000' is in the splits train and validation"):
        open_cohort(tmp_path)

    write_manifest(tmp_path, [{**subject, "split": "train"} for subject in subjects])
    with pytest.raises(CohortError, match="no tumour subject is in the validation split"):
        open_cohort(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("z,x0,y0,x1\n1,2,3,4\n", "lacks the columns y1"),
        ("z,x0,y0,x1,y1\n18,20,30,24,35\n18,24,30,20,35\n", "line 3 is .*allowed: whole numbers with"),
        (f"z,x0,y0,x1,y1\n18,20,30,{SHAPE[0] + 1},35\n", "line 2 is .*inside the canonical volume"),
        ("z,x0,y0,x1,y1\n18,20.5,30,24,35\n", "line 2 is "),
        ("z,x0,y0,x1,y1\n18,,30,24,35\n", "line 2 is "),
        ("z,x0,y0,x1,y1\n18,20,30,inf,35\n", "line 2 is "),
        ("z,x0,y0,x1,y1\n-inf,20,30,24,35\n", "line 2 is "),
        ("z,x0,y0,x1,y1\n18,20,30,20,35\n", "line 2 is "),
        ("z,x0,y0,x1,y1\n40,20,30,24,35\n", "line 2 is "),
        ("", r"boxes\.csv, line 1: got no columns; needed: z, x0"),
        ("z,x0,y0,x1,y1\n", r'boxes\.csv: holds no box, but the volume\'s kind is "tumour"'),
        ("z,x0,y0,x1,y1\n3,5,25,31,40,50\n", r"boxes\.csv, line 2: has 6 fields, .*; allowed: 5"),
        ("z,x0,y0,x1,y1\n18,20,30,24,35\n\n18,20,30,24\n", r"boxes\.csv, line 4: has 4 fields"),
        ("z,x0,y0,x1,y1\n18,20,30,24,35\n19,20,30,24,35\n18,20,30,24.0,35\n", "line 4 is the box of line 2 again"),
        ("z,x0,y0,x1,y1\n18,2_0,30,24,35\n", "line 2 is "),
        ("z,x0,y0,x1,y1\n18,20,30," + "9" * 5000 + ",35\n", "line 2 is .*inside the canonical volume"),
        ('z,x0,y0,x1,y1\n18,20,30,24,"35\n19,20,30,24,35"\n', "line 2: a field continues into line 3"),
        ('z,x0,y0,x1,y1\n18,20,30,24,"35\n', "line 2: cannot be read as CSV"),
        ("z,x0,y0,x1,y1\n18,20,30,24,35\0\n", "line 2: holds the control character"),
        ("z,x0,y0,x1,x0\n18,20,30,24,35\n", "line 1: got the columns .*each once"),
    ],
)
def test_refuses_bad_boxes(tmp_path: Path, text: str, message: str) -> None:
    cohort = open_cohort(make_cohort(tmp_path))
    cohort.path("P000/boxes.csv").write_text(text)
    with pytest.raises(CohortError, match=message) as refused:
        read_boxes(cohort, cohort.subjects[0])
    assert str(refused.value).startswith("patient 'P000': ")


@pytest.mark.parametrize(
    "text",
    [
        "z,x0,y0,x1,y1\n18,20,30,24,35\n",
        "\ufeffz,x0,y0,x1,y1\r\n18,20,30,24,35\r\n",
        "z, x0, y0, x1, y1\n\n18, 20, 30, 24, 35\n",
        "z;x0;y0;x1;y1;note\n18;20;30;24;35;left, small\n",
        "z\tx0\ty0\tx1\ty1\n18\t20.0\t30\t24\t35\n",
        ',z,x0,y0,x1,y1,reader\r0,18,20,30,24,35,"a, b"',
    ],
)
def test_reads_boxes_as_spreadsheets_and_pandas_write_them(tmp_path: Path, text: str) -> None:
    cohort = open_cohort(make_cohort(tmp_path))
    cohort.path("P000/boxes.csv").write_text(text, encoding="utf-8", newline="")
    assert read_boxes(cohort, cohort.subjects[0])[["z", "x0", "y0", "x1", "y1"]].to_numpy().tolist() == [
        [18, 20, 30, 24, 35]
    ]


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAL"])
def test_mask_becomes_canonical_boxes_per_component(tmp_path: Path, axes: str) -> None:
    cohort = open_cohort(make_cohort(tmp_path, mask=True))
    found = np.zeros(SHAPE, dtype=np.uint8)
    found[LESION] = 1
    found[40:42, 10:13, 19] = 3
    found[10:20, 10:20, 5] = 2
    for name in ("t1c", "mask"):
        save(cohort.path(f"P000/{name}.nii.gz"), found, axes)
    subject = cohort.subjects[0].model_copy(update={"mask_labels": (1, 3)})
    boxes = read_boxes(cohort, subject)
    assert boxes[["z", "x0", "y0", "x1", "y1"]].to_numpy().tolist() == [
        [18, 20, 30, 24, 35],
        [19, 20, 30, 24, 35],
        [19, 40, 10, 42, 13],
        [20, 20, 30, 24, 35],
    ]
    assert boxes["lesion"].iloc[[0, 1, 3]].nunique() == 1
    assert boxes["lesion"].nunique() == 2


def test_refuses_a_mask_on_another_grid(tmp_path: Path) -> None:
    cohort = open_cohort(make_cohort(tmp_path, mask=True))
    save(cohort.path("P000/mask.nii.gz"), np.ones(SHAPE, dtype=np.uint8), "LPS")
    with pytest.raises(CohortError, match=r"patient 'P000'.*resample the mask"):
        read_boxes(cohort, cohort.subjects[0])


def _many(tumour: int, normal: int = 0, **splits: Any) -> Cohort:
    subjects = [
        Subject(patient_id=f"P{i:03d}", kind="tumour", volume=f"{i}", boxes="b", split=splits.get(f"P{i:03d}"))
        for i in range(tumour)
    ]
    subjects += [Subject(patient_id=f"N{i:03d}", kind="normal", volume=f"n{i}") for i in range(normal)]
    return Cohort(Path("cohort"), "many", {}, tuple(subjects))


def test_splits_are_the_papers_stratified_seeded_and_disjoint() -> None:
    cohort = _many(180, 5)
    lesions = {f"P{i:03d}": 1 + i % 30 for i in range(180)}
    divided = assign_splits(cohort, lesions, seed=3)
    tumour = pd.DataFrame([(s.patient_id, s.split) for s in divided.subjects if s.kind == "tumour"], columns=["p", "s"])
    assert Counter(tumour["s"]) == {"train": 126, "validation": 18, "test": 36}
    assert {s.split for s in divided.subjects if s.kind == "normal"} == {"train"}
    means = tumour["p"].map(lesions).groupby(tumour["s"]).mean()
    assert (means - 15.5).abs().max() < 1.2
    assert assign_splits(cohort, lesions, seed=3) == divided
    assert assign_splits(cohort, lesions, seed=4) != divided


def test_given_splits_stay_and_volumes_of_a_patient_stay_together() -> None:
    cohort = _many(10, P000="test", P001="validation")
    twin = cohort.subjects[0].model_copy(update={"volume": "second", "split": None})
    cohort = Cohort(cohort.folder, cohort.name, {}, (*cohort.subjects, twin))
    divided = assign_splits(cohort, Counter({f"P{i:03d}": 1 for i in range(10)}), seed=0)
    of = {s.volume: s.split for s in divided.subjects}
    assert (of["0"], of["second"], of["1"]) == ("test", "test", "validation")
    assert Counter(of[str(i)] for i in range(10)) == {"train": 7, "validation": 1, "test": 2}


def test_refuses_too_few_patients() -> None:
    with pytest.raises(CohortError, match="2 tumour patients; at least 3"):
        assign_splits(_many(2), {"P000": 1, "P001": 1}, seed=0)


def test_manifest_may_say_where_it_comes_from(tmp_path: Path) -> None:
    subjects = read_manifest(make_cohort(tmp_path))
    write_manifest(tmp_path, subjects, origin={"made by": "a test", "lesions": 3})
    assert open_cohort(tmp_path).origin == {"made by": "a test", "lesions": 3}
    assert json.loads((tmp_path / "cohort.json").read_text())["name"] == "phantom"
