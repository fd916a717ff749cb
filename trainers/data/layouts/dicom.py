"""DICOM as a clinic's archive exports it, whatever its files and folders are called.

A scan is a study; its volume is the axial T1 after contrast among its series, its mask a DICOM SEG drawn on it. Nobody
can be recognised in what is written: a patient is called after a keyed hash of PatientID, and names, dates, UIDs,
descriptions and paths stay behind.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from trainers.data.dicom.choice import choose, covers
from trainers.data.dicom.convert import SegmentedSeries, instances_of
from trainers.data.dicom.headers import (
    SEGMENTATION,
    STRUCTURES,
    Instance,
    is_dicom,
    read_series,
    reading,
    require,
)
from trainers.data.layouts.contract import NIFTI, Layout, Scan, Tree
from trainers.data.layouts.pseudonyms import pseudonym
from trainers.data.names import is_lesion, lesion_values
from trainers.documents import shown
from trainers.exceptions import CohortError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PROBES = 200
"""Files of a tree that show whether it is DICOM."""
Identity = tuple[str, str]
"""PatientID and its issuer."""


def dicom(salt: bytes, wanted: Collection[str] = ()) -> Layout:
    """The layout.

    Args:
        salt: secret key of the hash; the same salt gives a patient the same name again.
        wanted: UIDs of series to take instead of those that the rules choose.
    """
    return Layout(
        "dicom",
        "DICOM files under any name",
        _recognises,
        _scans(salt, wanted),
        "patients are called after a hash; PatientID, names, dates and descriptions are not kept.",
        private=True,
    )


def _recognises(tree: Tree) -> bool:
    probes = tree.files[:: max(1, len(tree.files) // PROBES)]
    return any(map(is_dicom, probes)) and not any(NIFTI.search(file.name) for file in tree.files)


def _scans(salt: bytes, wanted: Collection[str]) -> Callable[[Tree], Iterator[Scan]]:
    def scans(tree: Tree) -> Iterator[Scan]:
        series = read_series(tree.files)
        if unknown := set(wanted) - series.keys():
            raise CohortError(f"--series {min(unknown)}: {tree.root} holds no series of this UID.")
        patients: dict[Identity, dict[str, list[list[Instance]]]] = defaultdict(lambda: defaultdict(list))
        for instances in series.values():
            patients[instances[0].patient][instances[0].study].append(instances)
        for patient, identities in _people(patients).items():
            called = f"D{pseudonym(salt, *patient)}"
            studies = (study for identity in identities for study in patients[identity].values())
            ordered = sorted(studies, key=lambda study: min(instances[0].taken for instances in study))
            for number, study in enumerate(ordered, start=1):
                yield _scan(called, number, study, wanted, is_named=bool(patient[0]))

    return scans


def _people(identities: Iterable[Identity]) -> dict[Identity, list[Identity]]:
    """Person -> the identities that are theirs: an ID in other case, or without issuer where one issuer gave it.

    Raises:
        CohortError: an ID without issuer that several issuers gave, which may be either's patient.
    """
    alike: dict[str, dict[str, list[Identity]]] = defaultdict(lambda: defaultdict(list))
    for identity in identities:
        alike[identity[0].casefold()][identity[1].casefold()].append(identity)
    people: dict[Identity, list[Identity]] = {}
    for of_issuer in alike.values():
        unissued = of_issuer.pop("", [])
        if unissued and len(of_issuer) > 1:
            raise CohortError(
                f"PatientID {shown(unissued[0][0])}: studies name the issuers {', '.join(map(shown, of_issuer))}, "
                "others none; allowed: one issuer, or one in every study. Import the studies without it separately."
            )
        for group in list(of_issuer.values()) or [[]]:
            people[min(group or unissued)] = [*group, *unissued]
    return people


def _scan(patient: str, number: int, study: Sequence[list[Instance]], wanted: Collection[str], is_named: bool) -> Scan:
    images = [series for series in study if series[0].kind not in (SEGMENTATION, STRUCTURES)]
    choice = choose(images, wanted)
    name = f"{patient}-{number}"
    lines = (f"{name}, files below {images[0][0].file.parent}:" if images else f"{name}:", *choice.lines)
    if choice.chosen is None:
        return Scan(patient, name, None, left_out="no series is an axial T1 after contrast", notes=lines)
    if not is_named:
        return Scan(patient, name, None, left_out="PatientID is empty", notes=lines)
    volume, uid = instances_of(choice.chosen), choice.chosen[0].series
    drawn = [instance for series in study for instance in series if instance.refers_to]
    masks = [instance for instance in drawn if instance.kind == SEGMENTATION and uid in instance.refers_to]
    if len(masks) > 1:
        raise CohortError(
            f"{masks[0].file} and {masks[1].file} are both drawn on series {uid}; allowed: one. Move the other away."
        )
    if masks and not covers(choice.chosen, masks[0]):
        raise CohortError(f"{masks[0].file}: its frames are not slices of series {uid}, which it names as its own.")
    for instance in drawn if not masks else ():
        if instance.kind == STRUCTURES:
            lines += (f"  {instance.file} is an RTSTRUCT and not read; convert it to a DICOM SEG, as 3D Slicer does.",)
        elif instance.kind == SEGMENTATION:
            lines += (f"  {instance.file} is drawn on another series: --series {min(instance.refers_to)}",)
    mask = SegmentedSeries(masks[0].file, _lesions(masks[0]), volume) if masks else None
    return Scan(patient, name, volume, mask=mask, scanner=choice.chosen[0].scanner, notes=lines)


def _lesions(mask: Instance) -> tuple[int, ...]:
    """The segments of a SEG that are lesion."""
    with reading(mask.file):
        header = require("pydicom").dcmread(mask.file, stop_before_pixels=True)
        names = {int(segment.SegmentNumber): _name_of(segment) for segment in header.SegmentSequence}
    return lesion_values(mask.file, names, CohortError)


def _name_of(segment: Dataset) -> str:
    """Its label, or label and type where programs label segments by number."""
    label = str(segment.get("SegmentLabel", ""))
    types = segment.get("SegmentedPropertyTypeCodeSequence") or ()
    return label if is_lesion(label) is not None else " ".join([label, *(str(t.get("CodeMeaning", "")) for t in types)])


DICOM = dicom(secrets.token_bytes(32))
"""With a salt that is forgotten: every import names patients anew."""
