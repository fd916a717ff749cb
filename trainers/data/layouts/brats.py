"""BraTS-METS 2023 to 2025, and Yale's Pretreat-MetsToBrain-Masks, which names its scans alike and partly shares them.

A scan is BraTS-MET-00001-000: patient and time point. Its T1 after contrast is `...-t1c.nii.gz`, its mask
`...-seg.nii.gz`, both also as `.nii`; UCSD's scans of 2025 lie in `UCSD - Training` or `UCSD-Training`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from trainers.data.layouts.contract import NIFTI, Layout, Scan, Tree, brats_scan, grouped

LABELS = (1, 3)
"""Non-enhancing core and enhancing tumour; 2 is oedema, 4 the cavity of a resection (UCSD only)."""
PRETREAT = "Pretreat-MetsToBrain-Masks"
VOLUME = "T1 after contrast"


def _roles(tree: Tree) -> Iterator[tuple[str, str, Path]]:
    """By what follows the scan in a file's name, as a few masks are named oddly; or by the folder and the name."""
    for file in tree.files:
        named = brats_scan(file.name) or brats_scan(file.parent.name)
        if named is None or not NIFTI.search(file.name):
            continue
        rest = file.name.lower().replace(named[1].lower(), "")
        if "seg" in rest or "t1c" in rest:
            yield named[1], "mask" if "seg" in rest else VOLUME, file


def _is_pretreat(tree: Tree, file: Path) -> bool:
    return any(PRETREAT in name for name in (*tree.root.parts[-3:], *tree.within(file)))


def _volumes(tree: Tree) -> Iterator[Path]:
    return (file for _, role, file in _roles(tree) if role == VOLUME)


def _scans(tree: Tree) -> Iterator[Scan]:
    for name, files in grouped(_roles(tree)).items():
        volume, mask = files.get(VOLUME), files.get("mask")
        ucsd = any(part.startswith("UCSD") for part in tree.within(volume or files["mask"]))
        patient, _ = brats_scan(name) or (name, name)
        yield Scan(
            patient, name, volume, mask=mask, mask_labels=LABELS, scanner="UCSD" if ucsd else "unknown", stripped=True
        )


BRATS_METS = Layout(
    "brats-mets",
    "BraTS-MET-00001-000/BraTS-MET-00001-000-{t1c,seg}.nii.gz",
    lambda tree: any(not _is_pretreat(tree, file) for file in _volumes(tree)),
    _scans,
)
PRETREAT_METS = Layout(
    "pretreat",
    f"{PRETREAT}/BraTS-MET-00001-000/BraTS-MET-00001-000-{{t1c,seg}}.nii.gz",
    lambda tree: any(_is_pretreat(tree, file) for file in _volumes(tree)),
    _scans,
)
