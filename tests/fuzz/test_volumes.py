"""Damaged volumes and masks: refused, or what the undamaged file tells; a plain .nii has no checksum to refuse by.

A number of a header that contradicts the others or the file is refused, unless the result does without it. Nothing
contradicts another scale or another affine.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from tests.fuzz.damage import BYTES
from tests.fuzz.harness import fuzz
from tests.trainers.data.phantom import make_cohort, read_manifest, write_manifest
from trainers.data.annotation import read_boxes
from trainers.data.cohort import open_cohort
from trainers.data.volume_file import canonical_voxels, load_image

SHAPE = (12, 13, 9)
AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])
FIELDS = {
    "dim": (40, "h", 8),
    "type": (70, "h", 2),
    "pixdim": (76, "f", 8),
    "offset": (108, "f", 1),
    "scale": (112, "f", 2),
    "form": (252, "h", 2),
    "affine": (256, "f", 18),
    "extension": (348, "b", 4),
}
"""Of a NIfTI-1 header: where a field begins, its type and how many there are."""
FREE = {"scale", "affine"}
"""What may be anything."""
NUMBERS = {
    "b": (0, 1, -1),
    "h": (0, -1, -64, 1, 2, 5, 255, 512, 1024, 32767, -32768),
    "f": (0.0, -1.0, 1e-30, 1e30, 1e38, 348.0, 352.0, 1e9, float("nan"), float("inf"), -float("inf")),
}


def field(name: str, content: bytes, random: Random) -> bytes:
    """A number of the header replaced by a strange one."""
    begin, kind, count = FIELDS[name]
    at = begin + random.randrange(count) * struct.calcsize(kind)
    made = bytearray(content)
    struct.pack_into(f"<{kind}", made, at, random.choice(NUMBERS[kind]))
    return bytes(made)


def field_within(name: str, content: bytes, random: Random) -> bytes:
    """The same in a compressed file, whose checksum is right."""
    return gzip.compress(field(name, gzip.decompress(content), random), 1)


def volume_of(folder: Path, name: str) -> tuple[Callable[[bytes], Any], bytes]:
    """Reads a volume of such a name, and one to read."""
    voxels = (np.random.default_rng(0).random(SHAPE) * 100).astype(np.int16)
    Nifti1Image(voxels, AFFINE).to_filename(folder / name)

    def run(content: bytes) -> Any:
        path = folder / name
        path.write_bytes(content)
        volume, affine = canonical_voxels(load_image(path), path)
        return volume.shape, volume.tobytes(), affine.tobytes()

    return run, (folder / name).read_bytes()


def mask_of(folder: Path, name: str) -> tuple[Callable[[bytes], Any], bytes]:
    """Reads the boxes of a mask of such a name, and one to read."""
    cohort = make_cohort(folder, mask=True)
    subjects = read_manifest(cohort)
    Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE).to_filename(cohort / subjects[0]["volume"])
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:6, 4:6, 2:5] = mask[9, 9, 7] = 1
    Nifti1Image(mask, AFFINE).to_filename(folder / name)
    subjects[0]["mask"] = name
    write_manifest(cohort, subjects)
    opened = open_cohort(cohort)

    def run(content: bytes) -> Any:
        (folder / name).write_bytes(content)
        return read_boxes(opened, opened.subjects[0]).to_dict("list")

    return run, (folder / name).read_bytes()


@pytest.mark.parametrize("made", [volume_of, mask_of])
def test_no_damage_of_a_compressed_file_is_silent(tmp_path: Path, made: Callable[..., Any]) -> None:
    run, content = made(tmp_path, "v.nii.gz")
    tally = fuzz(run, content, BYTES, count=700, illegal=BYTES)
    assert not tally.faults, tally
    assert tally.counts["refused"] > 600


@pytest.mark.parametrize("made", [volume_of, mask_of])
def test_no_header_that_contradicts_itself_or_the_file_gives_other_voxels(
    tmp_path: Path, made: Callable[..., Any]
) -> None:
    run, content = made(tmp_path, "v.nii.gz")
    damages = {name: partial(field_within, name) for name in FIELDS}
    tally = fuzz(run, content, damages, count=400, illegal=FIELDS.keys() - FREE)
    assert not tally.faults, tally
    assert tally.counts["refused"] > 150


@pytest.mark.parametrize("made", [volume_of, mask_of])
def test_no_damage_of_a_plain_file_ends_in_anything_but_a_refusal_or_voxels(
    tmp_path: Path, made: Callable[..., Any]
) -> None:
    run, content = made(tmp_path, "v.nii")
    damages = BYTES | {name: partial(field, name) for name in FIELDS}
    tally = fuzz(run, content, damages, count=900, illegal=FIELDS.keys() - FREE)
    assert not tally.faults, tally
    assert tally.counts["refused"] > 150
