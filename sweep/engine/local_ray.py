"""The files and the token of a Ray that runs on this machine alone, for one command."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sweep.engine.ray_token import MODE, TOKEN, TOKEN_PATH, ray_environment
from sweep.store.process import Process
from trainers.config import Config

PREFIX = "metsweep-launch-"
OWNER = "owner.json"
ANYWHERE = Path("/tmp")
"""Where Ray's folder lies if TMPDIR has too long a path for its sockets."""
LONGEST_SOCKET = 107
"""Bytes that the path of a Unix socket may have."""
SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest that Ray opens in its folder."""
SECONDS_TO_END = 5.0
"""How long Ray's processes may go on writing logs after they were asked to end."""


class Owner(Config):
    """Whose a private folder is."""

    process: Process
    ray: Path
    """Where Ray keeps its session: sockets and logs."""


@contextmanager
def private_folders() -> Iterator[Path]:
    """Folder for the session of a local Ray, which only this user may enter; nothing is left of it after the block.

    Within the block temporary files of this process and, by TMPDIR, of every process that Ray starts lie in a private
    folder that goes with it, so that each may be killed at any time; and Ray's token is a fresh one, in a file that
    only this user may read. Folders that killed commands left in TMPDIR are removed first.
    """
    _remove_leftovers()
    root = Path(tempfile.mkdtemp(prefix=PREFIX))
    ray = root / "ray" if _has_room_for_sockets(root / "ray") else Path(tempfile.mkdtemp(prefix=PREFIX, dir=ANYWHERE))
    try:
        (root / OWNER).write_text(Owner(process=Process.this(), ray=ray).model_dump_json())
        temporary, token = root / "tmp", root / "token"
        temporary.mkdir()
        # Made with this mode: between open and chmod others could have read it.
        with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        # The user's own token is another Ray's and would take precedence over a token's path.
        values = {"TMPDIR": str(temporary), MODE: "token", TOKEN_PATH: str(token), TOKEN: None}
        with ray_environment(values), _temporary_files(temporary):
            yield ray
    finally:
        _remove(root, ray)


def copy_logs(to: Path) -> Path:
    """Copy what the connected Ray of this machine has logged into a fresh folder in `to`, for this user alone."""
    from ray._private import worker

    node: Any = worker._global_node
    to.mkdir(parents=True, exist_ok=True)
    kept = Path(tempfile.mkdtemp(prefix=f"ray-{time.strftime('%Y-%m-%d_%H-%M-%S')}-", dir=to))
    shutil.copytree(node.get_logs_dir_path(), kept, symlinks=True, dirs_exist_ok=True)
    kept.chmod(0o700)
    return kept


def _has_room_for_sockets(folder: Path) -> bool:
    return len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET


@contextmanager
def _temporary_files(folder: Path) -> Iterator[None]:
    """Within the block temporary files of this process, which has read TMPDIR already, lie in a folder."""
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _remove_leftovers() -> None:
    for root in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):
            if _is_private(root):
                owner = Owner.model_validate_json((root / OWNER).read_text())
                if owner.process.is_gone and not _in_use(owner.ray):
                    _remove(root, owner.ray)


def _is_private(folder: Path) -> bool:
    """Whether only this user can have written the files of a folder."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077


def _in_use(folder: Path) -> bool:
    """Whether a process writes there: a worker may outlive its driver for seconds, and each has a log in it."""
    import psutil

    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                return True
    return False


def _remove(*folders: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_END
    while any(folder.exists() for folder in folders):
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
