"""nnU-Net raw data sets, versions 1 and 2: `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`, `dataset.json`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainers.data.layouts.contract import Layout, Scan, Tree, grouped, patient_of, stem_of
from trainers.data.names import is_after_contrast, lesion_values
from trainers.data.slice_set import Split
from trainers.documents import MIB, read_json, shown
from trainers.exceptions import CohortError, MetsweepError

Error = type[MetsweepError]

INFO = "dataset.json"
_IMAGE = re.compile(r"(.+)_(\d{4})\.nii(?:\.gz)?")
SPLITS: tuple[tuple[str, str, Split | None], ...] = (("imagesTr", "labelsTr", None), ("imagesTs", "labelsTs", "test"))


def _info(tree: Tree) -> Path | None:
    return next((file for file in tree.files if file.name == INFO and (file.parent / "imagesTr").is_dir()), None)


def _scans(tree: Tree) -> Iterator[Scan]:
    where = _info(tree)
    if where is None:
        raise CohortError(f"{tree.root}: holds no {INFO} beside a folder imagesTr; needed for nnU-Net.")
    info = read_info(where, CohortError)
    notes = () if info.note is None else (info.note,)
    for images, masks, split in SPLITS:
        cases = {stem_of(file): file for file in tree.files if file.parent == where.parent / masks}
        volumes = grouped(
            (match[1], f"channel {info.channel}", file)
            for file, match in tree.matching(_IMAGE)
            if file.parent == where.parent / images and int(match[2]) == info.channel
        )
        for name in sorted(volumes.keys() | cases.keys()):
            volume = volumes.get(name, {}).get(f"channel {info.channel}")
            mask = cases.get(name)
            yield Scan(patient_of(name), name, volume, mask=mask, mask_labels=info.lesions, split=split, notes=notes)
            notes = ()


@dataclass(frozen=True)
class Info:
    """What `dataset.json` says."""

    channel: int
    """The one that is T1 after contrast."""
    lesions: tuple[int, ...]
    """The masks' values that are lesion."""
    values: frozenset[int]
    """All that it names."""
    note: str | None
    """For the user."""


def read_info(where: Path, error: Error) -> Info:
    """Read `dataset.json` of version 1 or 2.

    Raises:
        MetsweepError: of the class `error`: it cannot be read, or does not say which channel is T1 after contrast or
            which labels are lesion.
    """
    info = read_json(where, error, 64 * MIB)
    if not isinstance(info, dict):
        raise error(f"{where}: is {shown(info)}; allowed: a mapping with channel_names and labels.")
    channel, note = _channel(where, info, error)
    names = _labels(where, info, error)
    return Info(channel, lesion_values(where, names, error), frozenset(names), note)


def _channel(where: Path, info: Mapping[str, Any], error: Error) -> tuple[int, str | None]:
    """The channel that is called T1 after contrast, or the only one if it is not called otherwise; a note on that."""
    names = info.get("channel_names", info.get("modality"))
    if not isinstance(names, dict) or not names or not all(key.isdecimal() for key in names):
        raise error(f'{where}: channel_names is {shown(names)}; allowed: such as {{"0": "T1c"}}.')
    after = {key: is_after_contrast(str(name)) for key, name in names.items()}
    chosen = [key for key, known in after.items() if known]
    if len(names) == 1 and None in after.values():
        (key,) = names
        return int(key), f"{where}: its only channel, {shown(names[key])}, is taken to be T1 after contrast."
    if len(chosen) != 1:
        raise error(
            f"{where}: channel_names is {shown(names)}; needed: one that is called T1c, T1ce or T1Gd. Rename the "
            "channel that is T1 after contrast."
        )
    return int(chosen[0]), None


def _labels(where: Path, info: Mapping[str, Any], error: Error) -> dict[int, str]:
    """Value -> name."""
    labels = info.get("labels")
    pairs = list(labels.items()) if isinstance(labels, dict) else []
    if pairs and all(key.isdecimal() for key, _ in pairs):  # version 1: value -> name
        pairs = [(str(name), int(key)) for key, name in pairs]
    if not pairs or not all(isinstance(value, int) for _, value in pairs):
        raise error(
            f'{where}: labels is {shown(labels)}; allowed: one whole number per name, such as {{"background": 0, '
            '"metastasis": 1}. Of regions write the cases into a table instead (layout table).'
        )
    return {value: name for name, value in pairs}


NNUNET = Layout(
    "nnunet", "dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr/CASE.nii.gz", lambda tree: bool(_info(tree)), _scans
)
