"""Where a NIfTI header says that its voxels lie: in up to three ways, which may contradict each other.

nibabel takes the sform where there is one, other programs take the qform or `pixdim`; where these differ, left and
right or millimetres depend on the program. The standard wants the qform to lead to the scanner's space and lets the
sform lead to another one, such as an atlas, with a code of its own; their handedness is always the same.
"""

from __future__ import annotations

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.orientations import io_orientation
from nibabel.quaternions import quat2mat

MOST_DEGREES, MOST_VOXELS = 0.2, 0.5
"""By which the axes and the first voxel of two affines of one space may differ: a header's quaternion has 7 digits, and
near a half turn that is a twentieth of a degree."""
MOST_TURNED = 45.0
"""Degrees by which axes may differ when the sform leads to another space: more names another side of the patient."""
MOST_SCALED = 0.01
"""Share of a voxel's size."""
UNKNOWN, MILLIMETRE = 0, 2
UNITS = {1: "metre", 3: "micrometre"}


def invertible(affine: np.ndarray) -> bool:
    """Whether an affine (4 x 4) gives each voxel a place of its own."""
    with np.errstate(all="ignore"):
        return bool(
            np.isfinite(affine).all()
            and 1e-9 < abs(np.linalg.det(affine[:3, :3])) < np.inf
            and not np.isnan(io_orientation(affine)).any()
        )


def contradiction(header: Nifti1Header, pixdim: np.ndarray) -> str | None:
    """What contradicts what about the voxels' places; None if nothing does, or an affine cannot be inverted.

    Args:
        header: with known codes for its forms.
        pixdim: sizes of a voxel as the header declares them; 0: not declared.
    """
    unit = int(header["xyzt_units"]) & 7
    if unit not in (UNKNOWN, MILLIMETRE):
        name = UNITS.get(unit, f"of the unknown code {unit}")
        return f"its spatial unit (xyzt_units) is {name}; allowed: millimetre, or unknown. Write it in millimetres"
    sform = np.asarray(header.get_sform(), np.float64)
    if not header["sform_code"] or not invertible(sform):
        return None
    sizes = np.linalg.norm(sform[:3, :3], axis=0)
    declared = np.abs(pixdim)
    if not (np.abs(sizes - declared) <= MOST_SCALED * sizes)[declared != 0].all():
        return (
            f"its sform has voxels of {_listed(sizes)} mm, pixdim is {_listed(declared)}; allowed: {MOST_SCALED:.0%} "
            "of difference. Correct the wrong one"
        )
    if not header["qform_code"]:
        return None
    rotation = _rotation(header)
    cosines = (rotation * sform[:3, :3] / sizes).sum(axis=0)
    degrees = float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())
    place = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], np.float64)
    shift = float(np.linalg.norm(place - sform[:3, 3]))
    code = int(header["sform_code"])
    same_space = code == header["qform_code"]
    most = MOST_DEGREES if same_space else MOST_TURNED
    advice = "Convert the scan from DICOM again, or set the code of the wrong one to 0"
    if not degrees <= most:
        return f"its qform and sform differ by {degrees:.3g} degrees in an axis; allowed: {most:g}. {advice}"
    if same_space and not shift <= MOST_VOXELS * sizes.min():
        return (
            f"its qform and sform, of one space (code {code}), place the first voxel {shift:.3g} mm "
            f"apart; allowed: {MOST_VOXELS:g} voxels. {advice}"
        )
    return None


def _rotation(header: Nifti1Header) -> np.ndarray:
    """The directions of the voxels' axes by the qform, 3 x 3; as the standard computes them."""
    imaginary = np.array([header[f"quatern_{axis}"] for axis in "bcd"], np.float64)
    with np.errstate(all="ignore"):
        real = np.sqrt(max(0.0, 1.0 - imaginary @ imaginary))
        rotation = quat2mat(np.array([real, *imaginary]))
    return rotation * [1, 1, -1 if header["pixdim"][0] < 0 else 1]


def _listed(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:.4g}" for size in sizes)
