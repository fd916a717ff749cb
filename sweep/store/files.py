"""Puts files of this machine into place."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path


def place(folder: Path, target: Path) -> None:
    """Link every file of a folder below `target` where both lie on one disk, else copy it."""
    target.mkdir(parents=True, exist_ok=True)
    for path in folder.rglob("*"):
        to = target / path.relative_to(folder)
        if path.is_dir():
            to.mkdir(parents=True, exist_ok=True)
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, to)
        except OSError as error:
            if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}:
                raise
            shutil.copyfile(path, to)
