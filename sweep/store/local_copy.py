"""Checked copies on this machine of what an object store holds."""

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
    """`folder`, once it holds what `check` accepts: as it is, or fetched anew. Any number of processes may race.

    Args:
        folder: where the copy lies.
        scratch: folder on the same disk for copies under way.
        fetch: fills an empty folder from the store.
        check: raises DamagedArtifact for a folder that is not what it should be.

    Raises:
        DamagedArtifact: what came from the store is not.
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
        # Who reads the old copy keeps its open files.
        if folder.is_dir():
            folder.rename(scratch / uuid.uuid4().hex)
        fresh.rename(folder)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT} and folder.is_dir():  # another was first
            check(folder)
            return folder
        raise Unavailable(f"{folder} cannot be written: {error.strerror}; METSWEEP_CACHE says where it is.") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder
