"""What Ray's daemons report is one line for the person who launched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray._private.worker

from sweep.engine.cluster import _errors_in_one_line
from sweep.logs import log_file, log_to

DIED = (
    "Raylet is terminated. Termination is unexpected. Possible reasons include: (1) SIGKILL by the user or system OOM "
    "killer, (2) Invalid memory access from Raylet causing SIGSEGV or SIGBUS, (3) Other termination signals. Last 20 "
    "lines of the Raylet logs:\n    [state-dump] one\n    [state-dump] two\n"
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    import logging

    before = {name: list(logging.getLogger(name).handlers) for name in ("sweep", "trainers", "ray.tune")}
    for name in before:
        logging.getLogger(name).handlers = []
    yield log_to(tmp_path)
    for name, handlers in before.items():
        logging.getLogger(name).handlers = handlers


def test_a_dead_raylet_is_one_line_and_its_log_is_kept(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert log_file() == log
    with _errors_in_one_line(alone=True):
        for _ in range(2):
            ray._private.worker.print_to_stdstream({"lines": [DIED], "is_err": False}, ignore_prefix=False)
    printed = capsys.readouterr()
    assert printed.out == "", "the JSON of `doctor --json` goes there"
    assert printed.err == (
        "Ray: Raylet is terminated. Termination is unexpected. This launch ends, too; run the same command again to "
        f"continue. More in {log}\n"
    )
    assert json.loads(log.read_text().splitlines()[0])["text"] == DIED
