"""What contradicts itself in a cohort that can be used is told by `cohort check`, once read and again."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.trainers.data.phantom import LESION, make_cohort, read_manifest, save, stripped_brain, write_manifest
from trainers.data.annotation_check import annotation_remarks
from trainers.data.cohort import open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.volume_tasks import plan_volumes

CONFIG = PrepareConfig(size=64)


def remarks_of(folder: Path) -> list[str]:
    cache = CohortCache(folder.parent / "cache")
    tasks = plan_volumes(open_cohort(folder), CONFIG, cache).tasks
    return annotation_remarks(tasks, CONFIG, cache, lambda *_: None)


def give(folder: Path, key: str, content: str | np.ndarray) -> None:
    """Give the first patient another file."""
    name = f"P000/{key}.{'csv' if isinstance(content, str) else 'nii.gz'}"
    if isinstance(content, str):
        (folder / name).write_text(content)
    else:
        save(folder / name, content.astype(np.uint8))
    first, *others = read_manifest(folder)
    write_manifest(folder, [first | {key: name}, *others])


def test_boxes_that_contradict_their_mask(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True)
    x, y, z = LESION
    inside = [(plane, x.start, y.start, x.stop, y.stop) for plane in range(z.start, z.stop)]
    agreeing = "\n".join(["z,x0,y0,x1,y1", *(",".join(map(str, box)) for box in inside)])
    give(folder, "boxes", agreeing)
    assert remarks_of(folder) == []
    give(folder, "boxes", f"{agreeing.rpartition(chr(10))[0]}\n{z.start},40,40,44,44\n")
    (remark,) = remarks_of(folder)
    assert remark == (
        f"patient 'P000': {folder}/P000/boxes.csv, which is used, contradicts {folder}/P000/mask.nii.gz on slice "
        f"{z.start} (boxes without lesion: 1, lesions without box: 0), slice {z.stop - 1} (boxes without lesion: 0, "
        "lesions without box: 1)"
    )
    assert remarks_of(folder) == [remark], "as it was kept"


def test_given_masks_of_the_brain_are_measured(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", mask=True)
    brain = stripped_brain(0) > 0
    give(folder, "brain", brain)
    assert remarks_of(folder) == []
    brain[22:24, *LESION[1:]] = False
    give(folder, "brain", brain)
    (remark,) = remarks_of(folder)
    assert remark.startswith(f"patient 'P000': {folder}/P000/brain.nii.gz: the strip removes 30 of 60 voxels of lesion")
    brain[:, 35] = False
    give(folder, "brain", brain)
    assert remarks_of(folder)[-1] == f"{folder}/P000/brain.nii.gz: look at this mask of the brain: 2 parts"
