"""A sweep survives: each disturbance leaves the table of an undisturbed run, and nothing twice."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.survival import (
    COUNTS,
    PATIENCE_S,
    Home,
    RayHead,
    a_disk_at,
    flip_a_bit,
    full,
    kill,
    leader,
    read_only,
)
from tests.services.fake_clock import FakeClock
from tests.services.mlflow_server import mlflow_server
from tests.sweep import conftest
from tests.sweep.fixed_time import STEPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
empty_database = conftest.empty_database

MakeHome = Callable[..., Home]
CPUS = 4
Trouble = Callable[[Path], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def ray_head() -> Iterator[RayHead]:
    head = RayHead(CPUS)
    head.start()
    yield head
    head.close()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, ray_head: RayHead, empty_database: Path) -> Home:
    """An undisturbed run."""
    home = Home(tmp_path_factory.mktemp("reference"), ray_head.address)
    shutil.copy(empty_database, home.folder)
    home.pace(gan=1, detector=1)
    home.finish()
    assert home.repeated() == 0
    return home


@pytest.fixture
def make_home(tmp_path: Path, ray_head: RayHead, reference: Home, empty_database: Path) -> MakeHome:
    """A fresh working directory; the slices are those of the reference."""

    def make(**changes: Any) -> Home:
        home = Home(tmp_path, **{"address": ray_head.address, **changes})
        shutil.copy(empty_database, tmp_path)
        shutil.copytree(reference.store / "prepare", home.store / "prepare", dirs_exist_ok=True)
        return home

    return make


def test_undisturbed(reference: Home) -> None:
    assert reference.output.count("  done in ") == len(reference.artifacts()), reference.output
    table = reference.table()
    assert len(table["figures"]) == len(COUNTS)
    assert [state for state, *_ in table["optuna"]] == ["COMPLETE"] * len(COUNTS)
    assert sorted(kind for kind, *_ in table["mlflow"]) == ["gan", "sweep", *["trial"] * len(COUNTS)]


def test_owner_of_a_shared_gan_is_killed_while_others_wait(make_home: MakeHome, reference: Home) -> None:
    """There is room for one Ray Train run alone: work goes on only if what the dead one held is free again."""
    whole = {"workers": 2, "cpus_per_worker": CPUS // 2}
    home = make_home(more={"resources": {"gan": whole, "detector": whole}})
    home.pace(gan=5, detector=1)
    driver = home.launch()
    home.until(lambda: len(home.steps("gan")) >= 3, driver)
    trial_driver = leader(home, "gan")
    assert trial_driver is not None
    kill(trial_driver)
    home.finish(driver)
    assert home.repeated() <= 1
    assert home.table() == reference.table()


def test_train_worker_is_killed(make_home: MakeHome, reference: Home, ray_head: RayHead) -> None:
    """Ray begins the task again in a new worker, which continues from the checkpoint."""
    home = make_home(counts=COUNTS[:1])
    home.pace(gan=5, detector=1)
    driver = home.launch()
    home.until(lambda: len(home.steps("gan")) >= 3, driver)
    (worker,) = ray_head.family(": gan")
    kill(worker)
    home.finish(driver)
    assert home.repeated() <= 1
    assert home.table() == reference.table_of(home)


@pytest.mark.long
def test_a_race_that_is_killed_after_a_look_goes_on_to_its_end(make_home: MakeHome) -> None:
    arms = [{"variant": "none"}, {"variant": "cpggan", "counts": [400]}]
    race = {"method": "race", "gain": 0.01, "most_seeds": 4}
    home = make_home(more={"arms": arms, "seeds": [0, 1], "search": race})
    home.pace(gan=0.1, detector=1, moody=True)
    driver = home.launch()
    home.until(lambda: "Look at 2 seeds: cpggan 400 " in home.output, driver)
    kill(driver)
    home.finish()
    assert home.output.count("Look at ") == 3, "each look is said once"
    assert "Look at 4 seeds: cpggan 400 " in home.output
    assert home.repeated() <= 2, "of each of two detectors a step"
    trials = [f"{arm} seed {seed}" for arm in ("cpggan 400", "none") for seed in range(4)]
    assert [name for kind, name, _ in home.logged() if kind == "trial"] == trials


@pytest.mark.long
def test_driver_is_killed_at_ten_random_moments(make_home: MakeHome, reference: Home) -> None:
    home = make_home(counts=COUNTS[:2])
    home.pace(gan=20, detector=10)
    moments = random.Random(0)
    finished: dict[str, float] = {}
    for _ in range(10):
        driver = home.launch()
        before = len(home.diary)
        # Half of them while it starts, the others after so many more steps.
        if moments.random() < 0.5:
            time.sleep(moments.uniform(0, 8))
        else:
            more = moments.randint(1, 4)
            home.until(lambda before=before, more=more: len(home.diary) >= before + more, driver)
        kill(driver)
        assert finished.items() <= home.artifacts().items(), "a finished stage ran again"
        finished = home.artifacts()
    home.pace(gan=0, detector=0)
    home.finish()
    assert home.repeated() <= 20
    assert home.table() == reference.table_of(home)


@pytest.mark.long
def test_ray_is_stopped_and_started(make_home: MakeHome, reference: Home, ray_head: RayHead) -> None:
    """The launch ends and says why; the same command continues."""
    home = make_home(counts=COUNTS[:1])
    home.pace(gan=10, detector=1)
    driver = home.launch()
    home.until(lambda: len(home.steps("gan")) >= 3, driver)
    ray_head.kill()
    driver.wait(120)
    assert driver.returncode not in (0, None)
    ray_head.start()
    home.pace(gan=0, detector=0)
    home.finish()
    assert home.repeated() <= 1
    assert home.table() == reference.table_of(home)


def test_two_launches_of_one_study(make_home: MakeHome, reference: Home) -> None:
    """The second refuses, and says where to look; the first never notices."""
    home = make_home(counts=COUNTS[:1])
    home.pace(gan=40, detector=1)
    first = home.launch()
    home.until(lambda: leader(home, "study"), first)
    second = home.launch()
    assert second.wait(PATIENCE_S) == 2, home.output
    assert "Another command is launching study timed" in home.output
    home.pace(gan=0, detector=0)
    home.finish(first)
    assert home.repeated() == 0
    assert home.table() == reference.table_of(home)


def test_flipped_bits_are_found_made_again_and_said(make_home: MakeHome, reference: Home) -> None:
    """One in a result, one in a GAN that a new arm is to draw from."""
    home = make_home(counts=COUNTS[:1])
    home.pace(gan=1, detector=0)
    home.finish()
    for stage in ("gan", "evaluate"):
        (manifest,) = home.store.glob(f"{stage}/*/manifest.json")
        name = {"gan": "history.jsonl", "evaluate": "metrics.json"}[stage]
        flip_a_bit(manifest.with_name(name))
    home.counts = COUNTS[:2]
    output = home.finish()
    assert "is damaged" in output
    assert len(list(home.store.glob("damaged/evaluate/*/reason.txt"))) == 1
    assert len(list(home.store.glob("damaged/gan/*/reason.txt"))) == 1
    # The GAN twice, the first detector and its slices as they were.
    assert home.steps("gan") == 2 * list(range(1, STEPS + 1))
    assert len(home.steps("detector")) == 2 * STEPS
    assert home.table()["figures"] == reference.table_of(home)["figures"]


@pytest.mark.long
@pytest.mark.parametrize("trouble", [read_only, full])
def test_store_and_tracking_are_away(
    make_home: MakeHome, reference: Home, tmp_path: Path, trouble: Trouble, empty_database: Path
) -> None:
    """The tracking server for a minute, the store for half of it: training waits, and goes on where it was."""
    with mlflow_server(tmp_path / "server") as server, a_disk_at(tmp_path / "store"):
        shutil.copy(empty_database, server.folder / "mlflow.db")
        server.start()
        home = make_home(counts=COUNTS[:2], tracking_uri=server.uri, tracked=server.database)
        home.pace(gan=10, detector=5)
        driver = home.launch()
        home.until(lambda: len(home.steps("gan")) >= 3, driver)
        server.kill()
        began = time.monotonic()
        with trouble(home.store):
            time.sleep(5)
            steps = len(home.diary)
            time.sleep(25)
            assert len(home.diary) <= steps + 1, "a stage went on without its checkpoints"
        time.sleep(max(0.0, 60 - (time.monotonic() - began)))
        assert driver.poll() is None or driver.returncode == 0, home.output
        server.start()
        output = home.finish(driver)
        assert "The study continues without MLflow" in output
        assert home.repeated() == 0
        assert home.table() == reference.table_of(home)


@pytest.mark.long
def test_clock_is_set_back(make_home: MakeHome, reference: Home, tmp_path: Path) -> None:
    """By an hour, for all processes at once, while one trains and another waits."""
    clock = FakeClock(tmp_path)
    head = RayHead(CPUS, clock.environment)
    try:
        head.start()
        home = make_home(counts=COUNTS[:2], address=head.address, environment=clock.environment)
        home.pace(gan=5, detector=1)
        driver = home.launch()
        home.until(lambda: len(home.steps("gan")) >= 3, driver)
        clock.set(-3600)
        home.finish(driver)
    finally:
        head.close()
    finished = home.artifacts()
    assert min(value for name, value in finished.items() if name.startswith("evaluate")) < time.time() - 3000
    assert home.repeated() == 0
    assert home.table() == reference.table_of(home)
