"""What nobody expected ends as one line, a private file with the traceback, and exit code 1."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.sweep.cli.conftest import Metsweep


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fail(error: Exception):
    def raising(*_: object, **__: object) -> None:
        raise error

    return raising


def test_a_fault_is_one_line_and_a_private_file(
    metsweep: Metsweep, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2secret")
    message = "no hunter2secret at postgresql://me:pa55word@db/x [/b]\x1b[2J\nsecond line"
    monkeypatch.setattr("search_spaces.text.show_study", fail(RuntimeError(message)))
    ended = metsweep("study", "show", "quickstart", "--cohort", "https://me:pa55word@db/cohort")
    assert ended.code == 1
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith(r"error: unexpected RuntimeError: no *** at postgresql://me:***@db/x [/b]\x1b[2J. The ")
    (log,) = (cache / "faults").iterdir()
    assert str(log) in ended.err
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(log.parent.stat().st_mode) == 0o700
    text = log.read_text()
    assert "Traceback (most recent call last)" in text
    assert "study show quickstart" in text
    assert "second line" in text
    assert "hunter2secret" not in text
    assert "pa55word" not in text


def test_verbose_shows_the_traceback(metsweep: Metsweep, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.text.show_study", fail(KeyError("x")))
    ended = metsweep("study", "show", "quickstart", "--verbose")
    assert ended.code == 1
    assert "Traceback (most recent call last)" in ended.err
    assert ended.err.splitlines()[-1].startswith("error: unexpected KeyError: 'x'.")
    assert list((cache / "faults").iterdir())


def test_a_cache_that_cannot_be_written(metsweep: Metsweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METSWEEP_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("search_spaces.text.show_study", fail(ValueError("x")))
    ended = metsweep("study", "show", "quickstart")
    assert ended.code == 1
    assert "unexpected ValueError: x. The traceback could not be written: " in ended.err
    assert "Traceback (" not in ended.err


def test_ctrl_c_is_no_fault(metsweep: Metsweep, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("search_spaces.text.show_study", interrupted)
    assert metsweep("study", "show", "quickstart").code == 130
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_a_broken_connection_is_a_fault(metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search_spaces.text.show_study", fail(BrokenPipeError("to a server")))
    ended = metsweep("study", "show", "quickstart")
    assert ended.code == 1
    assert "unexpected BrokenPipeError: to a server" in ended.err


def test_a_thread_that_dies_tells_it(metsweep: Metsweep, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begins(*_: object) -> str:
        thread = threading.Thread(target=fail(ValueError("[/b]")))
        thread.start()
        thread.join()
        return "shown\n"

    monkeypatch.setattr("search_spaces.text.show_study", begins)
    before = threading.excepthook
    ended = metsweep("study", "show", "quickstart")
    assert (ended.code, ended.out) == (0, "shown\n")
    assert ended.err.startswith("error: unexpected ValueError: [/b]. The traceback is in ")
    assert len(list((cache / "faults").iterdir())) == 1
    assert threading.excepthook is before


def test_a_reader_who_has_enough_is_no_fault() -> None:
    """As in `metsweep store ls | head`, where nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "sweep.cli", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
