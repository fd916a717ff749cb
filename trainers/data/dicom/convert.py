"""A DICOM series -> a NIfTI volume by dcm2niix, of which only voxels and affine are kept."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from nibabel.nifti1 import Nifti1Image

from trainers.data.dicom.headers import Instance, reading, require
from trainers.data.volume_file import load_image, stamp
from trainers.exceptions import CohortError

TIMEOUT_S = 900
OPTIONS = ("-b", "n", "-z", "n", "-m", "y", "-x", "i", "-f", "volume", "-g", "i")
"""No sidecar, no compression, one volume a series, nothing cropped or turned, a fixed name, no defaults of the user."""


@dataclass(frozen=True)
class ConvertedSeries:
    """The volume of a series."""

    files: tuple[Path, ...]
    slices: int

    def image(self) -> Nifti1Image:
        """Voxels and affine; the header holds nothing else of the series."""
        return _converted(self.files, self.slices, tuple(map(stamp, self.files)))


@dataclass(frozen=True)
class SegmentedSeries:
    """The mask of a series, from a DICOM SEG."""

    file: Path
    segments: tuple[int, ...]
    """Numbers of those that are lesion."""
    of: ConvertedSeries

    def image(self) -> Nifti1Image:
        """1 where any of the segments is, on the grid of the series' volume."""
        highdicom = require("highdicom")
        volume = self.of.image()
        with reading(self.file):
            segmented = highdicom.seg.segread(self.file).get_volume(segment_numbers=self.segments)
            inside = np.argwhere((np.asarray(segmented.array) >= 0.5).any(axis=-1))
            affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ segmented.affine  # DICOM's LPS -> RAS
        to_volume = np.linalg.inv(np.asarray(volume.affine)) @ affine
        places = inside @ to_volume[:3, :3].T + to_volume[:3, 3]
        voxels = np.rint(places).astype(np.int64)
        turned = np.abs(to_volume[:3, :3])
        if (
            not np.allclose(turned, np.rint(turned), atol=0.01)
            or np.abs(places - voxels).max(initial=0) > 0.1
            or ((voxels < 0) | (voxels >= volume.shape)).any()
        ):
            raise CohortError(
                f"{self.file}: its grid is not that of its series ({segmented.affine.round(3).tolist()}); allowed: the "
                "same slices and pixels. Export the segmentation on the grid of the T1 after contrast."
            )
        mask = np.zeros(volume.shape, dtype=np.uint8)
        mask[tuple(voxels.T)] = 1
        return _bare(mask, np.asarray(volume.affine))


@lru_cache(maxsize=1)
def _converted(files: Sequence[Path], slices: int, _: tuple[tuple[int, ...], ...]) -> Nifti1Image:
    """Cached for the mask, which is written after its volume."""
    program = require("dcm2niix").bin
    with TemporaryDirectory(prefix="metsweep-dicom-") as name:
        source, out = Path(name, "in"), Path(name, "out")
        source.mkdir()
        out.mkdir()
        for number, file in enumerate(files):
            Path(source, f"{number:06d}.dcm").symlink_to(file.absolute())  # no name from outside reaches a command
        where = f"The series of {files[0]}"
        try:
            ended = subprocess.run(
                [program, *OPTIONS, "-o", out, source], capture_output=True, timeout=TIMEOUT_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise CohortError(f"{where} cannot be converted: {error}.") from error
        made = sorted(out.iterdir())
        if ended.returncode != 0 or len(made) != 1:
            raise CohortError(
                f"{where} cannot be converted: dcm2niix ended with {ended.returncode} and {len(made)} volumes; needed: "
                "one. Run it on the series to see why, and leave the series out or name another by --series."
            )
        image = load_image(made[0])
        voxels = np.asarray(image.dataobj)
    if slices not in voxels.shape:
        raise CohortError(f"{where}: dcm2niix made {voxels.shape} voxels of {slices} slices. Is a file incomplete?")
    return _bare(voxels, np.asarray(image.affine))


def _bare(voxels: np.ndarray, affine: np.ndarray) -> Nifti1Image:
    """An image whose header says where the voxels lie and nothing more."""
    if voxels.dtype.kind == "f":
        voxels = voxels.astype(np.float32)
    image = Nifti1Image(voxels, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def instances_of(series: Sequence[Instance]) -> ConvertedSeries:
    """The volume of a chosen series."""
    return ConvertedSeries(tuple(instance.file for instance in series), sum(len(i.planes) for i in series))
