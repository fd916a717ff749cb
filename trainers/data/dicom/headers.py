"""DICOM files by series: what their headers say of geometry and contrast, and of whom they are; pixels are not read."""

from __future__ import annotations

import logging
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.data.cohort import MOST_REPORTED
from trainers.exceptions import CohortError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SEGMENTATION, STRUCTURES = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
_DIRECTORY = "1.2.840.10008.1.3.10"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_MARK, _MARK_AT = b"DICM", 128
_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "IssuerOfPatientID",
    "StudyDate", "StudyTime", "SeriesNumber", "SeriesDescription", "ProtocolName", "ImageType", "Manufacturer",
    "MagneticFieldStrength", "ContrastBolusAgent", "ContrastBolusAgentSequence", "EchoTime", "RepetitionTime", "Rows",
    "Columns", "NumberOfFrames", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
)  # fmt: skip
MAKERS = ("Siemens", "Philips", "GE", "Canon", "Toshiba", "Hitachi", "Fujifilm", "United Imaging", "UIH", "Hyperfine")
"""Whose names distinguish scanners; other header text may hold anything and is not used."""
NO_AGENT = ("", "NO", "NONE", "N", "N/A", "NA", "0")
FARTHEST_MM = 1e4
"""Of a position from the scanner's middle."""
MOST_FRAMES = 10_000


@dataclass(frozen=True)
class Plane:
    """Where a slice lies, in DICOM's coordinates (LPS), mm."""

    rows: tuple[float, ...]
    """Unit vectors along a row and along a column, 6 numbers."""
    position: tuple[float, ...]
    """Of the first pixel."""
    spacing: tuple[float, ...]
    """Between rows and between columns."""


@dataclass(frozen=True)
class Instance:
    """A file of a series."""

    file: Path
    uid: str
    kind: str
    """SOP class."""
    series: str
    study: str
    patient: tuple[str, str]
    """PatientID and who issued it."""
    taken: str
    """Date and time of the study; orders a patient's studies and is not written anywhere."""
    number: int
    description: str
    image_type: tuple[str, ...]
    agent: bool
    """Whether a contrast agent is recorded."""
    echo_ms: float | None
    repetition_ms: float | None
    scanner: str
    shape: tuple[int, int]
    planes: tuple[Plane | None, ...]
    """One a frame; None: its header holds no sound one."""
    refers_to: frozenset[str]
    """Series that an annotation was drawn on."""


def is_dicom(file: Path) -> bool:
    """Whether the file begins as a DICOM file."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MARK_AT + len(_MARK))[_MARK_AT:] == _MARK
    except OSError:
        return False


def read_series(files: Iterable[Path]) -> dict[str, list[Instance]]:
    """Series UID -> its files, each instance once; files that are no DICOM, and a DICOMDIR, do not count.

    Raises:
        CohortError: pydicom is missing; files are damaged or of a transfer syntax that is not read (all are listed).
    """
    require("pydicom")
    series: dict[str, dict[str, Instance]] = defaultdict(dict)
    problems: list[str] = []
    for file in filter(is_dicom, files):
        try:
            with reading(file):
                instance = _read(file)
        except CohortError as error:
            problems.append(str(error))
            continue
        if instance is not None:
            series[instance.series].setdefault(instance.uid, instance)
    if problems:
        more = len(problems) - MOST_REPORTED
        raise CohortError("\n".join(problems[:MOST_REPORTED] + [f"And {more} more problems."] * (more > 0)))
    return {uid: list(instances.values()) for uid, instances in series.items()}


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Within, pydicom neither refuses nor prints values that break the standard, which may be somebody's name; of a
    damaged file it may raise anything, which becomes a CohortError."""
    config = require("pydicom.config")
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except CohortError:
            raise
        except Exception as error:
            raise CohortError(f"{file}: cannot be read as DICOM ({error}). Copy it anew, or move it away.") from error


def require(package: str) -> Any:
    """The optional package; CohortError if it is not installed."""
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError as error:
        raise CohortError(
            f"DICOM needs the Python package {package}, which is missing. Install it: pip install 'metsweep[dicom]'."
        ) from error


