"""UCSF-BMSR: `100101A/100101A_T1post.nii.gz` and `..._seg.nii.gz`; six digits are the patient, the letter the scan."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trainers.data.layouts.contract import Layout, Scan, Tree, grouped, patient_of

_FILE = re.compile(r"(\d{6}[A-Z])_(T1post|seg)\.nii(?:\.gz)?")


def _scans(tree: Tree) -> Iterator[Scan]:
    for name, files in grouped((match[1], match[2], file) for file, match in tree.matching(_FILE)).items():
        yield Scan(patient_of(name), name, files.get("T1post"), mask=files.get("seg"), scanner="UCSF", stripped=True)


UCSF_BMSR = Layout(
    "ucsf-bmsr",
    "100101A/100101A_{T1post,seg}.nii.gz",
    lambda tree: any(match[2] == "T1post" for _, match in tree.matching(_FILE)),
    _scans,
)
