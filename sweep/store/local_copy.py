"""Checked local copies of files in an object store."""

from __future__ import annotations

import errno
import logging
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from sweep.store.artifact import DamagedArtifact
from sweep.store.backend import Unavailable

logger = logging.getLogger(__name__)


def local_copy(folder: Path, scratch: Path, fetch: Callable[[Path], None], check: Callable[[Path], None]) -> Path:
    """`folder`, once `check` accepts its content: as it is, or fetched again. Any number of processes may race.

    Args:
        scratch: folder on the same disk for copies under way.
        fetch: fills an empty folder from the store.
        check: raises DamagedArtifact for a folder with wrong content.

    Raises:
        DamagedArtifact: the store's own files are wrong.
        Unavailable: this machine's disk is full.
    """
    if folder.is_dir():
        try:
            check(folder)
            return folder
        except DamagedArtifact as error:
            logger.warning(f"The local copy is fetched again: {error}")
    fresh = scratch / uuid.uuid4().hex
    try:
        fresh.mkdir(parents=True)
        fetch(fresh)
        check(fresh)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Readers of the old copy keep their open files.
        if folder.is_dir():
            folder.rename(scratch / uuid.uuid4().hex)
        fresh.rename(folder)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT} and folder.is_dir():  # another was first
            check(folder)
            return folder
        raise Unavailable(
            f"{folder} cannot be written: {error.strerror}. Set METSWEEP_CACHE to another folder."
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder
