"""nnU-Net raw data sets, versions 1 and 2: `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`, `dataset.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainers.data.layouts.contract import Layout, Scan, Tree, grouped, patient_of, stem_of
from trainers.data.slice_set import Split
from trainers.documents import MIB, read_json, shown
from trainers.exceptions import CohortError

INFO = "dataset.json"
CONTRAST = re.compile(r"t1[-_ ]?(c|ce|gd|gad|post|km)|contrast|bravo|gadolinium", re.IGNORECASE)
NO_LESION = re.compile(r"background|ignore|o?edema|snfh|resect|cavity|brain", re.IGNORECASE)
_IMAGE = re.compile(r"(.+)_(\d{4})\.nii(?:\.gz)?")
SPLITS: tuple[tuple[str, str, Split | None], ...] = (("imagesTr", "labelsTr", None), ("imagesTs", "labelsTs", "test"))


def _info(tree: Tree) -> Path | None:
    return next((file for file in tree.files if file.name == INFO and (file.parent / "imagesTr").is_dir()), None)


def _scans(tree: Tree) -> Iterator[Scan]:
    where = _info(tree)
    if where is None:
        raise CohortError(f"{tree.root}: holds no {INFO} beside a folder imagesTr; needed for nnU-Net.")
    info = read_json(where, CohortError, 64 * MIB)
    if not isinstance(info, dict):
        raise CohortError(f"{where}: is {shown(info)}; allowed: a mapping with channel_names and labels.")
    channel, labels = _channel(where, info), _labels(where, info)
    for images, masks, split in SPLITS:
        cases = {stem_of(file): file for file in tree.files if file.parent == where.parent / masks}
        volumes = grouped(
            (match[1], f"channel {channel}", file)
            for file, match in tree.matching(_IMAGE)
            if file.parent == where.parent / images and int(match[2]) == channel
        )
        for name in sorted(volumes.keys() | cases.keys()):
            volume = volumes.get(name, {}).get(f"channel {channel}")
            yield Scan(patient_of(name), name, volume, mask=cases.get(name), mask_labels=labels, split=split)


def _channel(where: Path, info: Mapping[str, Any]) -> int:
    """The channel that is T1 after contrast: the only one, or the only one that is called so."""
    names = info.get("channel_names", info.get("modality"))
    if not isinstance(names, dict) or not names or not all(key.isdecimal() for key in names):
        raise CohortError(f'{where}: channel_names is {shown(names)}; allowed: such as {{"0": "T1c"}}.')
    after = [key for key, name in names.items() if CONTRAST.search(str(name))]
    if len(names) > 1 and len(after) != 1:
        raise CohortError(
            f"{where}: channel_names is {shown(names)}; needed: one that is called T1c, T1ce or T1Gd. Rename the "
            "channel that is T1 after contrast."
        )
    return int(after[0] if after else next(iter(names)))


def _labels(where: Path, info: Mapping[str, Any]) -> tuple[int, ...]:
    """The values that are lesion: those of all labels that are called neither background nor oedema nor the like."""
    labels = info.get("labels")
    pairs = list(labels.items()) if isinstance(labels, dict) else []
    if pairs and all(key.isdecimal() for key, _ in pairs):  # version 1: value -> name
        pairs = [(str(name), int(key)) for key, name in pairs]
    if not pairs or not all(isinstance(value, int) for _, value in pairs):
        raise CohortError(
            f'{where}: labels is {shown(labels)}; allowed: one whole number per name, such as {{"background": 0, '
            '"metastasis": 1}. Of regions write the cases into a table instead (layout table).'
        )
    lesion = tuple(sorted(value for name, value in pairs if value > 0 and not NO_LESION.search(name)))
    if not lesion:
        raise CohortError(f"{where}: none of the labels {shown(labels)} is a lesion; needed: one. Rename the lesion's.")
    return lesion


NNUNET = Layout(
    "nnunet", "dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz", lambda tree: bool(_info(tree)), _scans
)
