"""Logs are one JSON object a line; a disk that takes none for a while disturbs nobody."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.logs import log_to


@pytest.fixture(autouse=True)
def handlers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("sweep", "trainers")]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate


def test_a_line_holds_what_was_said_and_its_fields(tmp_path: Path) -> None:
    path = log_to(tmp_path)
    logging.getLogger("sweep.engine").warning("stage missed", extra={"stage": "gan"})
    entry = json.loads(path.read_text())
    assert (entry["level"], entry["message"], entry["stage"]) == ("warning", "stage missed", "gan")


def test_a_full_disk_does_not_fill_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metsweep.jsonl").symlink_to("/dev/full")
    log_to(tmp_path)
    logging.getLogger("sweep.engine").warning("the store is away")
    assert capsys.readouterr().err == ""
