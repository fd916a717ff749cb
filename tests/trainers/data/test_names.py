"""Names say what is lesion and which sequence follows contrast, alike in nnU-Net, BIDS and DICOM; unclear ones are
refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainers.data import public_sets as sets
from trainers.data.annotation import COLUMNS, read_boxes
from trainers.data.cohort import Cohort, Subject, open_cohort
from trainers.data.importing import Imported, import_cohort
from trainers.data.layouts.contract import Tree
from trainers.data.layouts.known import layout_of
from trainers.data.layouts.pseudonyms import pseudonymised
from trainers.data.names import is_after_contrast, is_lesion, lesion_values
from trainers.data.volume_file import load_image
from trainers.exceptions import CohortError

LESIONS = (
    "metastasis", "Brain metastasis", "BrainMets", "brainmet", "met_1", "Metastase", "Läsion links", "lesion2",
    "GTV_03", "NETC", "ET", "NCR", "enhancing tumour", "non-enhancing tumor core", "necrosis", "necrotic core",
)  # fmt: skip
BESIDE = (
    "background", "ED", "edema", "Peritumoral edema", "peritumoraledema", "Tumor bed cavity", "TumourBed", "RC", "SNFH",
    "resection cavity", "surrounding non-enhancing FLAIR hyperintensity", "Ödem", "radiation necrosis", "non-tumour",
    "brain", "WM", "white matter", "lateral ventricles", "enhancing vessel", "normal tissue", "CTV",
)  # fmt: skip
UNCLEAR = ("", "Segment_1", "label 1", "manual", "abnormality")


def test_every_name_says_what_it_is() -> None:
    assert {name: is_lesion(name) for name in LESIONS} == dict.fromkeys(LESIONS, True)
    assert {name: is_lesion(name) for name in BESIDE} == dict.fromkeys(BESIDE, False)
    assert {name: is_lesion(name) for name in UNCLEAR} == dict.fromkeys(UNCLEAR)


def test_a_name_that_says_nothing_is_a_lesions_only_if_it_stands_alone() -> None:
    assert lesion_values("f", {0: "background", 1: "brain", 3: "Segment_1"}, CohortError) == (3,)
    for other in ("metastasis", "Segment_2"):
        with pytest.raises(CohortError, match="'Segment_1' does not say whether it is a lesion; allowed: such as met"):
            lesion_values("f", {1: "Segment_1", 2: other}, CohortError)
    with pytest.raises(CohortError, match=r"f: none of \{1: 'oedema'\} is a lesion"):
        lesion_values("f", {1: "oedema"}, CohortError)


def test_sequences_say_whether_they_follow_contrast() -> None:
    after = ("T1c", "T1ce", "T1Gd", "t1_gd", "T1post", "T1 with contrast", "T1CE axial", "bravo", "T1w post-contrast")
    other = ("T1 non-contrast", "T1pre", "T1n", "T1 without contrast", "CT", "FLAIR", "T2 post", "T1 subtraction")
    assert {name: is_after_contrast(name) for name in after} == dict.fromkeys(after, True)
    assert {name: is_after_contrast(name) for name in other} == dict.fromkeys(other, False)
    assert [is_after_contrast(name) for name in ("T1", "MRI", "0")] == [None] * 3


def imported(source: Path, out: Path, layout: str = "auto") -> tuple[Imported, Cohort]:
    out.mkdir()
    tree = Tree.of(source)
    return import_cohort(layout_of(layout, tree), tree, out, out, lambda *_: None), open_cohort(out)


def nnunet(root: Path, **changes: object) -> Path:
    folder = sets.nnunet(root)
    info = folder / "dataset.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | changes))
    return folder


def test_nnunets_oedema_and_cavity_are_no_lesion(tmp_path: Path) -> None:
    names = {"background": 0, "brain metastasis": 1, "ED": 2, "ET": 3, "RC": 4}
    _, cohort = imported(nnunet(tmp_path, labels=names), tmp_path / "cohort")
    assert {subject.mask_labels for subject in cohort.subjects} == {(1, 3)}


def test_nnunets_channel_must_follow_contrast(tmp_path: Path) -> None:
    for channels in ({"0": "CT"}, {"0": "T1 non-contrast", "1": "FLAIR"}):
        folder = nnunet(tmp_path / channels["0"], channel_names=channels)
        with pytest.raises(CohortError, match=r"channel_names is .*; needed: one that is called T1c"):
            imported(folder, folder / "cohort", "nnunet")


def test_bids_values_are_named_by_the_nearest_table(tmp_path: Path) -> None:
    folder = sets.bids(tmp_path)
    derivatives = folder / "derivatives" / "manual"
    (mask,) = derivatives.rglob("sub-01_label-lesion_mask.nii.gz")
    mask.unlink()
    sets.write(mask.with_name("sub-01_dseg.nii.gz"), sets.labels(1))
    (folder / "dseg.tsv").write_text("index\tname\n1\tedema\n2\tlesion\n3\tedema\n")
    (derivatives / "dseg.tsv").write_text("index\tname\n1\tnecrosis\n2\tedema\n3\tenhancing tumour\n")
    (mask.parent / "sub-02_dseg.tsv").write_text("index\tname\n1\tedema\n2\tlesion\n3\tedema\n")
    _, cohort = imported(folder, tmp_path / "cohort")
    assert cohort.subjects[0].mask_labels == (1, 3)
    assert read_boxes(cohort, cohort.subjects[0])[COLUMNS].to_numpy().tolist() == sets.BOXES
    assert {subject.mask_labels for subject in cohort.subjects[1:]} == {None}, "a mask has one value"


@pytest.mark.parametrize(
    ("label", "lesion"), [("edema", False), ("peritumoraledema", False), ("brainmetastases", True)]
)
def test_bids_masks_are_what_their_label_says(label: str, lesion: bool, tmp_path: Path) -> None:
    folder = sets.bids(tmp_path)
    (mask,) = folder.rglob("sub-01_label-lesion_mask.nii.gz")
    mask.rename(mask.with_name(f"sub-01_label-{label}_mask.nii.gz"))
    made, _ = imported(folder, tmp_path / "cohort")
    assert made.left_out == ({} if lesion else {"sub-01": "no annotation"})


def test_a_table_never_takes_a_patient_without_mask_for_a_normal_subject(tmp_path: Path) -> None:
    sets.write(tmp_path / "a.nii.gz", sets.brain(1))
    sets.write(tmp_path / "b.nii.gz", sets.head(2))
    table = tmp_path / "scans.csv"
    table.write_text("patient_id,volume,mask\nA,a.nii.gz,\n")
    with pytest.raises(CohortError, match=r"line 2: patient 'A' has no mask, boxes or kind; needed: one of them"):
        imported(table, tmp_path / "refused")
    table.write_text("patient_id,kind,volume,mask\nA,tumour,a.nii.gz,\nN,normal,b.nii.gz,\n")
    made, cohort = imported(table, tmp_path / "cohort")
    assert list(made.left_out.values()) == ["no annotation"]
    assert [subject.patient_id for subject in cohort.subjects] == ["N"]


def test_every_column_of_a_table_reaches_the_cohort(tmp_path: Path) -> None:
    for name, voxels in (
        ("t1", sets.brain(1)), ("seg", sets.labels(1)), ("brain", (sets.brain(0) > 0).astype("uint8")),
    ):  # fmt: skip
        sets.write(tmp_path / f"{name}.nii.gz", voxels)
    boxes = "\n".join(",".join(map(str, box)) for box in sets.BOXES)
    (tmp_path / "boxes.csv").write_text(f"{','.join(COLUMNS)}\n{boxes}\n")
    columns = {
        "patient_id": "A", "kind": "tumour", "split": "test", "scanner": "3T", "volume": "t1.nii.gz",
        "mask": "seg.nii.gz", "mask_labels": "1 3", "boxes": "boxes.csv", "brain": "brain.nii.gz", "stripped": "false",
    }  # fmt: skip
    assert columns.keys() == Subject.model_fields.keys()
    table = tmp_path / "scans.csv"
    table.write_text(f"{','.join(columns)}\n{','.join(columns.values())}\n")
    tree = Tree.of(table)
    layout, plain, salted = layout_of("table", tree), tmp_path / "plain", tmp_path / "salted"
    plain.mkdir()
    (subject,) = import_cohort(layout, tree, plain, plain, lambda *_: None).cohort.subjects
    files = {key: f"../{columns[key]}" for key in ("volume", "mask", "boxes", "brain")}
    assert subject.model_dump() == columns | files | {"mask_labels": (1, 3), "stripped": False}
    salted.mkdir()
    layout = pseudonymised(layout, b"0" * 16)
    (subject,) = import_cohort(layout, tree, salted, salted, lambda *_: None).cohort.subjects
    assert subject.brain == f"brain/{subject.patient_id}-1.nii.gz"
    assert (load_image(salted / str(subject.brain), mask=True).get_fdata() > 0).sum() == (sets.brain(0) > 0).sum()