def _read(file: Path) -> Instance | None:
    pydicom = require("pydicom")
    meta = pydicom.filereader.read_file_meta_info(file)
    if meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
        return None
    if meta.get("TransferSyntaxUID") == _DEFLATED:
        raise ValueError("deflated as a whole, which may hide any size; dcmconv of DCMTK writes it anew")
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
    if not header.get("SeriesInstanceUID"):
        raise ValueError("its header has no SeriesInstanceUID; is the file complete?")
    frames = _whole(header, "NumberOfFrames", 1)
    if not 1 <= frames <= MOST_FRAMES:
        raise ValueError(f"NumberOfFrames is {frames}; allowed: 1 to {MOST_FRAMES:,}")
    shared = _first(header, "SharedFunctionalGroupsSequence")
    agents = [_text(header, "ContrastBolusAgent")]
    agents += [str(item.get("CodeMeaning", "agent")) for item in header.get("ContrastBolusAgentSequence") or ()]
    maker = _text(header, "Manufacturer").lower()
    field = _number(header, "MagneticFieldStrength")
    names = [name for name in MAKERS if maker.startswith(name.lower())] + ([f"{field:.1f}T"] if field else [])
    return Instance(
        file=file,
        uid=str(header.get("SOPInstanceUID") or file),
        kind=str(header.get("SOPClassUID", "")),
        series=str(header.SeriesInstanceUID),
        study=str(header.get("StudyInstanceUID", "")),
        patient=(_text(header, "PatientID"), _text(header, "IssuerOfPatientID")),
        taken=f"{header.get('StudyDate', '')}{header.get('StudyTime', '')}",
        number=_whole(header, "SeriesNumber", 0),
        description=_text(header, "SeriesDescription") or _text(header, "ProtocolName"),
        image_type=tuple(str(part).upper() for part in header.get("ImageType") or ()),
        agent=any(agent.upper() not in NO_AGENT for agent in agents),
        echo_ms=_number(header, "EchoTime") or _number(_first(shared, "MREchoSequence"), "EffectiveEchoTime"),
        repetition_ms=_number(header, "RepetitionTime")
        or _number(_first(shared, "MRTimingAndRelatedParametersSequence"), "RepetitionTime"),
        scanner=" ".join(names) or "unknown",
        shape=(_whole(header, "Rows", 0), _whole(header, "Columns", 0)),
        planes=_planes(header, shared, frames),
        refers_to=frozenset(_referred(header)),
    )


def _planes(header: Dataset, shared: Dataset | None, frames: int) -> tuple[Plane | None, ...]:
    if shared is None:
        return (_plane(header, header, header),) * frames
    each = list(header.get("PerFrameFunctionalGroupsSequence") or ())

    def of(frame: Dataset, group: str) -> Dataset | None:
        return _first(frame, group) or _first(shared, group)

    parts = ("PlaneOrientationSequence", "PlanePositionSequence", "PixelMeasuresSequence")
    planes = [_plane(*(of(frame, part) for part in parts)) for frame in each]
    return tuple(planes) if len(planes) == frames else (None,) * frames


def _plane(oriented: Dataset | None, placed: Dataset | None, measured: Dataset | None) -> Plane | None:
    rows = _numbers(oriented, "ImageOrientationPatient", 6)
    position = _numbers(placed, "ImagePositionPatient", 3)
    spacing = _numbers(measured, "PixelSpacing", 2)
    if rows is None or position is None or spacing is None or not all(0.05 <= size <= 20 for size in spacing):
        return None
    across = sum(a * b for a, b in zip(rows[:3], rows[3:], strict=True))
    if abs(across) > 0.01 or any(abs(math.hypot(*axis) - 1) > 0.01 for axis in (rows[:3], rows[3:])):
        return None
    return Plane(tuple(round(value, 3) for value in rows), position, spacing)


def _referred(header: Dataset) -> Iterable[str]:
    for item in header.get("ReferencedSeriesSequence") or ():
        yield str(item.get("SeriesInstanceUID", ""))
    for frame in header.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for item in study.get("RTReferencedSeriesSequence") or ():
                yield str(item.get("SeriesInstanceUID", ""))


def _first(header: Dataset | None, sequence: str) -> Dataset | None:
    items = header.get(sequence) if header is not None else None
    return items[0] if items else None


def _numbers(header: Dataset | None, keyword: str, count: int) -> tuple[float, ...] | None:
    values = header.get(keyword) if header is not None else None
    numbers = tuple(float(value) for value in values) if isinstance(values, Iterable) else ()
    sound = len(numbers) == count and all(abs(number) < FARTHEST_MM for number in numbers)
    return numbers if sound else None


def _number(header: Dataset | None, keyword: str) -> float | None:
    value = header.get(keyword) if header is not None else None
    return float(value) if value is not None and math.isfinite(float(value)) and float(value) > 0 else None


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip()


def _whole(header: Dataset, keyword: str, default: int) -> int:
    value = header.get(keyword)
    return default if value in (None, "") else int(str(value))
