"""Lines of every process reach whoever reads the study's logs, also from a node that shares no disk with the reader."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.logs import LOGGERS, log_file
from sweep.store import Store
from sweep.studies import study_logs
from sweep.studies.study_logs import StudyLogs


class Node(Store):
    """A machine whose own disk is not the store."""

    def __init__(self, store: Path, disk: Path) -> None:
        super().__init__(store)
        self._disk = disk

    @property
    def local(self) -> Path:
        return self._disk


@pytest.fixture(autouse=True)
def loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    yield
    for logger, (handlers, logger.propagate, logger.level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers


def messages(logs: StudyLogs) -> list[str]:
    return [line["message"] for line in logs.new_lines()]


def test_lines_of_a_node_reach_a_reader_elsewhere_and_each_line_is_read_once(tmp_path: Path) -> None:
    worker = StudyLogs(Node(tmp_path / "store", tmp_path / "worker"), "small")
    reader = StudyLogs(Node(tmp_path / "store", tmp_path / "reader"), "small")
    with worker.written(trial="none seed 0"):
        logging.getLogger("sweep").warning("one")
    (line,) = reader.new_lines()
    assert (line["message"], line["study"], line["trial"]) == ("one", "small", "none seed 0")
    assert messages(reader) == []
    with worker.written():
        logging.getLogger("trainers").warning("two")
    assert messages(reader) == ["two"]
    assert messages(StudyLogs(Store(tmp_path / "store"), "other")) == []


def test_lines_that_were_not_delivered_yet_are_read_where_they_are(tmp_path: Path) -> None:
    logs = StudyLogs(Node(tmp_path / "store", tmp_path / "here"), "small")
    with logs.written():
        logging.getLogger("sweep").warning("now")
        assert messages(StudyLogs(Node(tmp_path / "store", tmp_path / "here"), "small")) == ["now"]


def test_half_a_line_of_a_killed_process_is_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with StudyLogs(store, "small").written():
        logging.getLogger("sweep").warning("whole")
    file = log_file()
    assert file is not None
    with file.open("a") as log:
        log.write('no JSON\n[]\n{"time": "yesterday"}\n{"time": "2026-01-01T00:00')
    assert messages(StudyLogs(store, "small")) == ["whole"]


def test_a_launch_keeps_the_newest_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_logs, "MOST_FILES", 2)
    store = Node(tmp_path / "store", tmp_path / "here")
    for name in ("20260101T000000-a-1", "20260103T000000-a-1", "20260102T000000-b-7"):
        store.write_text(f"logs/small/{name}.jsonl", "")
    StudyLogs(store, "small").tidy()
    assert store.list("logs/small") == [
        "logs/small/20260102T000000-b-7.jsonl",
        "logs/small/20260103T000000-a-1.jsonl",
    ]


def test_a_store_that_is_away_disturbs_nobody(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("not a folder")
    with StudyLogs(Node(tmp_path / "store", tmp_path / "here"), "small").written():
        logging.getLogger("sweep").warning("work goes on")
