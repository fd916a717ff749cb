"""`optuna-dashboard` opens what a search leaves in Optuna's database, and tells its trials apart as they ended."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from search_spaces.study import Study
from sweep.console import TextConsole
from sweep.engine.launch import launch
from sweep.report.report import write_report
from tests.sweep import conftest
from tests.sweep.fixed_time import STEPS, timed_study
from tests.sweep.task_stages import HIGHEST_RATE, SECONDS, make_stepping_maker, set_seconds, settings_in

empty_database = conftest.empty_database

TRIALS, GRACE = 12, 0.3


def search_study(folder: Path) -> Study:
    """Draws variant, count and learning rate; a rate too high fails, a poor one is pruned."""
    return timed_study(
        folder,
        name="search",
        arms=[],
        space={
            "variant": {"choice": ["none", "cpggan"]},
            "count": {"int": [400, 800], "step": 400},
            "detector.learning_rate": {"float": [1e-4, 1e-1], "log": True},
        },
        search={"method": "random", "trials": TRIALS, "pruning": "asha", "grace": GRACE},
        detector={"steps": STEPS, "evaluate_every": 1, "select_from": 0.1, "final_learning_rate": 1e-5},
    )


@contextmanager
def dashboard(database: str) -> Iterator[str]:
    """Address of a dashboard on a database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = Path(sys.executable).parent / "optuna-dashboard"
    process = subprocess.Popen([command, database, "--port", str(port), "--quiet"])
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.mark.slow
def test_dashboard_shows_complete_pruned_and_failed_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path
) -> None:
    shutil.copy(empty_database, tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv(SECONDS, "")
    set_seconds({"detector": 6})
    settings = settings_in(tmp_path)
    with (tmp_path / "output.txt").open("w") as output:
        console = TextConsole(file=output)
        launched = launch(search_study(tmp_path), settings, console, write_report, maker=make_stepping_maker)
    with dashboard(settings.optuna_storage) as address:
        (listed,) = requests.get(f"{address}/api/studies", timeout=30).json()["study_summaries"]
        assert listed["study_name"] == "search"
        shown: dict[str, Any] = requests.get(f"{address}/api/studies/{listed['study_id']}", timeout=30).json()
    assert shown["directions"] == ["maximize"]
    assert [trial["number"] for trial in shown["trials"]] == list(range(TRIALS))
    states = Counter(trial["state"] for trial in shown["trials"])
    assert set(states) == {"Complete", "Pruned", "Fail"}, states
    assert states["Fail"] == len(launched.failed)
    for trial in shown["trials"]:
        rate = next(float(one["param_external_value"]) for one in trial["params"] if one["name"].startswith("detector"))
        told = {one["key"]: one["value"] for one in trial["user_attrs"]}
        steps = [one["step"] for one in trial["intermediate_values"]]
        assert (trial["state"] == "Fail") == (rate > HIGHEST_RATE)
        if trial["state"] == "Fail":
            assert "The loss is not a number" in told["metsweep.error"]
        elif trial["state"] == "Pruned":
            assert max(steps) >= GRACE * STEPS
        else:
            assert steps == list(range(1, STEPS + 1))
            assert 0 < trial["values"][0] < 1
