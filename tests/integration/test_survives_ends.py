"""How trials and launches end: pruned, failed, without a number, stopped by hand, by Ctrl-C, by the budget."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import optuna
import pytest

from sweep.store import Store
from sweep.studies.optuna_study import ERROR
from sweep.studies.records import Request, StudyRecord
from tests.integration.survival import PATIENCE_S, Home, RayHead
from tests.sweep import conftest
from tests.sweep.fixed_time import STEPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
empty_database = conftest.empty_database

SEARCH = {
    "arms": [{"variant": "none"}],
    "space": {"variant": {"choice": ["cpggan"]}, "count": {"int": [400, 2000], "step": 40}},
    "search": {"method": "random", "seed": 6, "trials": 4, "pruning": "median", "startup_trials": 1, "grace": 0.3},
    "detector": {"steps": STEPS},
}


@pytest.fixture(scope="module")
def ray_head() -> Iterator[RayHead]:
    head = RayHead(2)
    head.start()
    yield head
    head.close()


@pytest.fixture
def home(tmp_path: Path, ray_head: RayHead, empty_database: Path) -> Home:
    """There is room for one trial at a time."""
    shutil.copy(empty_database, tmp_path)
    alone = {"cpus_per_worker": 2}
    return Home(tmp_path, ray_head.address, more={"resources": {"gan": alone, "detector": alone}})


def told(home: Home) -> list[optuna.trial.FrozenTrial]:
    return optuna_study(f"sqlite:///{home.folder / 'optuna.db'}").trials


@lru_cache(maxsize=1)
def optuna_study(storage: str) -> optuna.Study:
    """Opened once: who asks for its trials again and again would take as much of the machine as the launch."""
    return optuna.load_study(study_name="timed", storage=storage)


def seconds_until_pruned_work_ends(home: Home, ray_head: RayHead, driver: subprocess.Popen[bytes]) -> float:
    """From the report that the first pruned trial was pruned for, which is its last."""
    reports: dict[int, int] = {}
    reported: dict[int, tuple[float, set[str]]] = {}

    def tasks() -> set[str]:
        """Titles of the running tasks that train a detector: the processes stay for the next one."""
        titles = {" ".join(one.cmdline()) for one in ray_head.family("ray::")}
        return {title for title in titles if "detector" in title}

    def gone() -> bool:
        trials = told(home)
        for one in trials:
            if one.state.name == "RUNNING" and len(one.intermediate_values) > reports.get(one.number, 0):
                reports[one.number] = len(one.intermediate_values)
                reported[one.number] = (time.monotonic(), tasks())
        pruned = [one.number for one in trials if one.state.name == "PRUNED" and one.number in reported]
        return any(not reported[number][1] & tasks() for number in pruned)

    home.until(gone, driver)
    first = next(one.number for one in told(home) if one.state.name == "PRUNED" and one.number in reported)
    return time.monotonic() - reported[first][0]


def test_search_prunes_tells_and_goes_on(home: Home, ray_head: RayHead) -> None:
    """A search whose driver dies in its second cell, and whose worse cells are pruned."""
    home.pace(gan=0.5, detector=20)
    driver = home.launch(**SEARCH)
    home.until(lambda: home.steps("detector"), driver)
    home.pace(gan=0.5, detector=0.5)
    home.until(lambda: len(told(home)) > 1, driver)
    home.pace(gan=0.5, detector=60)
    home.until(lambda: [one for one in told(home) if one.state.name == "RUNNING" and one.intermediate_values], driver)
    driver.kill()
    driver.wait()
    needed = StudyRecord(Store(home.store), "timed").needs()
    assert all(path.parent.name in needed[path.parents[1].name] for path in home.store.glob("*/*/manifest.json"))
    home.pace(gan=0.5, detector=8)
    driver = home.launch(**SEARCH)
    freed_after = seconds_until_pruned_work_ends(home, ray_head, driver)
    home.finish(driver)
    print(f"pruned: the task was gone {freed_after:.1f} s after the last report")
    assert freed_after < 15
    states = {one.number: one.state.name for one in told(home)}
    assert len(states) == SEARCH["search"]["trials"]
    assert set(states.values()) <= {"COMPLETE", "PRUNED"}
    for one in told(home):
        if one.state.name == "PRUNED":
            assert one.value == list(one.intermediate_values.values())[-1]
            assert max(one.intermediate_values) < STEPS


def test_a_trial_fails_another_has_no_number_and_the_others_go_on(home: Home) -> None:
    home.counts = (400, 800, 1200)
    home.pace(gan=0.5, detector=0.5, failing=(400,), undefined=(800,))
    output = home.finish(status=1)
    assert "lets detectors with 400 slices fail" in output
    by_count = {one.params["arm.count"]: one for one in told(home)}
    assert {count: one.state.name for count, one in by_count.items()} == {400: "FAIL", 800: "FAIL", 1200: "COMPLETE"}
    assert "400 slices" in by_count[400].user_attrs[ERROR]
    assert "not a number" in by_count[800].user_attrs[ERROR]

    home.pace(gan=0.5, detector=0.5)
    home.finish()
    assert home.steps("gan") == list(range(1, STEPS + 1))


@pytest.mark.long
def test_fail_fast_ends_all(home: Home) -> None:
    home.counts = (400, 800)
    home.pace(gan=0.5, detector=0.5, failing=(400, 800))
    output = home.finish(home.launch("--fail-fast"), status=1)
    assert "stopped='another trial failed'" in output
    assert len({line.split()[1] for line in home.diary if line.startswith("detector")}) == 1


@pytest.mark.long
def test_ctrl_c_keeps_a_checkpoint_and_twice_leaves_at_once(home: Home) -> None:
    home.counts = (400,)
    home.pace(gan=30, detector=0.5)
    driver = home.launch()
    home.until(lambda: len(home.steps("gan")) >= 2, driver)
    driver.send_signal(signal.SIGINT)
    began = time.monotonic()
    home.finish(driver, status=130)
    print(f"Ctrl-C: left after {time.monotonic() - began:.1f} s")
    assert ("sweep", "KILLED") in runs(home)
    assert list(home.store.glob("checkpoints/*/latest/done"))

    begun = len(home.diary)
    driver = home.launch()
    home.until(lambda: len(home.diary) > begun + 1, driver)
    home_was = home.diary
    driver.send_signal(signal.SIGINT)
    time.sleep(0.5)
    driver.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert driver.wait(PATIENCE_S) != 0
    print(f"Ctrl-C twice: left after {time.monotonic() - began:.1f} s")
    assert len(home.diary) <= len(home_was) + 2

    home.pace(gan=0.5, detector=0.5)
    home.finish()
    assert home.repeated() <= 1
    assert all(status == "FINISHED" for _, status in runs(home))


@pytest.mark.long
def test_requests_of_other_commands_and_the_budget(home: Home) -> None:
    """One trial is stopped by hand and retried; then time is up, and the same command continues."""
    home.counts = (400, 800)
    home.pace(gan=0.5, detector=60)
    record = StudyRecord(Store(home.store), "timed")
    driver = home.launch()
    home.until(lambda: home.steps("detector"), driver)
    record.ask(Request(action="stop", trials=("cpggan 400 seed 0",)))
    home.until(lambda: "cpggan 400 seed 0" in record.outcomes(), driver)
    assert record.outcomes()["cpggan 400 seed 0"].why == "stopped by hand"
    record.ask(Request(action="retry", trials=("cpggan 400 seed 0",)))
    home.pace(gan=0.5, detector=0.5)
    home.finish(driver)
    assert home.repeated() <= 1
    assert len(told(home)) == 2

    home.counts = (400, 800, 1200)
    home.pace(gan=0.5, detector=600)
    output = home.finish(home.launch(budget={"wall_hours": 20 / 3600}), status=1)
    assert "over_budget" in output
    home.pace(gan=0.5, detector=0.5)
    home.finish()


def runs(home: Home) -> set[tuple[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(home.database, home.database)
    experiment = client.get_experiment_by_name("timed")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return {(run.data.tags["metsweep.kind"], run.info.status) for run in found}
