"""A cohort: patients, their volumes, annotations and split, described by `cohort.json` in the cohort's folder."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field, ValidationError

from trainers.config import Config, Text
from trainers.data.slice_set import Kind, Split
from trainers.data.volume_file import FileDigest, file_digest
from trainers.documents import MIB, read_json, shown
from trainers.exceptions import CohortError

MANIFEST = "cohort.json"
LARGEST = 64 * MIB
"""Bytes of a manifest: a hundred thousand subjects and more."""
MOST_REPORTED = 20
"""Problems that one error message lists."""


class Subject(Config):
    """One volume of one patient; paths are relative to the cohort's folder."""

    patient_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    """The same for every volume of a patient: it decides the split. It begins names of slices and files, of which file
    systems take 255 characters."""
    kind: Kind
    """`tumour`, or `normal` for a subject without lesions, whose slices train `cpggan+normal` only."""
    split: Split | None = None
    """Null: assigned by `trainers.data.splits`."""
    scanner: Text = "unknown"
    """Free text, one line."""
    volume: Text
    """A NIfTI volume, T1 after contrast for a tumour subject."""
    mask: Text | None = None
    """Lesions on the same grid as the volume."""
    mask_labels: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(default=None, min_length=1)
    """The mask's values that are lesion: (1, 3) in BraTS-METS masks, where 2 is oedema. Null: every value but 0."""
    boxes: Text | None = None
    """CSV of boxes (`trainers.data.annotation`); takes precedence over the mask."""
    brain: Text | None = Field(default=None, exclude_if=lambda path: path is None)
    """Mask of the brain on the same grid as the volume; goes before any skull strip."""
    stripped: bool | None = None
    """Whether the volume shows only the brain; null: detected from the voxels."""

    @property
    def files(self) -> dict[str, str]:
        """Key -> path of each file that the subject names."""
        named = {"volume": self.volume, "mask": self.mask, "boxes": self.boxes, "brain": self.brain}
        return {key: relative for key, relative in named.items() if relative is not None}


class _Manifest(Config):
    name: Text = Field(min_length=1)
    origin: dict[str, Any] = Field(default_factory=dict)
    subjects: tuple[Subject, ...]


@dataclass(frozen=True)
class Cohort:
    """An opened cohort: every file that it refers to exists."""

    folder: Path
    name: str
    origin: dict[str, Any]
    """Where the volumes come from, free form."""
    subjects: tuple[Subject, ...]

    def path(self, relative: str) -> Path:
        """Where a volume, mask or boxes file of a subject lies."""
        return self.folder / relative

    def fingerprint(self, digest: Callable[[Path, bool], FileDigest] = file_digest) -> str:
        """SHA-256 (hex) over the manifest and the content of every file it refers to; independent of the folder.

        Args:
            digest: computes that of a file (second argument: whether it is a volume); a cache may stand in.

        Raises:
            CohortError: volumes or masks are damaged, all of them listed; a volume has the content of another one, or
                of a mask; a mask or boxes file has that of another patient's.
        """
        whole = hashlib.sha256(json.dumps(self._manifest(), sort_keys=True).encode())
        seen: dict[bytes, tuple[str, str, Subject]] = {}
        damaged: list[str] = []
        for subject in self.subjects:
            for key, relative in subject.files.items():
                try:
                    with naming(subject):
                        digests = digest(self.path(relative), key != "boxes")
                except CohortError as error:
                    damaged.append(str(error))
                    continue
                whole.update(digests.file)
                earlier = seen.setdefault(digests.content, (key, relative, subject))
                if earlier[2] is not subject or earlier[0] != key:
                    self._refuse_same((key, relative, subject), earlier)
        if damaged:
            raise CohortError(listed(damaged))
        return whole.hexdigest()

    def _refuse_same(self, later: tuple[str, str, Subject], earlier: tuple[str, str, Subject]) -> None:
        """Refuse two files of the same content, unless they are the annotation of one patient's volumes."""
        key, relative, subject = later
        other_key, other, owner = earlier
        where = f"{self.folder / MANIFEST}: patient {subject.patient_id!r}"
        same = f"has the same content as {other_key} {other!r} of patient {owner.patient_id!r}"
        if key != other_key:
            raise CohortError(f"{where}: {key} {relative!r} {same}; a mask holds the lesions. Correct the path.")
        if key == "volume" and subject.patient_id == owner.patient_id:
            raise CohortError(f"{where}: volumes {other!r} and {relative!r} have the same content; drop one entry.")
        if subject.patient_id != owner.patient_id:
            raise CohortError(
                f"{where}: {key} {relative!r} {same}; each patient has their own, or training data "
                "would leak into the test split. Drop one entry, or correct the path."
            )

    def write(self, folder: Path) -> None:
        """Write `cohort.json` into `folder`; paths stay as they are."""
        (folder / MANIFEST).write_text(json.dumps(self._manifest(), indent=2))

    def _manifest(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "origin": self.origin,
            "subjects": [subject.model_dump(mode="json") for subject in self.subjects],
        }


@contextmanager
def naming(subject: Subject) -> Iterator[None]:
    """Errors of the subject's files that are raised within name the patient, too."""
    try:
        yield
    except CohortError as error:
        raise type(error)(f"patient {subject.patient_id!r}: {error}") from error


