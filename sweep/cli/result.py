"""The result folder of a stage that is run by hand: complete or not written at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from trainers.exceptions import ConfigError


@dataclass(frozen=True)
class Unfinished:
    """Where a result is made before it gets its name: a hidden folder beside it."""

    root: Path

    @property
    def result(self) -> Path:
        """Folder that the stage writes."""
        return self.root / "result"

    @property
    def checkpoints(self) -> Path:
        """Folder that outlives a stopped run: run the same command again to continue."""
        return self.root / "checkpoints"


@contextmanager
def result_folder(out: Path, option: str = "--out") -> Iterator[Unfinished]:
    """Where to write the result that becomes the folder `out` when the block ends without an error.

    When the block raises, only checkpoints stay; `out` is as it was.

    Args:
        option: what the command line calls `out`.

    Raises:
        ConfigError: `out` is not empty, cannot be made, or another process is making it.
    """
    _refuse(out, option)
    unfinished = Unfinished(out.absolute().with_name(f".{out.absolute().name}.unfinished"))
    try:
        unfinished.root.mkdir(exist_ok=True)
        lock = FileLock(unfinished.root / "lock", timeout=0).acquire()
    except Timeout:
        raise ConfigError(
            f"{option} {out}: another metsweep process writes this folder; wait until it ends, or choose another."
        ) from None
    except OSError as error:
        raise ConfigError(f"{option} {out} cannot be made: {error.strerror}. Choose another folder.") from None
    with lock:
        shutil.rmtree(unfinished.result, ignore_errors=True)
        unfinished.result.mkdir()
        try:
            yield unfinished
            if out.is_dir():
                out.rmdir()
            unfinished.result.rename(out)
        except BaseException:
            shutil.rmtree(unfinished.result, ignore_errors=True)
            if not list(unfinished.checkpoints.glob("*/*")):
                shutil.rmtree(unfinished.root)
            raise
        shutil.rmtree(unfinished.root)


def _refuse(out: Path, option: str) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"{option} {out} is not empty. Choose another folder, or remove this one to write it again.")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{option} {out} is a file; allowed: an empty or a new folder.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(
            f"{option} {out}: the folder {out.absolute().parent} does not exist. Make it first, or correct the path."
        )
