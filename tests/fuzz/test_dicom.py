"""Damaged DICOM files: refused, or another series that is refused or chosen by its header; never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from tests.fuzz.damage import BYTES
from tests.fuzz.harness import fuzz
from tests.trainers.data import dicom_trees as clinic
from tests.trainers.data import public_sets as sets
from trainers.data.layouts.contract import Tree
from trainers.data.layouts.dicom import dicom

HEADER = 1700
"""Bytes, about, of a slice's file before its pixels, and of a multi-frame file before most of its frames."""
SMALL = sets.brain(1)[20:36, 20:36, 20:36]


def length(content: bytes, random: Random) -> bytes:
    """Four bytes, which may be a length, as large as they can be."""
    at = random.randrange(132, len(content) - 4)
    return content[:at] + random.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f")) + content[at + 4 :]


def in_header(damage: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    return lambda content, random: damage(content[:HEADER], random) + content[HEADER:]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["IM0010", "annotated", "enhanced"])
def test_no_damage_of_dicom_ends_in_a_traceback(name: str, tmp_path: Path) -> None:
    drawn_on = clinic.series(tmp_path / "in", SMALL)
    clinic.segmentation(tmp_path / "in" / "annotated", drawn_on, {"Lesion": np.percentile(SMALL, 90) < SMALL})
    clinic.enhanced(tmp_path / "in", SMALL, "t1_tra")
    file = tmp_path / "in" / name

    def run(content: bytes) -> Any:
        file.write_bytes(content)
        made = []
        for scan in dicom(bytes(16)).scans(Tree.of(tmp_path)):
            images = [part.image() for part in (scan.volume, scan.mask) if not isinstance(part, Path | None)]
            made.append([(image.shape, np.asarray(image.dataobj).tobytes()) for image in images])
        return made

    damages = {damage: in_header(do) for damage, do in BYTES.items()} | {"length": length}
    tally = fuzz(run, file.read_bytes(), damages, count=250)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 25, str(tally)
