"""A real PostgreSQL that is killed under Optuna: a launch waits for it, loses nothing and writes nothing twice."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from psycopg2 import OperationalError
from sqlalchemy import create_engine, text

from sweep.studies import patient_storage
from sweep.studies.optuna_study import open_storage
from sweep.studies.patient_storage import PatientStorage, open_patiently
from tests.services.postgresql import PostgreSQL, running_postgresql
from trainers.exceptions import TrackingError

pytestmark = pytest.mark.slow
AWAY_S = 2.0
LAUNCHES = 6


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with running_postgresql() as server:
        yield server


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_storage, "PAUSE_S", 0.1)


class Launch:
    """What a launch does with Optuna's database."""

    def __init__(self, server: PostgreSQL, name: str) -> None:
        self.said: list[str] = []
        storage = open_patiently(server.optuna, self.said.append)
        assert isinstance(storage, PatientStorage)
        self.storage = storage
        self.study = optuna.create_study(study_name=name, storage=storage, load_if_exists=True)

    def cell(self) -> None:
        """Draw one, and end it."""
        trial = self.study.ask()
        trial.suggest_float("rate", 0.0, 1.0)
        trial.report(0.5, 1)
        trial.set_user_attr("seen", True)
        self.study.tell(trial, 1.0)

    def add(self) -> None:
        """Record an arm."""
        self.study.add_trial(create_trial(value=1.0))

    def rows(self, server: PostgreSQL) -> list[tuple[Any, ...]]:
        """Number and state of every trial, and how many values and parameters it has."""
        tables = ("trial_values", "trial_params", "trial_intermediate_values", "trial_user_attributes")
        counts = (f"(SELECT count(*) FROM {table} WHERE {table}.trial_id = trials.trial_id)" for table in tables)
        query = (
            f"SELECT number, state, {', '.join(counts)} FROM trials JOIN studies USING (study_id) "
            "WHERE study_name = :name ORDER BY number"
        )
        with create_engine(server.optuna).connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), {"name": self.study.study_name})]


def test_launches_make_the_tables_of_a_new_database_at_once(server: PostgreSQL) -> None:
    with ThreadPoolExecutor(LAUNCHES) as pool:
        storages = list(pool.map(open_storage, [server.mlflow] * LAUNCHES))  # nothing else here uses MLflow's database
    assert {len(storage.get_all_studies()) for storage in storages} == {0}


def test_a_server_that_is_killed_is_waited_for(server: PostgreSQL) -> None:
    launch = Launch(server, "killed")
    launch.cell()
    server.kill()
    back = threading.Timer(AWAY_S, server.start)
    back.start()
    began = time.monotonic()
    launch.cell()
    assert time.monotonic() - began > AWAY_S
    back.join()
    assert launch.rows(server) == [(0, "COMPLETE", 1, 1, 1, 1), (1, "COMPLETE", 1, 1, 1, 1)]
    away, returned = launch.said
    assert "does not answer" in away
    assert "Connection refused" in away
    assert "is back after" in returned
    assert "metsweep:***@" in away


def test_kills_at_any_moment_lose_and_double_nothing(server: PostgreSQL) -> None:
    launch, ended = Launch(server, "often"), threading.Event()

    def kill_often() -> None:
        while not ended.wait(0.2):
            server.kill()
            server.start()

    killer = threading.Thread(target=kill_often)
    killer.start()
    try:
        for _ in range(15):
            launch.cell()
    finally:
        ended.set()
        killer.join()
    assert launch.said
    assert launch.rows(server) == [(number, "COMPLETE", 1, 1, 1, 1) for number in range(15)]


def test_what_was_carried_out_is_not_done_again(server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server commits, and every fifth answer is lost."""
    launch, draw = Launch(server, "lost"), random.Random(0)
    dialect = launch.storage._backend.engine.dialect
    commit = dialect.do_commit

    def commit_and_lose(connection: Any) -> None:
        commit(connection)
        if draw.random() < 0.2:
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", commit_and_lose)
    for _ in range(10):
        launch.study.enqueue_trial({"rate": 0.5})
        launch.cell()
        launch.add()
        launch.cell()
    assert len(launch.said) > 40
    cell, arm = ("COMPLETE", 1, 1, 1, 1), ("COMPLETE", 1, 0, 0, 0)
    assert launch.rows(server) == [(number, *(arm if number % 3 == 1 else cell)) for number in range(30)]


def test_patience_ends(server: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_storage, "PATIENCE_S", 1.0)
    launch = Launch(server, "given-up")
    server.kill()
    try:
        with pytest.raises(TrackingError, match=r"has not answered for . s: .*Connection refused.*launch again"):
            launch.cell()
    finally:
        server.start()


def test_other_errors_are_not_repeated(server: PostgreSQL) -> None:
    launch = Launch(server, "wrong")
    with pytest.raises(KeyError):
        launch.storage.get_trial(12345678)
    launch.cell()
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        launch.storage.set_trial_user_attr(launch.study.trials[0]._trial_id, "late", True)
    assert launch.study.trials[0].state == TrialState.COMPLETE
    assert not launch.said
