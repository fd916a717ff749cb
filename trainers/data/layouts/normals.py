"""Subjects without tumours: IXI, flat files with the skull, and OASIS-1, folders of Analyze files without."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image
from nibabel.spm2analyze import Spm2AnalyzeImage

from trainers.data.layouts.contract import Layout, Scan, Tree, grouped
from trainers.data.volume_file import MAX_VOXELS, UNREADABLE
from trainers.documents import read_table
from trainers.exceptions import CohortError

_IXI = re.compile(r"(IXI\d{3})-(Guys|HH|IOP)-\d{4}-T1\.nii(?:\.gz)?")
_OASIS = re.compile(r"((OAS1_\d{4})_MR\d)_.*_t88_masked_gfc\.hdr")
_OASIS_ANY = re.compile(r"OAS1_\d{4}_MR\d_.*\.hdr")
_OASIS_TABLE = re.compile(r"oasis[_-]cross[_-]sectional.*\.csv", re.IGNORECASE)
HEALTHY = ("", "0", "0.0", "N/A")
"""Clinical dementia ratings; the young were not rated."""


def _ixi(tree: Tree) -> Iterator[Scan]:
    named = {match[1]: match[2] for _, match in tree.matching(_IXI)}
    for patient, files in grouped((match[1], "T1", file) for file, match in tree.matching(_IXI)).items():
        yield Scan(patient, patient, files["T1"], kind="normal", scanner=f"IXI {named[patient]}", stripped=False)


@dataclass(frozen=True)
class Analyze:
    """A pair of .hdr and .img in Talairach space of OASIS-1: right to left, posterior to anterior, from the lowest."""

    header: Path

    def image(self) -> Nifti1Image:
        """The volume with the affine that Analyze headers lack."""
        try:
            pair = Spm2AnalyzeImage.from_filename(str(self.header))
            if np.prod(pair.shape, dtype=float) > MAX_VOXELS:
                raise CohortError(f"{self.header}: declares {pair.shape} voxels; allowed: up to {MAX_VOXELS:,} in all.")
            voxels = np.asarray(pair.dataobj).squeeze()
        except UNREADABLE as error:
            raise CohortError(
                f"{self.header}: cannot be read as Analyze ({error}); copy .hdr and .img anew."
            ) from error
        if voxels.ndim != 3:
            raise CohortError(f"{self.header}: its shape is {voxels.shape}; allowed: one 3-D volume.")
        sizes = [float(size) for size in pair.header.get_zooms()[:3]]
        return Nifti1Image(voxels, np.diag([-sizes[0], sizes[1], sizes[2], 1.0]))


def _oasis(tree: Tree) -> Iterator[Scan]:
    volumes = grouped((match[1], "T1", file) for file, match in tree.matching(_OASIS))
    if not volumes:
        raise CohortError(
            f"{tree.root}: holds no PROCESSED/MPRAGE/T88_111/OAS1_*_t88_masked_gfc.hdr; needed: these, as the RAW "
            "volumes of OASIS-1 do not record their orientation."
        )
    ratings = _ratings(tree)
    for name, files in volumes.items():
        if name not in ratings:
            raise CohortError(f"{tree.root}: {name} has no line in oasis_cross-sectional.csv. Add it or move the scan.")
        dementia = None if ratings[name] in HEALTHY else f"dementia (CDR {ratings[name]})"
        patient, volume = name.rpartition("_")[0], Analyze(files["T1"])
        yield Scan(patient, name, volume, kind="normal", scanner="OASIS-1", stripped=True, left_out=dementia)


def _ratings(tree: Tree) -> dict[str, str]:
    tables = [file for file, _ in tree.matching(_OASIS_TABLE)]
    if len(tables) != 1:
        raise CohortError(
            f"{tree.root}: {len(tables)} tables are called oasis_cross-sectional.csv; needed: one, with the columns ID "
            "and CDR, which shows who has dementia. The OASIS site offers it beside the images."
        )
    return {cells["ID"]: cells["CDR"] for _, cells in read_table(tables[0], CohortError, ["ID", "CDR"])}


IXI = Layout("ixi", "IXI002-Guys-0828-T1.nii.gz", lambda tree: any(True for _ in tree.matching(_IXI)), _ixi)
OASIS = Layout(
    "oasis1",
    "OAS1_0001_MR1/PROCESSED/MPRAGE/T88_111/OAS1_0001_MR1_mpr_n4_anon_111_t88_masked_gfc.{hdr,img}",
    lambda tree: any(True for _ in tree.matching(_OASIS_ANY)),
    _oasis,
)
