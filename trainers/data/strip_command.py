"""Brain masks by programs that are installed beside metsweep: HD-BET and SynthStrip."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Image

from trainers.data.volume_file import canonical_voxels, load_image
from trainers.exceptions import CohortError

COMMANDS = {"hd-bet": ("hd-bet",), "synthstrip": ("mri_synthstrip", "nipreps-synthstrip")}
"""Method -> its commands, any of which will do."""
LONGEST_S = 3600.0
"""HD-BET takes 11 minutes for a volume on two cores."""
SHOWN = 300
"""Characters of a failing program's last words."""


def find_command(method: str) -> str:
    """Path of the command of a method.

    Raises:
        CohortError: it is not installed.
    """
    for command in COMMANDS[method]:
        if path := shutil.which(command):
            return path
    raise CohortError(
        f"prepare.strip.method is {method!r}, but its command ({' or '.join(COMMANDS[method])}) is not on the PATH. "
        "Install it on every machine that prepares volumes, or use deepbet, which comes with metsweep."
    )


def run_command(method: str, volume: np.ndarray, affine: np.ndarray, where: str) -> np.ndarray:
    """The brain mask (X x Y x Z bool) of a canonical volume by the command of a method, on a GPU if there is one.

    Raises:
        CohortError: the command is not installed, fails, takes more than an hour, or writes no mask of this grid.
    """
    import torch

    command, gpu = find_command(method), torch.cuda.is_available()
    with tempfile.TemporaryDirectory(prefix="metsweep-strip-") as folder:
        Nifti1Image(volume, affine).to_filename(Path(folder) / "head.nii.gz")
        if method == "hd-bet":
            device = ["-device", "cuda"] if gpu else ["-device", "cpu", "--disable_tta"]
            options = ["-o", "brain.nii.gz", *device, "--save_bet_mask", "--no_bet_image"]
            made = Path(folder) / "brain_bet.nii.gz"
        else:
            options = ["-m", "mask.nii.gz", *(["-g"] if gpu else [])]
            made = Path(folder) / "mask.nii.gz"
        try:
            arguments = [command, "-i", "head.nii.gz", *options]
            ran = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=LONGEST_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CohortError(f"{where}: {method} did not end well ({error}).") from error
        if ran.returncode or not made.is_file():
            said = (ran.stderr or ran.stdout).strip()[-SHOWN:]
            raise CohortError(
                f"{where}: {method} ended with exit code {ran.returncode} and {'a' if made.is_file() else 'no'} mask: "
                f"{said or 'it printed nothing'}"
            )
        mask = canonical_voxels(load_image(made, mask=True), made)[0] > 0
    if mask.shape != volume.shape:
        raise CohortError(f"{where}: {method} wrote a mask of {mask.shape} voxels; needed: {volume.shape}.")
    return mask
