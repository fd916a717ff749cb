"""Structured logging: one JSON object per line, from every process of a sweep, beside the store's artifacts."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from pathlib import Path

from sweep.redaction import without_secrets

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, process, and every `extra` field."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
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


class _LogFile(logging.FileHandler):
    """Stays silent while the disk takes no lines: its errors would flood the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to(folder: Path) -> Path:
    """Append the loggers of this process to `metsweep.jsonl` in `folder`; returns the file.

    Besides `sweep` and `trainers` also Ray Tune's logger, which would print a traceback for each lost driver.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "metsweep.jsonl"
    for name in ("sweep", "trainers", "ray.tune"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        if not any(getattr(handler, "baseFilename", None) == str(path) for handler in logger.handlers):
            handler = _LogFile(path)
            handler.setFormatter(JsonFormatter())
            logger.addHandler(handler)
    return path


def log_file() -> Path | None:
    """The file that this process logs to, if any."""
    files = (handler.baseFilename for handler in logging.getLogger("sweep").handlers if isinstance(handler, _LogFile))
    return next(map(Path, files), None)
