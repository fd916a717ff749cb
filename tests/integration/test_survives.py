"""A sweep survives: each disturbance leaves the table of an undisturbed run, and nothing twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.survival import COUNTS, Home, RayHead, kill, leader, until
from tests.sweep import conftest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
empty_database = conftest.empty_database

MakeHome = Callable[..., Home]


@pytest.fixture(scope="module")
def ray_head() -> Iterator[RayHead]:
    head = RayHead()
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
        shutil.copytree(reference.store / "prepare", home.store / "prepare")
        return home

    return make


def test_undisturbed(reference: Home) -> None:
    table = reference.table()
    assert len(table["figures"]) == len(COUNTS)
    assert [state for state, *_ in table["optuna"]] == ["COMPLETE"] * len(COUNTS)
    assert sorted(kind for kind, *_ in table["mlflow"]) == ["gan", "sweep", *["trial"] * len(COUNTS)]


def test_owner_of_a_shared_gan_is_killed_while_others_wait(make_home: MakeHome, reference: Home) -> None:
    home = make_home()
    home.pace(gan=5, detector=1)
    driver = home.launch()
    until(lambda: len(home.steps("gan")) >= 3, alive=driver)
    owner = leader(home, "gan")
    assert owner is not None
    kill(owner)
    home.finish(driver)
    assert home.repeated() <= 1
    assert home.table() == reference.table()
