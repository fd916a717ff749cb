"""BIDS: `sub-01/[ses-1/]anat/sub-01_..._ce-gadolinium_T1w.nii.gz`, masks in `derivatives`, found by file name.

Which of a mask's values are lesion says the nearest `dseg.tsv`, if there is one.

`_ce-T1w`, which BIDS does not allow but people write, is read as well. Of a subject whose group in `participants.tsv`
is control, healthy or normal, the T1w without contrast is a normal subject's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from trainers.data.layouts.contract import Layout, Scan, Tree, grouped
from trainers.data.names import is_lesion, lesion_values
from trainers.documents import read_table, shown
from trainers.exceptions import CohortError

_T1 = re.compile(r"(sub-[A-Za-z0-9]+)((?:_ses-[A-Za-z0-9]+)?)((?:_[a-z]+-[A-Za-z0-9]+)*?)_(T1w|ce-T1w)\.nii(?:\.gz)?")
_MASK = re.compile(r"(sub-[A-Za-z0-9]+)((?:_ses-[A-Za-z0-9]+)?)(_.*)?_(?:mask|dseg|seg)\.nii(?:\.gz)?")
_ABOUT = re.compile(r"_(?:label|desc)-([A-Za-z0-9]+)")
_VALUES = re.compile(r"(?:(.+)_)?dseg\.tsv")
NORMAL = ("control", "healthy", "normal")
DERIVATIVES = "derivatives"


def _volumes(tree: Tree) -> Iterator[tuple[str, str, Path]]:
    """Of each session the T1 after contrast, and the one without."""
    for file, match in tree.matching(_T1):
        if DERIVATIVES not in tree.within(file):
            after = match[4] == "ce-T1w" or "_ce-" in match[3]
            yield match[1] + match[2], "T1 after contrast" if after else "T1 without contrast", file


def _masks(tree: Tree) -> dict[str, Path]:
    """Of each session the mask: the one named after lesions, or the only one that may be."""
    masks: dict[str, list[Path]] = defaultdict(list)
    for file, match in tree.matching(_MASK):
        if _is_lesion(file) is not False:
            masks[match[1] + match[2]].append(file)
    chosen = {}
    for session, files in masks.items():
        of_lesions = [file for file in files if _is_lesion(file)] or files
        if len(of_lesions) > 1:
            raise CohortError(
                f"{session}: {of_lesions[0]} and {of_lesions[1]} may both be its mask; allowed: one, or one with "
                "label-lesion in its name. Rename or move the other."
            )
        chosen[session] = of_lesions[0]
    return chosen


def _is_lesion(mask: Path) -> bool | None:
    """By `label` and `desc` in its name."""
    return is_lesion(" ".join(_ABOUT.findall(mask.name)))


def _values(tree: Tree, mask: Path) -> tuple[tuple[int, ...] | None, tuple[str, ...]]:
    """The mask's values that are lesion, as the nearest `dseg.tsv` that is about it says, and notes on them."""
    if "_mask." in mask.name:  # of one value by definition
        return None, ()
    parts = {"", *mask.name.split("_")}
    about = [
        (len(file.parts), len(file.name), file)
        for file, match in tree.matching(_VALUES)
        if mask.is_relative_to(file.parent) and {*(match[1] or "").split("_")} <= parts
    ]
    if not about:
        unsaid = _is_lesion(mask) is None and "_dseg." in mask.name
        return None, (f"{mask}: no dseg.tsv names its values; all but 0 count as lesion.",) * unsaid
    *_, file = max(about)
    names: dict[int, str] = {}
    for line, cells in read_table(file, CohortError, ["index", "name"]):
        if not cells["index"].isdecimal():
            raise CohortError(f"{file}, line {line}: index is {shown(cells['index'])}; allowed: a whole number.")
        names[int(cells["index"])] = cells["name"]
    return lesion_values(file, names, CohortError), ()


def _participants(tree: Tree) -> dict[str, dict[str, str]]:
    files = [file for file in tree.files if file.name == "participants.tsv" and DERIVATIVES not in tree.within(file)]
    rows = read_table(files[0], CohortError, ["participant_id"]) if files else ()
    return {cells["participant_id"]: cells for _, cells in rows}


def _scans(tree: Tree) -> Iterator[Scan]:
    masks, participants = _masks(tree), _participants(tree)
    for session, volumes in grouped(_volumes(tree)).items():
        patient = session.partition("_")[0]
        about = participants.get(patient, {})
        scanner = next((about[key] for key in ("scanner", "site") if about.get(key, "n/a") != "n/a"), "unknown")
        if about.get("group", "").lower() in NORMAL:
            volume = volumes.get("T1 without contrast", volumes.get("T1 after contrast"))
            yield Scan(patient, session, volume, kind="normal", scanner=scanner)
        else:
            mask, volume = masks.get(session), volumes.get("T1 after contrast")
            values, notes = (None, ()) if mask is None else _values(tree, mask)
            yield Scan(patient, session, volume, mask=mask, mask_labels=values, scanner=scanner, notes=notes)


BIDS = Layout(
    "bids",
    "sub-01/anat/sub-01_ce-gadolinium_T1w.nii.gz, derivatives/.../sub-01_label-lesion_mask.nii.gz",
    lambda tree: any(True for _ in _volumes(tree)),
    _scans,
)
