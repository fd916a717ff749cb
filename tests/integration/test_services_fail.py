"""Services that fail during a launch, and a store that two users share: nothing is lost, done or logged twice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sweep.store import Store
from tests.integration.survival import Home, RayHead
from tests.services.forward import Forwarder, forwarding
from tests.services.mlflow_server import MLflowServer, mlflow_server
from tests.services.postgresql import PostgreSQL, running_postgresql
from tests.services.seaweedfs import BUCKET, SeaweedFS
from tests.sweep.fixed_time import STEPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

COUNTS = (400, 800)
SEARCH = {
    "arms": [{"variant": "none"}],
    "space": {"variant": {"choice": ["cpggan"]}, "count": {"int": [400, 800], "step": 20}},
    # Validation figures go to Optuna; too few cells end for one to be pruned.
    "search": {"method": "random", "seed": 2, "trials": 3, "pruning": "median", "startup_trials": 3},
    "detector": {"steps": STEPS},
}


@dataclass
class Services:
    """All that a cluster's launch uses."""

    s3: SeaweedFS
    s3_at: str
    """Where launches reach S3."""
    on_the_way: Forwarder
    """Stands between launches and S3."""
    postgresql: PostgreSQL
    mlflow: MLflowServer
    ray: RayHead

    def home(self, folder: Path, *, store: str, counts: tuple[int, ...] = COUNTS, **study: Any) -> Home:
        """A working directory of a study with its name."""
        folder.mkdir()
        return Home(
            folder,
            self.ray.address,
            counts,
            tracking_uri=self.mlflow.uri,
            tracked=self.postgresql.mlflow,
            store_uri=f"s3://{BUCKET}/{store}",
            optuna_uri=self.postgresql.optuna,
            study=folder.name,
            environment={"AWS_ENDPOINT_URL_S3": self.s3_at},
            more=study,
        )


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Running; this process reads the same stores."""
    s3, before = SeaweedFS(tmp_path_factory.mktemp("seaweedfs")), dict(os.environ)
    os.environ |= s3.environment
    try:
        s3.start()
        with (
            forwarding(s3.endpoint) as (s3_at, on_the_way),
            running_postgresql() as postgresql,
            mlflow_server(tmp_path_factory.mktemp("mlflow"), postgresql.mlflow) as mlflow,
        ):
            mlflow.start()
            ray = RayHead(4, {"AWS_ENDPOINT_URL_S3": s3_at})
            try:
                ray.start()
                yield Services(s3, s3_at, on_the_way, postgresql, mlflow, ray)
            finally:
                ray.close()
    finally:
        s3.kill()
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(scope="module")
def users(services: Services, tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Home]:
    """Two who launched at the same time, with one store, studies that share a GAN and an arm."""
    root = tmp_path_factory.mktemp("users")
    homes = services.home(root / "first", store="shared"), services.home(root / "second", store="shared", counts=(400,))
    for home in homes:
        home.pace(gan=5, detector=1)
    for home, driver in [(home, home.launch()) for home in homes]:
        home.finish(driver)
    return homes


@pytest.fixture(scope="module")
def undisturbed(users: tuple[Home, Home]) -> dict[str, Any]:
    """What the study finds while all services work."""
    return found(users[0])


def found(home: Home) -> dict[str, Any]:
    """The table of a study, without its name."""
    table = home.table()
    table["mlflow"] = [(kind, name.replace(home.study, ""), figures) for kind, name, figures in table["mlflow"]]
    return table


def assert_nothing_is_lost_or_doubled(home: Home, undisturbed: dict[str, Any]) -> None:
    """Or left half-made."""
    assert home.repeated() == 0
    assert made(home) == {"prepare": 1, "gan": 1, "synthesize": 2, "detector": 2, "evaluate": 2}
    assert found(home) == undisturbed
    store = Store(home.store_uri)
    assert not [*store.list("checkpoints"), *store.list("leases"), *store.list("tmp")]


def made(home: Home) -> dict[str, int]:
    """How many artifacts of each kind the store holds."""
    store = Store(home.store_uri)
    return {kind: len(store.keys(kind)) for kind in ("prepare", "gan", "synthesize", "detector", "evaluate")}


def test_what_two_users_studies_share_is_made_once(users: tuple[Home, Home]) -> None:
    steps = Counter(line for home in users for line in home.diary)
    assert max(steps.values()) == 1, steps
    assert made(users[0]) == {"prepare": 1, "gan": 1, "synthesize": 2, "detector": 2, "evaluate": 2}
    for home in users:
        kinds = [kind for kind, *_ in home.logged()]
        assert kinds == ["gan", "sweep", *["trial"] * len(home.counts)]
        assert [state for state, *_ in home.told()] == ["COMPLETE"] * len(home.counts)


def test_s3_is_killed_and_then_mlflow(services: Services, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    home = services.home(tmp_path / "killed", store="killed")
    home.pace(gan=5, detector=1)
    driver = home.launch()
    home.until(lambda: len(home.steps("gan")) >= 3, driver)
    services.s3.kill()
    services.s3.start()
    services.mlflow.kill()
    home.until(lambda: "The study continues without MLflow" in home.output, driver)
    services.mlflow.start()
    home.finish(driver)
    assert_nothing_is_lost_or_doubled(home, undisturbed)


def test_s3_is_slow_and_fails_now_and_then(services: Services, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    home = services.home(tmp_path / "s3-slow", store="s3-slow")
    home.pace(gan=1, detector=1)
    way = services.on_the_way
    way.delay_s, way.failing, way.failed = 0.2, 0.05, 0
    try:
        home.finish()
    finally:
        way.delay_s = way.failing = 0.0
    assert way.failed > 1, "of either kind"
    assert_nothing_is_lost_or_doubled(home, undisturbed)


def test_postgresql_of_optuna_and_mlflow_is_killed(services: Services, tmp_path: Path) -> None:
    """While cells of a search are drawn and report to it."""
    home = services.home(tmp_path / "postgresql-killed", store="postgresql-killed", **SEARCH)
    home.pace(gan=0.5, detector=5)
    driver = home.launch()
    home.until(lambda: home.steps("detector"), driver)
    services.postgresql.kill()
    home.until(lambda: "Optuna's database" in home.output, driver)
    home.until(lambda: "The study continues without MLflow" in home.output, driver)
    services.postgresql.start()
    output = home.finish(driver)
    assert "is back after" in output
    assert home.repeated() == 0
    cells = home.told()
    assert [state for state, *_ in cells] == ["COMPLETE"] * SEARCH["search"]["trials"]
    assert {value for *_, (value,) in cells} < set(home.table()["figures"].values())
    trials = [*SEARCH["arms"], *cells]
    assert sorted(kind for kind, *_ in home.logged()) == ["gan", "sweep", *["trial"] * len(trials)]
