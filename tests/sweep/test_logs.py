"""Logs are one JSON object a line; a disk that takes none for a while disturbs nobody."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.logs import about, log_to


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
    assert (entry["study"], entry["trial"], entry["key"]) == (None, None, None)


def test_every_line_says_what_the_process_works_on(tmp_path: Path) -> None:
    path = log_to(tmp_path)
    with about(study="small", trial="none seed 0"), about(stage="gan", key="0123"):
        helper = threading.Thread(target=lambda: logging.getLogger("trainers.gan").warning("from another thread"))
        helper.start()
        helper.join()
    logging.getLogger("sweep").warning("after it")
    first, second = map(json.loads, path.read_text().splitlines())
    assert [first[name] for name in ("study", "trial", "stage", "key")] == ["small", "none seed 0", "gan", "0123"]
    assert second["stage"] is None


def test_a_full_disk_does_not_fill_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_to(tmp_path).symlink_to("/dev/full")
    logging.getLogger("sweep.engine").warning("the store is away")
    assert capsys.readouterr().err == ""
