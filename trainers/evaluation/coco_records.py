"""The records of COCO files and of a patients' table: what each may hold, and how a wrong one is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from trainers.config import Text
from trainers.documents import shown
from trainers.exceptions import ScoringError

LARGEST_Z = 2**53
"""Whole numbers up to here are exact as float64, which a table's column with gaps holds."""

Id = int | Text
Name = Annotated[Id, AfterValidator(str)]
Number = Annotated[float, Field(strict=True)]
Side = Annotated[float, Field(strict=True, ge=0)]
Positive = Annotated[float, Field(gt=0)]


class Record(BaseModel):
    """Its fields are checked, other keys ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Told(Record):
    """What an image, or a line of the patients' table, may say about a slice."""

    patient_id: Name | None = None
    volume: Name | None = None
    z: Annotated[int, Field(ge=-LARGEST_Z, le=LARGEST_Z)] | None = None
    scanner: Name | None = None
    mm_per_pixel: Positive | None = None


class Image(Told):
    """An entry of `images`."""

    id: Id
    file_name: Name | None = None
    width: Positive | None = None
    height: Positive | None = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return str(self.id if self.file_name is None else self.file_name)


class Line(Told):
    """A line of the patients' table."""

    image: Text


class Box(Record):
    """What annotations and detections share."""

    image_id: Id
    category_id: Id | None = None
    bbox: tuple[Number, Number, Side, Side]


class Annotation(Box):
    """An entry of `annotations`."""

    id: Id | None = None
    iscrowd: int | None = None
    lesion: Id | None = None
    diameter_mm: Positive | None = None


class Detection(Box):
    """An entry of the list of detections."""

    score: Number


IMAGES = TypeAdapter(Annotated[list[Image], FailFast()])
LINES = TypeAdapter(Annotated[list[Line], FailFast()])
ANNOTATIONS = TypeAdapter(Annotated[list[Annotation], FailFast()])
DETECTIONS = TypeAdapter(Annotated[list[Detection], FailFast()])
Kind = TypeVar("Kind", bound=Record)

_ID, _POSITIVE = "a whole number or a string of one line", "a finite number above 0"
_ALLOWED = {
    **dict.fromkeys(("id", "image_id", "category_id", "patient_id", "volume", "scanner", "lesion", "file_name"), _ID),
    **dict.fromkeys(("width", "height", "mm_per_pixel", "diameter_mm"), _POSITIVE),
    "image": "an image's id or file_name",
    "z": "a whole number",
    "iscrowd": "0 or 1",
    "bbox": "four finite numbers x, y, width, height, the last two not negative",
    "score": "a finite number",
}
"""Key of a record -> its values."""


def records(
    rows: Any, adapter: TypeAdapter[list[Kind]], where: str, what: str, numbers: Sequence[int] | None = None
) -> list[Kind]:
    """Check and convert records; `what` is the word for one of them, `numbers` are theirs in the file (else 0, 1, ...).

    Raises:
        ScoringError: names the first wrong record, its key and what is allowed.
    """
    try:
        return adapter.validate_python(rows)
    except ValidationError as error:
        place = error.errors(include_url=False, include_context=False)[0]["loc"]
    if not place:
        raise ScoringError(f"{where}: {what}s are {type(rows).__name__}; needed: a list of mappings, as in COCO.")
    number = int(place[0])
    if len(place) == 1:
        raise ScoringError(
            f"{where}: {what} {number} is {shown(rows[number])}; needed: a list of mappings, as in COCO."
        )
    key = str(place[1])
    named = named_record(where, what, numbers[number] if numbers else number, rows[number])
    raise ScoringError(f"{named} has the {key} {shown(rows[number].get(key))}; allowed: {_ALLOWED[key]}.")


def named_record(where: str, what: str, number: int, record: Mapping[str, Any]) -> str:
    """File, word and number of a record, with its id if it has one."""
    named = next((f" ({key} {shown(record[key])})" for key in ("id", "image") if record.get(key) is not None), "")
    return f"{where}: {what} {number}{named}"
