"""Stanford BrainMetShare: `Mets_005/0/017.png` slices as released, or `Mets_005/bravo.nii.gz` as others re-released.

Two sequences follow contrast: folder 0 (`bravo`), a gradient echo, and folder 2 (`t1_gd`), a spin echo (CUBE).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image

from trainers.data.layouts.contract import Layout, Scan, Tree, Unwritten, grouped
from trainers.data.pictures import grey
from trainers.exceptions import CohortError

SPACING = (0.94, 0.94, 1.0)
"""Millimetres, of the data set's description; PNG slices carry none."""
_PATIENT = re.compile(r"Mets_\d+")
_NIFTI = re.compile(r"(bravo|t1_gd|seg)\.nii(?:\.gz)?")
_SLICE = re.compile(r"\d+\.png", re.IGNORECASE)


@dataclass(frozen=True)
class PngStack:
    """A folder of axial slices named by number: right on the left, anterior at the top, from the lowest."""

    folder: Path
    slices: tuple[Path, ...]
    is_mask: bool

    @property
    def numbers(self) -> list[int]:
        """Of the slices, as their files are called."""
        return [int(file.stem) for file in self.slices]

    def image(self) -> Nifti1Image:
        """The slices as a volume; those of a mask as 0 and 1."""
        pictures = [grey(file, CohortError, deep=True) for file in self.slices]
        if len({picture.shape for picture in pictures}) > 1:
            raise CohortError(f"{self.folder}: its slices differ in size; allowed: one size. Copy the folder anew.")
        volume = np.stack(pictures, axis=-1).transpose(1, 0, 2)
        return Nifti1Image((volume > 0).astype(np.uint8) if self.is_mask else volume, np.diag([*_towards(), 1.0]))


def _towards() -> tuple[float, float, float]:
    """Columns run to the patient's left and rows to posterior: against the first two axes of RAS+."""
    return -SPACING[0], -SPACING[1], SPACING[2]


def _parts(tree: Tree, folder: str, nifti: str) -> dict[str, dict[str, Path | Unwritten]]:
    """Patient -> volume and mask."""
    scans: dict[str, dict[str, Path | Unwritten]] = defaultdict(dict)
    volumes = (
        (file.parent.name, m[1], file) for file, m in tree.matching(_NIFTI) if _PATIENT.fullmatch(file.parent.name)
    )
    for patient, parts in grouped(volumes).items():
        scans[patient].update(
            {role: parts[part] for role, part in (("volume", nifti), ("mask", "seg")) if part in parts}
        )
    slices: dict[Path, list[Path]] = defaultdict(list)
    for file, _ in tree.matching(_SLICE):
        if file.parent.name in (folder, "seg") and _PATIENT.fullmatch(file.parent.parent.name):
            slices[file.parent].append(file)
    for stack, files in slices.items():
        role = "mask" if stack.name == "seg" else "volume"
        patient = stack.parent.name
        if role in scans[patient]:
            raise CohortError(f"{patient}: {stack} gives its {role} a second time; allowed: once. Move one away.")
        ordered = tuple(sorted(files, key=lambda file: int(file.stem)))
        scans[patient][role] = PngStack(stack, ordered, role == "mask")
    for parts in scans.values():
        _check_numbers([part for part in parts.values() if isinstance(part, PngStack)])
    return scans


def _check_numbers(stacks: Sequence[PngStack]) -> None:
    """Slices are placed by their order, so that a missing one would move all above it against the mask."""
    for stack in stacks:
        numbers = stack.numbers
        for number in range(numbers[0], numbers[-1] + 1):
            if number not in numbers:
                raise CohortError(f"{stack.folder}: lacks slice {number}; needed: all. Copy the folder anew.")
        if len(set(numbers)) < len(numbers):
            raise CohortError(f"{stack.folder}: two files have one number; allowed: one each. Move one away.")
        if numbers != (first := stacks[0]).numbers:
            raise CohortError(
                f"{first.folder} has the slices {first.numbers[0]} to {first.numbers[-1]}, {stack.folder} "
                f"{numbers[0]} to {numbers[-1]}; allowed: the same. Copy them anew."
            )


def _scans_of(folder: str, nifti: str) -> Callable[[Tree], Iterator[Scan]]:
    def scans(tree: Tree) -> Iterator[Scan]:
        for patient, parts in sorted(_parts(tree, folder, nifti).items()):
            yield Scan(patient, patient, parts.get("volume"), mask=parts.get("mask"), scanner="Stanford", stripped=True)

    return scans


_REMARK = "PNG slices do not record left and right: the patient's right is taken to be on the left of the picture."
STANFORD = Layout(
    "stanford",
    "Mets_001/{0,seg}/001.png or Mets_001/{bravo,seg}.nii.gz",
    lambda tree: any("volume" in parts for parts in _parts(tree, "0", "bravo").values()),
    _scans_of("0", "bravo"),
    _REMARK,
)
STANFORD_CUBE = Layout(
    "stanford-cube",
    "Mets_001/{2,seg}/001.png or Mets_001/{t1_gd,seg}.nii.gz",
    lambda _: False,  # the same folders: whoever wants the spin echo names the layout
    _scans_of("2", "t1_gd"),
    _REMARK,
)
