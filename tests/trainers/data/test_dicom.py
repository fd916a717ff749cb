"""A clinic's DICOM becomes a cohort: the right series, the right voxels, and nobody's name."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from nibabel.funcs import as_closest_canonical
from pydicom.uid import generate_uid

from tests.trainers.data import dicom_trees as clinic
from tests.trainers.data import public_sets as sets
from trainers.data.annotation import read_boxes
from trainers.data.cohort import open_cohort
from trainers.data.dicom.choice import choose, unusable, unwanted
from trainers.data.dicom.convert import SegmentedSeries
from trainers.data.dicom.headers import Instance, read_series, require
from trainers.data.importing import UNANNOTATED, Imported, import_cohort
from trainers.data.layouts.contract import Scan, Tree
from trainers.data.layouts.dicom import DICOM, dicom
from trainers.data.layouts.known import layout_of
from trainers.data.layouts.pseudonyms import read_salt
from trainers.data.volume_file import load_image
from trainers.exceptions import CohortError

SALT = b"0123456789abcdef"
SMALL = sets.brain(1)[20:40, 24:36, 20:40]
"""Of a series that only its headers matter of."""


def mask(seed: int = 1) -> np.ndarray:
    return sets.labels(seed, lesion=(1, 1), around=None)


def study(folder: Path) -> str:
    """A study as it comes: seven series in one folder, an annotation, and files that are no DICOM; the T1c's UID."""
    t1c = clinic.series(folder, sets.brain(1), study=(uid := generate_uid()))
    for number, (description, changes) in enumerate(
        {
            "t1_se_tra": {"ContrastBolusAgent": ""},
            "t2_tse_tra": {"EchoTime": 95},
            "t1_mprage_sag_KM": {"orientation": clinic.SAGITTAL},
            "t1_sub_KM": {"ImageType": ["DERIVED", "SECONDARY", "SUBTRACTION"]},
            "Screenshot": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        }.items()
    ):
        clinic.series(folder, SMALL, description, study=uid, names=f"S{number}-{{}}", SeriesNumber=number, **changes)
    clinic.series(folder, SMALL[:, :, :3], "localizer", study=uid, names="L{}")
    clinic.segmentation(folder / "annotated", t1c, {"Edema": sets.labels(1, (0, 0)) > 0, "Brain metastasis": mask()})
    (folder / "README.txt").write_text("Musterfrau")
    (folder / "copy.dcm").write_bytes((folder / "IM0001").read_bytes())
    return t1c[0].SeriesInstanceUID


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "MUSTERFRAU_ERIKA" / "20190317"
    (folder.parent / "folder.with.dots" / "IMAGES").mkdir(parents=True)
    study(folder)
    return folder.parent


