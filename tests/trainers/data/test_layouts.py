"""Each public data set and common format is told apart by its files' names, and becomes a cohort that can be used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.made_once import made_once
from tests.trainers.data import public_sets as sets
from trainers.data.annotation import COLUMNS, read_boxes
from trainers.data.cohort import Cohort, open_cohort
from trainers.data.importing import Imported, import_cohort
from trainers.data.layouts.contract import Tree, patient_of
from trainers.data.layouts.known import LAYOUTS, layout_of
from trainers.documents import read_json
from trainers.exceptions import CohortError


def imported(source: Path, out: Path, layout: str = "auto", convert: bool = False) -> tuple[Imported, Cohort]:
    out.mkdir()
    tree = Tree.of(source)
    made = import_cohort(layout_of(layout, tree), tree, out, out, lambda *_: None, convert)
    return made, open_cohort(out)


def boxes_of(cohort: Cohort, number: int = 0) -> list[list[int]]:
    return read_boxes(cohort, cohort.subjects[number])[COLUMNS].to_numpy().tolist()


MAKERS: dict[str, Callable[[Path], Path]] = {
    "brats-mets": sets.brats,
    "pretreat": sets.pretreat,
    "ucsf-bmsr": sets.ucsf,
    "stanford": sets.stanford_pngs,
    "ixi": sets.ixi,
    "oasis1": sets.oasis,
    "nnunet": sets.nnunet,
    "bids": sets.bids,
    "coco": lambda root: sets.drawn(root, "coco"),
    "yolo": lambda root: sets.drawn(root, "yolo"),
    "voc": lambda root: sets.drawn(root, "voc"),
    "csv": lambda root: sets.drawn(root, "csv"),
}


@pytest.mark.parametrize("layout", MAKERS)
def test_auto_tells_layouts_apart_and_the_cohort_is_complete(layout: str, tmp_path: Path) -> None:
    source = MAKERS[layout](tmp_path / "download")
    before = sorted(source.rglob("*"))
    assert layout_of("auto", Tree.of(source)).name == layout
    made, cohort = imported(source, tmp_path / "cohort", convert=layout in ("stanford", "oasis1"))
    assert made.cohort.subjects == cohort.subjects
    assert sorted(source.rglob("*")) == before
    patients = [subject for subject in cohort.subjects if subject.kind == "tumour"]
    assert made.lesions == 2 * len(patients)
    for number, subject in enumerate(cohort.subjects):
        if subject.kind == "tumour":
            assert boxes_of(cohort, number) == sets.BOXES[: 4 if subject.patient_id == "caseB" else 5]
    cohort.fingerprint()  # volumes and masks differ and can be read


def test_every_layout_but_those_chosen_by_name_is_told_by_auto() -> None:
    assert LAYOUTS.keys() - MAKERS.keys() == {"stanford-cube", "table", "dicom"}, "test_dicom.py shows the last"


def test_brats_of_2025_has_time_points_sites_and_resections(tmp_path: Path) -> None:
    folder = tmp_path / "MICCAI-LH-BraTS2025-MET-Challenge-Training"
    sets.brats_case(folder, "BraTS-MET-00001-000", 1, lesion=(1, 3))
    additional = sets.brats_case(folder, "BraTS-MET-00355-000", 2, ".nii", lesion=(3, 3))
    (additional / "BraTS-MET-00355-000-seg.nii").rename(additional / "BraTS-MET-00355-000_Segmentation.nii")
    for site in ("UCSD - Training", "UCSD-Training"):
        first = 1000 if site == "UCSD-Training" else 1001
        sets.brats_case(folder / site, f"BraTS-MET-{first:05d}-000", first, lesion=(3, 4))
        sets.brats_case(folder / site, f"BraTS-MET-{first:05d}-001", first + 10, lesion=(4, 4))
    sets.brats_case(folder / "validation", "BraTS-MET-00400-000", 5)
    made, cohort = imported(folder, tmp_path / "cohort")
    assert made.left_out == {
        "BraTS-MET-00400-000": "no annotation",
        "BraTS-MET-01000-001": "no lesion in its mask or boxes",
        "BraTS-MET-01001-001": "no lesion in its mask or boxes",
    }
    assert cohort.origin == {"layout": "brats-mets", "source": str(folder), "left_out": made.left_out}
    scans = {subject.patient_id: subject for subject in cohort.subjects}
    assert {name: scan.scanner for name, scan in scans.items()} == {
        "BraTS-MET-00001": "unknown", "BraTS-MET-00355": "unknown",
        "BraTS-MET-01000": "UCSD", "BraTS-MET-01001": "UCSD",
    }  # fmt: skip
    first = scans["BraTS-MET-00001"]
    assert (first.kind, first.split, first.stripped, first.mask_labels) == ("tumour", None, True, (1, 3))
    assert first.volume.endswith("BraTS-MET-00001-000/BraTS-MET-00001-000-t1c.nii.gz")
    assert boxes_of(cohort, list(scans).index("BraTS-MET-01000")) == sets.BOXES[:3], "4 is no lesion"


def test_scans_of_a_person_share_the_patient(tmp_path: Path) -> None:
    _, ucsf = imported(sets.ucsf(tmp_path / "download"), tmp_path / "ucsf")
    assert [subject.patient_id for subject in ucsf.subjects] == ["100101", "100101", "100102"]
    assert ucsf.subjects[0].volume.endswith("100101A/100101A_T1post.nii.gz")
    assert (
        ucsf.subjects[0].mask
        == "../download/UCSF_BrainMetastases_v1.3/UCSF_BrainMetastases_TRAIN/100101A/100101A_seg.nii.gz"
    )
    made, oasis = imported(sets.oasis(tmp_path / "oasis"), tmp_path / "normals", convert=True)
    assert [subject.patient_id for subject in oasis.subjects] == ["OAS1_0001", "OAS1_0001"]
    assert made.left_out == {"OAS1_0003_MR1": "dementia (CDR 0.5)"}
    _, bids = imported(sets.bids(tmp_path / "download"), tmp_path / "bids")
    assert [(s.patient_id, s.kind, s.scanner) for s in bids.subjects] == [
        ("sub-01", "tumour", "A"), ("sub-02", "tumour", "B"), ("sub-02", "tumour", "B"), ("sub-03", "normal", "A"),
    ]  # fmt: skip
    assert bids.subjects[0].volume.endswith("sub-01_ce-T1w.nii.gz")


def test_scans_of_ucsf_that_were_prefixed_share_the_patient() -> None:
    assert {patient_of(f"UCSF_100101{scan}") for scan in "AB"} == {"100101"}
    assert patient_of("sub-01_ses-1") == "sub-01"
    assert [patient_of(name) for name in ("mets_1001012A", "X100101A")] == ["mets_1001012A", "X100101A"]


@pytest.mark.parametrize(("form", "replaced"), [("yolo", ("0 ", "1 ")), ("voc", ("<name>met<", "<name>vessel<"))])
def test_files_of_another_category_are_refused(form: str, replaced: tuple[str, str], tmp_path: Path) -> None:
    source = sets.drawn(tmp_path, form)
    file = next(source.glob("caseA_z032.*"))
    file.write_text(file.read_text().replace(*replaced, 1))
    with pytest.raises(
        CohortError, match=r"caseA_z032.*: its boxes are of the categories .*caseA_z03.* and '(1|vessel)'"
    ):
        imported(source, tmp_path / "cohort", form)


def test_coco_files_of_another_category_are_refused(tmp_path: Path) -> None:
    source = sets.drawn(tmp_path, "coco")
    first, second = source / "instances.json", source / "more.json"
    content = json.loads(first.read_text())
    halves = [{"images": [], "annotations": []}, {"images": [], "annotations": []}]
    for number, (image, box) in enumerate(zip(content["images"], content["annotations"], strict=True)):
        halves[number % 2]["images"].append(image)
        halves[number % 2]["annotations"].append(box | {"category_id": 1 + number % 2})
    first.write_text(json.dumps(halves[0] | {"categories": [{"id": 1, "name": "met"}]}))
    for name in ("met", "vessel"):
        second.write_text(json.dumps(halves[1] | {"categories": [{"id": 2, "name": name}]}))
        if name == "met":
            imported(source, tmp_path / "cohort", "coco")
        else:
            with pytest.raises(CohortError, match=r"more\.json: image 0: .* 'met' .*instances\.json.* and 'vessel'"):
                imported(source, tmp_path / "refused", "coco")


def test_stanford_has_two_sequences_after_contrast_and_png_slices(tmp_path: Path) -> None:
    pngs = sets.stanford_pngs(tmp_path / "download")
    with pytest.raises(CohortError, match=r"2 volumes, Mets_005 first, are no NIfTI files.*--convert"):
        imported(pngs, tmp_path / "refused")
    made, _ = imported(pngs, tmp_path / "cohort", convert=True)
    assert made.left_out == {"Mets_101": "no annotation"}
    assert (tmp_path / "cohort" / "volume" / "Mets_005.nii.gz").is_file()
    nifti = sets.stanford_nifti(tmp_path / "others")
    _, bravo = imported(nifti, tmp_path / "bravo")
    _, cube = imported(nifti, tmp_path / "cube", "stanford-cube")
    assert [Path(c.subjects[0].volume).name for c in (bravo, cube)] == ["bravo.nii.gz", "t1_gd.nii.gz"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda study: (study / "0" / "30.png").unlink(), "0: lacks slice 30; needed: all"),
        (lambda study: (study / "seg" / "5.png").unlink(), "seg: lacks slice 5; needed: all"),
        (
            lambda study: (study / "seg" / "0.png").unlink(),
            "0 has the slices 0 to 62, .*seg 1 to 62; allowed: the same",
        ),
        (lambda study: shutil.copy(study / "0" / "7.png", study / "0" / "07.png"), "0: two files have one number"),
    ],
)
def test_stanfords_missing_slices_are_refused(
    spoil: Callable[[Path], object], message: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = made_once(tmp_path_factory, "stanford", sets.stanford_pngs)
    source = Path(shutil.copytree(made, tmp_path / "download"))
    spoil(next(source.rglob("Mets_005")))
    with pytest.raises(CohortError, match=message):
        list(LAYOUTS["stanford"].scans(Tree.of(source)))


def test_sites_of_ixi_are_scanners_and_only_t1_counts(tmp_path: Path) -> None:
    _, cohort = imported(sets.ixi(tmp_path / "download"), tmp_path / "cohort")
    assert [(s.patient_id, s.scanner, s.stripped) for s in cohort.subjects] == [
        ("IXI002", "IXI Guys", False), ("IXI012", "IXI HH", False), ("IXI035", "IXI IOP", False),
    ]  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_nnunet_names_its_channel_its_labels_and_its_test_cases(version: int, tmp_path: Path) -> None:
    made, cohort = imported(sets.nnunet(tmp_path, version), tmp_path / "cohort")
    assert [(s.patient_id, s.split, s.mask_labels) for s in cohort.subjects] == [
        ("mets_001", None, (1, 3)), ("mets_002", None, (1, 3)), ("mets_003", "test", (1, 3)),
    ]  # fmt: skip
    assert cohort.subjects[0].volume.endswith("mets_001_0001.nii.gz")
    assert made.left_out == {"mets_004": "no annotation"}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_lists_scans(ending: str, tmp_path: Path) -> None:
    sets.ucsf(tmp_path)
    folder = "UCSF_BrainMetastases_v1.3/UCSF_BrainMetastases_TRAIN/100101A/100101A"
    sets.write(tmp_path / "normal.nii.gz", sets.head(0))
    rows = pd.DataFrame(
        {
            "patient_id": ["A", "N"],
            "kind": [None, "normal"],
            "volume": [f"{folder}_T1post.nii.gz", "normal.nii.gz"],
            "mask": [f"{folder}_BraTS-seg.nii.gz", None],
            "mask_labels": ["2 3", None],
            "stripped": ["true", "no"],
        }
    )
    file = tmp_path / f"scans.{ending}"
    rows.to_csv(file, index=False) if ending == "csv" else rows.to_parquet(file)
    _, cohort = imported(file, tmp_path / "cohort")
    assert [(s.patient_id, s.kind, s.mask_labels, s.stripped) for s in cohort.subjects] == [
        ("A", "tumour", (2, 3), True), ("N", "normal", None, False),
    ]  # fmt: skip


def test_sets_that_share_scans_are_refused_in_one_folder(tmp_path: Path) -> None:
    sets.brats(tmp_path / "both")
    sets.pretreat(tmp_path / "both", first=3)
    with pytest.raises(CohortError, match=r"may be laid out as any of brats-mets, pretreat\. Name one instead"):
        layout_of("auto", Tree.of(tmp_path / "both"))
    with pytest.raises(CohortError, match=r"BraTS-MET-00003-000: .*ASNR.* and .*Pretreat.* are both its mask"):
        imported(tmp_path / "both", tmp_path / "cohort", "brats-mets")


@pytest.fixture
def download(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of BraTS-METS to damage."""
    made = made_once(tmp_path_factory, "brats", sets.brats)
    return Path(shutil.copytree(made, tmp_path / "download"))


