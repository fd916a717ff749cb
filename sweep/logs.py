"""Structured logging: one JSON object per line, from every process of a sweep, in a file of its own."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from sweep.redaction import without_secrets

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
LOGGERS = ("sweep", "trainers", "ray.tune")
"""Ray Tune's logger, too: it would print a traceback for each lost driver."""
MOST_BYTES = 10_000_000
"""Of a file; one older file is kept beside it."""
_about: dict[str, str | None] = dict.fromkeys(("study", "trial", "stage", "key"))
"""What this process works on, now; helper threads log for the same work."""


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Every line that this process logs within the block says that it is about this study, trial, stage and key."""
    before = {name: _about[name] for name in fields}
    _about.update(fields)
    try:
        yield
    finally:
        _about.update(before)


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, study, trial, stage, key, process, and every `extra` field."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_about,
            "host": platform.node(),
            "pid": os.getpid(),
            **extra,
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(
            {key: without_secrets(value) if isinstance(value, str) else value for key, value in entry.items()},
            default=without_secrets,
        )


class _LogFile(RotatingFileHandler):
    """Stays silent while the disk takes no lines: its errors would flood the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to(folder: Path) -> Path:
    """Let the loggers of this process write into a file in `folder`, named by time, machine and process; returns it."""
    if (current := log_file()) and current.parent == folder:
        return current
    with suppress(OSError):  # as an error of a line
        folder.mkdir(parents=True, exist_ok=True)
    began = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    path = folder / f"{began}-{platform.node()}-{os.getpid()}.jsonl"
    handler = _LogFile(path, maxBytes=MOST_BYTES, backupCount=1, delay=True)
    handler.setFormatter(JsonFormatter())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = [handler, *(other for other in logger.handlers if not isinstance(other, _LogFile))]
    return path


def log_file() -> Path | None:
    """The file that this process logs to, if any."""
    files = (handler.baseFilename for handler in logging.getLogger("sweep").handlers if isinstance(handler, _LogFile))
    return next(map(Path, files), None)