@pytest.fixture(scope="module")
def out(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    imported(export, out := tmp_path_factory.mktemp("out"))
    return out


def imported(source: Path, out: Path) -> tuple[Imported, list[str]]:
    """What became of an export, and what the user is shown."""
    out.mkdir(exist_ok=True)
    shown: list[str] = []
    return import_cohort(dicom(SALT), Tree.of(source), out, out, lambda *_: None, show=shown.append), shown


def scan_of(folder: Path, wanted: tuple[str, ...] = ()) -> Scan:
    (scan,) = dicom(SALT, wanted).scans(Tree.of(folder))
    return scan


def voxels(scan: Scan) -> np.ndarray:
    assert scan.volume is not None
    assert not isinstance(scan.volume, Path)
    return np.asarray(as_closest_canonical(scan.volume.image()).dataobj)


def test_the_t1_after_contrast_and_its_mask_become_the_cohort(out: Path) -> None:
    cohort = open_cohort(out)
    (subject,) = cohort.subjects
    assert (subject.kind, subject.scanner) == ("tumour", "Siemens 3.0T")
    assert subject.volume == f"volume/{subject.patient_id}-1.nii.gz"
    image = as_closest_canonical(load_image(cohort.path(subject.volume)))
    np.testing.assert_array_equal(np.asarray(image.dataobj), sets.brain(1))
    np.testing.assert_allclose(image.affine[:3, 3], clinic.ORIGIN)
    assert read_boxes(cohort, subject)[["z", "x0", "y0", "x1", "y1"]].to_numpy().tolist() == sets.BOXES


def test_nothing_personal_is_written(export: Path, out: Path) -> None:
    planted = [*clinic.PERSONAL.values(), clinic.PATIENT_ID, clinic.STUDY_DATE, "Gadovist", "t1_se_tra", "1.2.826"]
    planted += [part for value in planted for part in value.split("^")]
    files = [file for file in out.rglob("*") if file.is_file()]
    assert {file.name for file in files} > {"cohort.json"}
    for file in files:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        text = (content[:352] if file.suffix == ".gz" else content).decode("latin-1").lower()
        for value in (*planted, str(export)):
            assert value.lower() not in text, (file, value)
            assert value.lower() not in file.name.lower()
        if file.suffix == ".gz":
            assert load_image(file).header["descrip"] == b""
            assert load_image(file).header["db_name"] == b""


def test_all_series_are_listed_with_a_reason(export: Path) -> None:
    lines: tuple[str, ...] = scan_of(export).notes
    reasons = {line.split("'")[1]: line.rpartition(" slices: ")[2] for line in lines[1:]}
    assert reasons == {
        "t1_se_tra_KM": "chosen: contrast agent in the header, after contrast by its description",
        "t1_se_tra": "rejected: no sign of contrast (agent in the header, or description)",
        "t2_tse_tra": "rejected: another sequence, by its description",
        "t1_mprage_sag_KM": "rejected: not axial",
        "t1_sub_KM": "rejected: image type DERIVED",
        "Screenshot": "rejected: a secondary capture, a picture of a screen",
        "localizer": "rejected: fewer than 15 slices",
    }


@pytest.fixture(scope="module")
def head(export: Path) -> Instance:
    return next(i for s in read_series(Tree.of(export).files).values() for i in s if i.description == "t1_se_tra_KM")


@pytest.mark.parametrize(
    ("description", "agent", "changes", "reason"),
    [
        ("AX T1 MPRAGE POST GAD", False, {}, None),
        ("t1_mprage_tra_p2_iso_KM", False, {}, None),
        ("AX T1 FLAIR +C", False, {}, None),
        ("T1CE axial", False, {}, None),
        ("Ax BRAVO", True, {}, None),
        ("3D AX", True, {"echo_ms": 3.0, "repetition_ms": 2300.0}, None),
        ("AX T1 PRE", True, {}, "before contrast, by its description"),
        ("T1 w/o contrast", True, {}, "before contrast, by its description"),
        ("AX T1 -C", True, {}, "before contrast, by its description"),
        ("t1_nativ_tra", True, {}, "before contrast, by its description"),
        ("AX T1 non-contrast", True, {}, "before contrast, by its description"),
        ("AX T1", False, {}, "no sign of contrast (agent in the header, or description)"),
        ("AX T2 FLAIR POST", True, {}, "another sequence, by its description"),
        ("ep2d_perf_post", True, {}, "another sequence, by its description"),
        ("3-plane loc T1 post", True, {}, "a localiser, by its description"),
        ("T1 post SUB", True, {}, "made of other series, by its description"),
        ("T1 post", True, {"image_type": ("DERIVED", "SECONDARY", "MPR")}, "image type DERIVED"),
        ("AX POST", True, {"echo_ms": None, "repetition_ms": None}, "neither its description nor its echo and"),
        ("AX T1 POST", True, {"echo_ms": 98.0}, "no T1: its echo time is 98 ms"),
    ],
)
def test_rules(head: Instance, description: str, agent: bool, changes: dict[str, Any], reason: str | None) -> None:
    refused = unwanted([replace(head, description=description, agent=agent, **changes)])
    assert refused == reason if refused is None or reason is None else refused.startswith(reason)


def test_the_series_with_more_slices_goes_first(head: Instance) -> None:
    plane = head.planes[0]
    assert plane is not None

    def made(uid: str, slices: int, gap: float = 3.0) -> list[Instance]:
        places = [replace(plane, position=(0.0, 0.0, gap * z)) for z in range(slices)]
        return [replace(head, series=uid, uid=f"{uid}{z}", planes=(place,)) for z, place in enumerate(places)]

    thick, thin = made("thick", 20), made("thin", 40)
    assert choose([thin, thick], ()).chosen == thin
    assert choose([thin, thick], ("thick",)).chosen == thick
    with pytest.raises(CohortError, match=r"--series thick: thick and thin are of one study; allowed: one"):
        choose([thick, thin], ("thick", "thin"))
    assert unusable(thin) is None
    assert unusable(thin[:5] + thin[6:]) == "slices are missing: a step of 6.0 mm where others are 3.0"
    assert str(unusable([*thin, replace(thin[0], uid="again")])).startswith("several images at one position")
    assert unusable([*thin[1:], replace(thin[0], shape=(8, 8))]) == (
        "slices of several orientations, sizes or pixel spacings"
    )


def cut(file: Path, at: int) -> None:
    file.write_bytes(file.read_bytes()[:at])


def spoiled(file: Path, change: Callable[[Any], object]) -> None:
    header = pydicom.dcmread(file)
    change(header)
    header.save_as(file)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PixelSpacing": [0, 0]}, "a slice without sound position"),
        ({"ImageOrientationPatient": [0] * 6}, "a slice without sound position"),
        ({"ImagePositionPatient": ["1e30", "0", "0"]}, "a slice without sound position"),
        ({"Rows": 65535, "Columns": 65535}, "65535 x 65535 x 20 voxels; allowed: up to"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "no MR images"),
    ],
)
def test_absurd_headers_are_rejected(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    clinic.series(tmp_path, SMALL, **changes)
    scan = scan_of(tmp_path)
    assert scan.left_out == "no series is an axial T1 after contrast"
    assert f"rejected: {reason}" in scan.notes[1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: cut(file, 700), "IM0010: cannot be read as DICOM .*is the file complete"),
        (lambda file: cut(file, 200), "IM0010: cannot be read as DICOM"),
        (lambda file: cut(file, -300), "cannot be converted: dcm2niix ended with 1"),
        (lambda file: spoiled(file, lambda h: delattr(h, "PixelData")), "cannot be converted: dcm2niix ended"),
        (
            lambda file: spoiled(file, lambda h: setattr(h.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2.1.99")),
            "IM0010: cannot be read as DICOM .deflated",
        ),
        (lambda file: spoiled(file, lambda h: setattr(h, "NumberOfFrames", 10**8)), "NumberOfFrames is 100000000"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    clinic.series(tmp_path / "in", SMALL)
    spoil(tmp_path / "in" / "IM0010")
    with pytest.raises(CohortError, match=message):
        imported(tmp_path / "in", tmp_path / "out")


def test_a_description_is_shown_as_text_and_names_no_file(tmp_path: Path) -> None:
    clinic.series(tmp_path / "in", SMALL, "../../t1 \x1b[31m post", PatientID="../../x")
    made, lines = imported(tmp_path / "in", tmp_path / "out")
    assert made.unannotated == 1
    assert "'../../t1 \\x1b[31m post'" in lines[1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [UNANNOTATED, "volume"]


def test_a_file_of_many_frames_is_a_series(tmp_path: Path) -> None:
    clinic.enhanced(tmp_path, SMALL)
    np.testing.assert_array_equal(voxels(scan_of(tmp_path)), SMALL)


def test_a_series_that_was_asked_for_goes_before_the_rules(tmp_path: Path) -> None:
    uid = clinic.series(tmp_path, SMALL, "t1_tra_KM", study=(of := generate_uid()))[0].StudyInstanceUID
    other = clinic.series(tmp_path, 2 * SMALL, "reformatted", study=of, names="R{}", ImageType=["DERIVED", "SECONDARY"])
    scan = scan_of(tmp_path, (other[0].SeriesInstanceUID,))
    np.testing.assert_array_equal(voxels(scan), 2 * SMALL)
    assert any("'t1_tra_KM', 20 slices: rejected: another series was asked for" in line for line in scan.notes)
    with pytest.raises(CohortError, match=rf"--series {uid}: .*holds no series of this UID"):
        scan_of(tmp_path, (uid,))


def test_patients_are_called_after_a_keyed_hash(tmp_path: Path) -> None:
    clinic.series(tmp_path / "a", SMALL, StudyDate="20200101")
    clinic.series(tmp_path / "b", SMALL, StudyDate="20190101")
    clinic.series(tmp_path / "c", SMALL, patient="other")
    clinic.series(tmp_path / "d", SMALL, patient="")
    names = [scan.name for scan in dicom(SALT).scans(Tree.of(tmp_path))]
    again = {scan.name: scan for scan in dicom(SALT).scans(Tree.of(tmp_path))}
    assert names == list(again)
    assert len({scan.patient_id for scan in again.values()}) == 3
    assert [scan.left_out for scan in again.values()].count("PatientID is empty") == 1
    assert names[0].rpartition("-")[0] == names[1].rpartition("-")[0]
    assert not set(names) & {scan.name for scan in DICOM.scans(Tree.of(tmp_path))}
    (tmp_path / "salt").write_bytes(b"short")
    with pytest.raises(CohortError, match="holds 5 bytes; allowed: from 16"):
        read_salt(tmp_path / "salt")


def test_a_patient_without_issuer_or_in_other_case_is_one_patient(tmp_path: Path) -> None:
    for number, (patient, issuer) in enumerate((("MRN-A1", "Clinic"), ("MRN-A1", ""), ("mrn-a1", "clinic"))):
        clinic.series(tmp_path / str(number), SMALL[:2, :2, :1], patient=patient, IssuerOfPatientID=issuer)
    clinic.series(tmp_path / "other", SMALL[:2, :2, :1], patient="MRN-A2", IssuerOfPatientID="Clinic")
    scans = list(dicom(SALT).scans(Tree.of(tmp_path)))
    assert sorted(scan.name.partition("-")[2] for scan in scans) == ["1", "1", "2", "3"]
    assert len({scan.patient_id for scan in scans}) == 2
    clinic.series(tmp_path / "3", SMALL[:2, :2, :1], patient="MRN-A1", IssuerOfPatientID="Other")
    with pytest.raises(CohortError, match=r"PatientID 'MRN-A1': studies name the issuers 'clinic', 'other', others no"):
        list(dicom(SALT).scans(Tree.of(tmp_path)))


def test_a_mask_that_fits_its_series_nowhere_is_refused(tmp_path: Path) -> None:
    headers = clinic.series(tmp_path / "in", SMALL)
    for header in headers:
        header.ImagePositionPatient[0] += 1.5
    clinic.segmentation(tmp_path / "in" / "seg", headers, {"Lesion": SMALL > 100})
    with pytest.raises(CohortError, match=r"seg: its grid is not that of its series"):
        imported(tmp_path / "in", tmp_path / "out")
    for header in headers:
        header.ImagePositionPatient[2] += 1.5
    clinic.segmentation(tmp_path / "in" / "seg", headers, {"Lesion": SMALL > 100})
    with pytest.raises(CohortError, match=r"seg: its frames are not slices of series"):
        scan_of(tmp_path / "in")
    clinic.segmentation(tmp_path / "in" / "seg2", headers, {"Lesion": SMALL > 100})
    with pytest.raises(CohortError, match=r"are both drawn on series"):
        scan_of(tmp_path / "in")


def test_segments_beside_lesions_do_not_count(tmp_path: Path) -> None:
    headers = clinic.series(tmp_path, SMALL)
    labels = ("Peritumoral edema", "Brain metastasis", "Tumor bed cavity", "Brain")
    clinic.segmentation(tmp_path / "seg", headers, dict.fromkeys(labels, SMALL > 100))
    mask = scan_of(tmp_path).mask
    assert isinstance(mask, SegmentedSeries)
    assert mask.segments == (2,)


def test_segments_that_are_numbered_are_what_their_type_says(tmp_path: Path) -> None:
    headers = clinic.series(tmp_path, SMALL)
    clinic.segmentation(tmp_path / "seg", headers, {"Segment_1": SMALL > 100, "Segment_2": SMALL > 90})
    mask = scan_of(tmp_path).mask
    assert isinstance(mask, SegmentedSeries)
    assert mask.segments == (1, 2), "of type Lesion"


def test_a_mask_of_another_series_is_pointed_out(tmp_path: Path) -> None:
    clinic.series(tmp_path, SMALL, study=(of := generate_uid()))
    other = clinic.series(tmp_path, SMALL, "t1_tra", study=of, names="B{}", ContrastBolusAgent="")
    clinic.segmentation(tmp_path / "seg", other, {"Lesion": SMALL > 100})
    scan = scan_of(tmp_path)
    assert scan.mask is None
    assert scan.notes[-1].endswith(f"seg is drawn on another series: --series {other[0].SeriesInstanceUID}")
    assert scan_of(tmp_path, (other[0].SeriesInstanceUID,)).mask is not None


def test_structures_are_pointed_out(tmp_path: Path) -> None:
    header = clinic.series(tmp_path, SMALL)[0]
    structures = pydicom.Dataset()
    frame, of_study, of_series = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    of_series.SeriesInstanceUID, of_study.RTReferencedSeriesSequence = header.SeriesInstanceUID, [of_series]
    frame.RTReferencedStudySequence = [of_study]
    structures.ReferencedFrameOfReferenceSequence = [frame]
    structures.SOPClassUID, structures.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", generate_uid()
    structures.SeriesInstanceUID, structures.StudyInstanceUID = generate_uid(), header.StudyInstanceUID
    structures.PatientID = header.PatientID
    clinic.save(structures, tmp_path / "rtstruct")
    assert (
        scan_of(tmp_path)
        .notes[-1]
        .endswith("rtstruct is an RTSTRUCT and not read; convert it to a DICOM SEG, as 3D Slicer does.")
    )


def test_auto_knows_dicom_unless_there_are_volumes(export: Path, tmp_path: Path) -> None:
    assert layout_of("auto", Tree.of(export)) is DICOM
    sets.write(tmp_path / "a.nii.gz", SMALL)
    (tmp_path / "b").write_bytes(next(iter(export.rglob("IM0001"))).read_bytes())
    with pytest.raises(CohortError, match="none of its 2 files is named as in a layout"):
        layout_of("auto", Tree.of(tmp_path))


def test_a_missing_package_is_named() -> None:
    with pytest.raises(CohortError, match=r"DICOM needs the Python package not_there.*pip install 'metsweep\[dicom\]'"):
        require("not_there")
