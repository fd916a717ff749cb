"""Files of this machine before the store takes them, and how they are put into place."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.store.process import Process

OWNER = "owner.json"
"""Beside the files in a folder of `scratch`: the process that writes them."""


@contextmanager
def scratch(stage: str, key: str) -> Iterator[Path]:
    """A temporary folder (TMPDIR) of this machine, removed at the end of the block, like those that dead writers left.

    The folder is not in the store: a stage that has run for days must not fail because the store is full just then.
    """
    prefix = f"metsweep-{stage}-{key[:16]}-"
    for leftover in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if _writer_is_gone(leftover):
            shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix) as root:
        (Path(root) / OWNER).write_text(Process.this().model_dump_json())
        folder = Path(root) / "files"
        folder.mkdir()
        yield folder


def _writer_is_gone(folder: Path) -> bool:
    try:
        return Process.model_validate_json((folder / OWNER).read_text()).is_gone
    except (OSError, ValueError):
        return False


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
