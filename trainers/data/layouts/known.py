"""All layouts, and which of them a folder has."""

from __future__ import annotations

from trainers.data.layouts.bids import BIDS
from trainers.data.layouts.boxes import COCO, CSV, VOC, YOLO
from trainers.data.layouts.brats import BRATS_METS, PRETREAT_METS
from trainers.data.layouts.contract import Layout, Tree
from trainers.data.layouts.dicom import DICOM
from trainers.data.layouts.nnunet import NNUNET
from trainers.data.layouts.normals import IXI, OASIS
from trainers.data.layouts.stanford import STANFORD, STANFORD_CUBE
from trainers.data.layouts.table import TABLE
from trainers.data.layouts.ucsf import UCSF_BMSR
from trainers.exceptions import CohortError

NAMED = (NNUNET, BRATS_METS, PRETREAT_METS, UCSF_BMSR, STANFORD, STANFORD_CUBE, IXI, OASIS, BIDS, TABLE)
BOXES = (COCO, YOLO, VOC, CSV)
"""Known by their annotation alone, so only looked for where volumes are named in no other way."""
LAYOUTS = {layout.name: layout for layout in (*NAMED, DICOM, *BOXES)}
AUTO = "auto"


def layout_of(name: str, tree: Tree) -> Layout:
    """The layout called `name`, or for "auto" the one that `tree` has; CohortError unless that is exactly one."""
    if name in LAYOUTS:
        return LAYOUTS[name]
    expected = "\n".join(f"  {layout.name}: {layout.expects}" for layout in LAYOUTS.values())
    if name != AUTO:
        raise CohortError(f"The layout {name!r} is unknown; allowed: auto, or\n{expected}")
    candidates: list[Layout] = []
    for layouts in (NAMED, (DICOM,), BOXES):
        candidates = candidates or [layout for layout in layouts if layout.recognises(tree)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        names = ", ".join(layout.name for layout in candidates)
        raise CohortError(f"{tree.root}: may be laid out as any of {names}. Name one instead of auto, or a subfolder.")
    raise CohortError(
        f"{tree.root}: none of its {len(tree.files)} files is named as in a layout; known are\n{expected}"
    )
