"""What commands ask of S3 does not grow with a study, beyond the pages of listings."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sweep.cli import main
from sweep.report.results import read_results
from sweep.settings import Settings
from sweep.store import Store, s3_bucket
from sweep.store.s3_client import connect
from sweep.studies.opened import OpenedStudy
from sweep.studies.watched_study import WatchedStudy
from tests.services.seaweedfs import BUCKET, SeaweedFS
from tests.sweep.large_study import NAME, finish, write_study

COMMANDS = (("status", NAME), ("plan", NAME), ("store", "ls"))
READING_ALL = COMMANDS[::2]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Kind of request -> how many this process has made of S3."""
    requests: Counter[str] = Counter()

    def counting(*given: Any) -> Any:
        client = connect(*given)
        client.meta.events.register(
            "before-send.s3", lambda event_name, **_: requests.update([event_name.rpartition(".")[2]])
        )
        return client

    monkeypatch.setattr(s3_bucket, "connect", counting)
    return requests


def requests_of_each(study: OpenedStudy, asked: Counter[str]) -> dict[str, Counter[str]]:
    """Command -> requests, once this machine has read every manifest and the figures of every evaluation."""
    made: dict[str, Counter[str]] = {}
    for command in READING_ALL + COMMANDS:
        asked.clear()
        assert main([*command, "--store", study.store.uri]) == 0
        made[" ".join(command)] = Counter(asked)
    asked.clear()
    results = read_results(study.plan(), Store(study.store.uri))
    assert [len(row.results) for row in results.rows if row.measured] == [len(study.study.seeds)] * 10
    made["figures of a report"] = Counter(asked)
    return made


@pytest.mark.slow
def test_requests_do_not_grow_with_a_study(s3: SeaweedFS, asked: Counter[str], tmp_path: Path) -> None:  # noqa: ARG001
    os.environ["OPTUNA_STORAGE"] = f"sqlite:///{tmp_path / 'optuna.db'}"
    of_size: dict[int, dict[str, Counter[str]]] = {}
    for seeds in (1, 3):
        folder = tmp_path / f"{seeds}"
        (folder / "scratch").mkdir(parents=True)
        settings = Settings.from_environment(f"s3://{BUCKET}/requests-{os.getpid()}-{seeds}")
        study = finish(write_study(folder, seeds), settings, folder / "scratch", evaluations=1)
        of_size[seeds] = requests_of_each(study, asked)
    assert of_size[1] == of_size[3]
    for command, requests in of_size[3].items():
        assert requests.total() < 40, f"{command}: {requests}"

    gone = study.plan().trials[-1]
    study.store.backend.remove_artifact(gone.evaluate.name, gone.evaluate.key)
    states = {state.trial.name: state.state for state in WatchedStudy(study).now().trials}
    assert states.pop(gone.name) == "waiting"
    assert set(states.values()) == {"done"}