def case(download: Path, file: str) -> Path:
    return next(download.rglob(f"BraTS-MET-00001-000-{file}"))


def test_what_contradicts_itself_is_refused_with_the_files(download: Path, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"may be laid out as any of brats-mets, ucsf-bmsr\. Name one"):
        layout_of("auto", Tree.of(sets.ucsf(download).parent))
    shutil.copy(
        case(download, "seg.nii.gz"), case(download, "seg.nii.gz").with_name("BraTS-MET-00001-000-seg-v2.nii.gz")
    )
    with pytest.raises(
        CohortError, match=r"000: .*seg-v2\.nii\.gz and .*seg\.nii\.gz are both its mask.*keep the later"
    ):
        imported(download, tmp_path / "cohort", "brats-mets")
    with pytest.raises(CohortError, match=r"'brats' is unknown; allowed: auto, or\n  nnunet: dataset\.json"):
        layout_of("brats", Tree.of(download))
    with pytest.raises(
        CohortError, match=r"none of 0 scans can be used as ixi \(no file is named so\); expected: IXI002"
    ):
        imported(download, tmp_path / "ixi", "ixi")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match=r"none of its 0 files is named as in a layout; known are\n  nnunet"):
        layout_of("auto", Tree.of(tmp_path / "empty"))
    with pytest.raises(CohortError, match="There is no folder or file"):
        Tree.of(tmp_path / "nowhere")


