"""DICOM series of real anatomy, with the headers of a clinic, personal data and all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.trainers.data import public_sets as sets
from trainers.data.dicom.headers import ENHANCED_MR, MR

PERSONAL = {
    "PatientName": "Musterfrau^Erika",
    "PatientBirthDate": "19640812",
    "PatientAddress": "Heidestrasse 17",
    "InstitutionName": "Klinikum Musterstadt",
    "ReferringPhysicianName": "Doktor^Allwissend",
    "StudyDescription": "Musterfrau Kopf",
    "ImageComments": "Frau Musterfrau unruhig",
    "AccessionNumber": "ACC4711",
    "StationName": "MRMUSTER1",
    "DeviceSerialNumber": "SN99887",
}
PATIENT_ID = "MRN-0815-ERIKA"
STUDY_DATE = "20190317"
SPACING = float(sets.STEP)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
ORIGIN = np.array([-98.0, -134.0, -72.0])
"""Of the canonical volume, RAS, mm, as `public_sets.write` has it."""


def series(
    folder: Path,
    volume: np.ndarray,
    description: str = "t1_se_tra_KM",
    patient: str = PATIENT_ID,
    study: str | None = None,
    names: str = "IM{:04d}",
    orientation: Sequence[float] = AXIAL,
    **changes: Any,
) -> list[Dataset]:
    """Write a series of the axial slices of a canonical volume (X x Y x Z); a file a slice, in no order of place."""
    folder.mkdir(parents=True, exist_ok=True)
    uid, study = generate_uid(), study or generate_uid()
    written = []
    for z in np.random.default_rng(len(description)).permutation(volume.shape[2]):
        header = _header(description, patient, study, uid)
        picture = volume[::-1, ::-1, z].T  # rows run to the left, columns to posterior
        header.ImageOrientationPatient = list(orientation)
        along = SPACING * z * np.cross(orientation[:3], orientation[3:])
        header.ImagePositionPatient = (_corner(volume, 0) + along).tolist()
        header.InstanceNumber = int(z) + 1
        header.SliceThickness = header.SpacingBetweenSlices = SPACING
        header.PixelSpacing = [SPACING, SPACING]
        pixels(header, picture)
        for key, value in changes.items():
            setattr(header, key, value)
        save(header, folder / names.format(int(z) + 1))
        written.append(header)
    return written


def enhanced(folder: Path, volume: np.ndarray, description: str = "t1_se_tra_KM", **changes: Any) -> Dataset:
    """Write all slices as one file of many frames."""
    folder.mkdir(parents=True, exist_ok=True)
    header = _header(description, PATIENT_ID, generate_uid(), generate_uid())
    header.SOPClassUID = ENHANCED_MR
    depth = volume.shape[2]
    pixels(header, volume[::-1, ::-1].transpose(2, 1, 0))
    header.NumberOfFrames = depth
    dimension, organization = Dataset(), Dataset()
    organization.DimensionOrganizationUID = generate_uid()
    header.DimensionOrganizationSequence = [organization]
    dimension.DimensionOrganizationUID = organization.DimensionOrganizationUID
    dimension.DimensionIndexPointer, dimension.FunctionalGroupPointer = 0x00209057, 0x00209111
    header.DimensionIndexSequence = [dimension]
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING, SPACING], SPACING
    orientation.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    header.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for z in range(depth):
        frame, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = _corner(volume, z).tolist()
        content.DimensionIndexValues, content.StackID, content.InStackPositionNumber = [z + 1], "1", z + 1
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
        frames.append(frame)
    header.PerFrameFunctionalGroupsSequence = frames
    for key, value in changes.items():
        setattr(header, key, value)
    save(header, folder / "enhanced")
    return header


def segmentation(file: Path, drawn_on: Sequence[Dataset], masks: dict[str, np.ndarray]) -> None:
    """Write a SEG with a segment for each mask (canonical X x Y x Z)."""
    ordered = sorted(drawn_on, key=lambda header: header.ImagePositionPatient[2])
    by_hand = [
        SegmentDescription(number, label, codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Lesion, "MANUAL")
        for number, label in enumerate(masks, start=1)
    ]
    frames = np.stack([mask[::-1, ::-1].transpose(2, 1, 0) > 0 for mask in masks.values()], axis=-1).astype(np.uint8)
    Segmentation(
        ordered, frames, "BINARY", by_hand, generate_uid(), 99, generate_uid(), 1, "Maker", "Model", "1", "SN",
        content_creator_name="Doktor^Allwissend",
    ).save_as(file)  # fmt: skip


def pixels(header: Dataset, stored: np.ndarray) -> None:
    """Put 16-bit pixels into a header."""
    header.Rows, header.Columns = stored.shape[-2:]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.PixelData = np.ascontiguousarray(stored.astype(np.uint16)).tobytes()


def save(header: Dataset, file: Path) -> None:
    """Write a file with its preamble."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta = meta
    header.save_as(file, enforce_file_format=True)


def _header(description: str, patient: str, study: str, uid: str) -> Dataset:
    header = Dataset()
    for key, value in PERSONAL.items():
        setattr(header, key, value)
    header.PatientID, header.PatientSex, header.StudyID = patient, "F", "S1"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID = study, uid, generate_uid()
    header.FrameOfReferenceUID = study
    header.SOPClassUID, header.Modality = MR, "MR"
    header.StudyDate = header.SeriesDate = header.AcquisitionDate = header.ContentDate = STUDY_DATE
    header.StudyTime = header.SeriesTime = header.AcquisitionTime = header.ContentTime = "101112"
    header.SeriesDescription, header.SeriesNumber = description, 5
    header.Manufacturer, header.ManufacturerModelName, header.MagneticFieldStrength = "SIEMENS", "Muster", 3
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    header.ContrastBolusAgent = "Gadovist"
    header.ScanningSequence, header.SequenceVariant, header.MRAcquisitionType = "SE", "NONE", "2D"
    header.EchoTime, header.RepetitionTime, header.FlipAngle, header.ImagingFrequency = 9, 600, 90, 123.2
    header.PositionReferenceIndicator, header.PatientPosition = "", "HFS"
    return header


def _corner(volume: np.ndarray, z: int) -> np.ndarray:
    """The first pixel of slice z, LPS, mm: the most right and most anterior voxel."""
    last = np.array([volume.shape[0] - 1, volume.shape[1] - 1, z])
    return (ORIGIN + SPACING * last) * [-1, -1, 1]
