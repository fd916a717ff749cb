"""Folders of this machine that stages write into before the store takes the files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweep.store.process import Process


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


OWNER = "owner.json"


def _writer_is_gone(folder: Path) -> bool:
    try:
        return Process.model_validate_json((folder / OWNER).read_text()).is_gone
    except (OSError, ValueError):
        return False