def test_all_damaged_masks_are_listed_together(download: Path, tmp_path: Path) -> None:
    case(download, "seg.nii.gz").write_bytes(b"no gzip")
    other = next(download.rglob("BraTS-MET-00002-000-seg.nii.gz"))
    sets.write(other, sets.labels(2), "RAS")
    with pytest.raises(CohortError) as refused:
        imported(download, tmp_path / "cohort")
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["patient 'BraTS-MET-00001'", "patient 'BraTS-MET-00002'"]
    assert "resample the mask" in lines[1]


def test_links_are_followed_but_not_in_circles(download: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "data").symlink_to(download)
    (download / "back").symlink_to(tmp_path / "linked")
    _, cohort = imported(tmp_path / "linked", tmp_path / "cohort")
    assert len(cohort.subjects) == 3


def test_a_coco_file_is_parsed_once_and_other_json_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sets.drawn(tmp_path / "download", "coco")
    (source / "broken.json").write_text('{"annotations": ')
    parsed: list[str] = []

    def recorded(path: Path, *settings: Any) -> Any:
        parsed.append(path.name)
        return read_json(path, *settings)

    monkeypatch.setattr("trainers.data.drawn.read_json", recorded)
    made, _ = imported(source, tmp_path / "cohort")
    assert made.cohort.origin["layout"] == "coco"
    assert parsed == ["instances.json"]