def open_cohort(folder: Path) -> Cohort:
    """Read and check the cohort in `folder`; volumes themselves are not opened.

    Raises:
        CohortError: no manifest, an unknown key or value, no subjects, a missing file, a tumour subject without
            annotation, a patient in two splits or of two kinds, or an empty split.
    """
    manifest = _read(folder)
    file = folder / MANIFEST
    if not manifest.subjects:
        raise CohortError(f"{file}: `subjects` is empty; at least one tumour patient per split is needed.")
    for subject in manifest.subjects:
        _check_subject(folder, subject)
    check_patients(file, manifest.subjects)
    cohort = Cohort(folder, manifest.name, manifest.origin, manifest.subjects)
    if all(subject.split is not None for subject in cohort.subjects):
        check_splits(cohort)
    return cohort


def check_splits(cohort: Cohort) -> None:
    """Raise CohortError for a cohort that has no tumour subject in one of the splits."""
    have = {subject.split for subject in cohort.subjects if subject.kind == "tumour"}
    for split in get_args(Split):
        if split not in have:
            raise CohortError(
                f"{cohort.folder / MANIFEST}: no tumour subject is in the {split} split; each of train, validation and "
                'test needs one. Set "split" of some patient, or null for all to have them assigned.'
            )


def _read(folder: Path) -> _Manifest:
    file = folder / MANIFEST
    advice = "`metsweep cohort demo OUT` makes a cohort to begin with."
    if not folder.is_dir():
        raise CohortError(f"There is no cohort folder {folder}. {advice}")
    if not file.is_file():
        raise CohortError(
            f"{folder if folder.parts else folder.absolute()} is not a cohort: it lacks {MANIFEST}. {advice}"
        )
    content = read_json(file, CohortError, LARGEST)
    try:
        return _Manifest.model_validate(content)
    except ValidationError as error:
        problems = error.errors()
        raise CohortError(listed([_line(file, content, problem) for problem in problems])) from error


def listed(problems: Sequence[str]) -> str:
    """Problems, each on a line; of many, the first."""
    more = len(problems) - MOST_REPORTED
    return "\n".join([*problems[:MOST_REPORTED], *([f"And {more} more problems."] if more > 0 else [])])


def _line(file: Path, content: Any, error: Any) -> str:
    """One of pydantic's errors as: file, patient, dotted key, what was got, what is allowed."""
    at = error["loc"]
    key = ".".join(str(part) if str(part).isprintable() else shown(part) for part in at) or "the whole file"
    named = content["subjects"][at[1]] if len(at) > 1 and at[0] == "subjects" else None
    patient = f" (patient {shown(named['patient_id'])})" if isinstance(named, dict) and "patient_id" in named else ""
    where = f"{file}: {key}{patient}"
    if error["type"] == "extra_forbidden":
        model = Subject if len(at) > 1 else _Manifest
        return f"{where} is not a known key; allowed: {', '.join(model.model_fields)}."
    if error["type"] == "missing":
        return f"{where} is missing; add it."
    if error["type"] == "value_error":
        return f"{where} {error['msg'].removeprefix('Value error, ')}."
    if error["type"] == "too_short":
        return f"{where} holds {error['ctx']['actual_length']}; allowed: at least {error['ctx']['min_length']}."
    return f"{where} is {shown(error['input'])}; allowed: {error['msg'].removeprefix('Input should be ')}."


def _check_subject(folder: Path, subject: Subject) -> None:
    where = f"{folder / MANIFEST}: patient {subject.patient_id!r}"
    for key, relative in subject.files.items():
        if not _is_file(folder / relative):
            raise CohortError(
                f"{where}: {key} is {relative!r}, but there is no file {folder / relative}; paths are relative to the "
                "cohort's folder. Put the file there or correct the path."
            )
    annotated = subject.mask is not None or subject.boxes is not None
    if subject.kind == "tumour" and not annotated:
        raise CohortError(f'{where}: kind is "tumour" but neither mask nor boxes is given; give one of them.')
    if subject.kind == "normal" and annotated:
        raise CohortError(f'{where}: kind is "normal" but a mask or boxes is given; drop it, or use kind "tumour".')
    if subject.kind == "normal" and subject.split not in (None, "train"):
        raise CohortError(
            f'{where}: kind is "normal" and split is {subject.split!r}; allowed: "train" or null, since normal '
            "subjects only train a GAN."
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # e.g. a name too long
        return False


def check_patients(file: Path, subjects: tuple[Subject, ...]) -> None:
    """Raise CohortError for a patient of two kinds or in two splits, or a volume that is listed twice in `file`."""
    splits: dict[str, set[str]] = defaultdict(set)
    kinds: dict[str, set[str]] = defaultdict(set)
    volumes: set[str] = set()
    for subject in subjects:
        where = f"{file}: patient {subject.patient_id!r}"
        kinds[subject.patient_id].add(subject.kind)
        if len(kinds[subject.patient_id]) > 1:
            raise CohortError(f"{where} is both tumour and normal; a patient has one kind.")
        if subject.split is not None:
            splits[subject.patient_id].add(subject.split)
        if len(splits[subject.patient_id]) > 1:
            raise CohortError(
                f"{where} is in the splits {' and '.join(sorted(splits[subject.patient_id]))}; all volumes of a "
                "patient belong to one split, or training data would leak into the test split."
            )
        if subject.volume in volumes:
            raise CohortError(f"{where}: volume {subject.volume!r} is listed more than once; drop one entry.")
        volumes.add(subject.volume)