def coco(images: Sequence[tuple[int, str]], ids: Sequence[Any] = ()) -> str:
    """A COCO file of images (id, name), and of annotations with other boxes each."""
    return json.dumps({
        "images": [{"id": own, "file_name": f"{name}.png", "width": 64, "height": 64} for own, name in images],
        "annotations": [{"id": own, "image_id": 1, "bbox": [i, 1, 2, 3]} for i, own in enumerate(ids)],
    })  # fmt: skip


@pytest.mark.parametrize(
    ("form", "file", "content", "message"),
    [
        ("coco", "instances.json", '{"images": [], "annotations": [{"bbox": [1, 2, 3]}]}', "annotation 0 has the bbox"),
        ("coco", "instances.json", '{"images": [], "annotations": [{"bbox": [1, 2, 3, 4], "image_id": 7}]}', "7"),
        ("coco", "instances.json", coco([(1, "caseA_z030"), (1, "caseB_z030")]),
         r"image 1 \('caseB_z030'\) has the id of image 0 \('caseA_z030'\); allowed: once"),
        ("coco", "instances.json", coco([(1, "caseA_z030"), (2, "caseA_z030")]), "image 1 .* has the name of image 0"),
        ("coco", "instances.json", coco([(1, "caseA_z030")], ids=[4, 5, 4]), "annotation 2 .id 4. has the id"),
        ("coco", "instances.json", coco([(1, "caseA_z030")], ids=[[4]]), r"annotation 0 has the id \[4\]; allowed: a"),
        ("yolo", "caseA_z030.txt", "0 0.5 0.5 0.1", "line 1: is '0 0.5 0.5 0.1'; allowed: class, x, y"),
        ("yolo", "caseA_z030.txt", "0 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.1", "categories '0' .* and '1'; allowed in"),
        ("yolo", "caseA_z030.txt", "0 0.99 0.5 0.1 0.1", "allowed: x0 < x1 and y0 < y1 within"),
        ("yolo", "caseC_z030.txt", "0 0.5 0.5 0.1 0.1", "'caseC_z030' is named after no volume; allowed: .*_z045"),
        ("yolo", "caseA_z099.txt", "0 0.5 0.5 0.1 0.1", "slice 99 of a volume with 63 slices"),
        ("voc", "caseA_z030.xml", "<!DOCTYPE a><annotation/>", "declares a document type"),
        ("voc", "caseA_z030.xml", "<annotation>", "cannot be read as Pascal VOC"),
        ("csv", "boxes.csv", "image,x0,y0,x1,y1\ncaseA_z030,1,2,x,4\n", "line 2: is "),
        ("csv", "boxes.csv", "image,x0,y0,x1,y1\ncaseA_z030,1,2,3,4\ncaseA_z030,1,2,3,4\n", "has a box twice"),
    ],
)  # fmt: skip
def test_bad_boxes_are_refused_with_file_and_place(
    form: str, file: str, content: str, message: str, tmp_path: Path
) -> None:
    source = sets.drawn(tmp_path, form)
    (source / file).write_text(content)
    with pytest.raises(CohortError, match=message) as refused:
        imported(source, tmp_path / "cohort", form)
    assert file.partition(".")[0] in str(refused.value)
