"""A study on a cluster of three hosts without a shared disk, of which nodes are lost with and without notice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.hosts import Cluster, cluster_of_hosts
from tests.services import hosts
from tests.services.fixtures import seaweedfs
from tests.services.hosts import until
from tests.services.mlflow_server import mlflow_server
from tests.services.seaweedfs import SeaweedFS
from tests.sweep import conftest
from tests.sweep.fixed_time import STEPS as STEPS_OF_A_STAGE
from tests.sweep.fixed_time import Pace

__all__ = ["seaweedfs"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(hosts.missing()), reason=hosts.missing()),
]
empty_database = conftest.empty_database


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedFS, empty_database: Path) -> Iterator[Cluster]:
    """Running."""
    shared, logs = tmp_path_factory.mktemp("shared"), tmp_path_factory.mktemp("logs")
    before = dict(os.environ)
    os.environ |= seaweedfs.environment | {"METSWEEP_CACHE": str(logs / "cache")}
    try:
        with mlflow_server(logs / "mlflow") as server:
            shutil.copy(empty_database, server.folder / "mlflow.db")
            server.start()
            with cluster_of_hosts(shared, logs, seaweedfs, server) as made:
                yield made
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_a_pod_is_asked_to_end(cluster: Cluster) -> None:
    """Ray answers SIGTERM with a drain: a run of one worker leaves, and no step is done twice."""
    driver = cluster.run("pod", *timed(cluster, "pod", [400], gan=60, detector=0))
    until(lambda: len(gan_steps(cluster, "pod")) >= 3, driver, cluster.head.log)
    (host,) = [worker for worker in cluster.workers if worker.processes(": gan")]
    pace(cluster, "pod", gan=0, detector=0)
    (daemon,) = host.processes("patient_ray start")
    daemon.terminate()
    psutil.wait_procs([daemon], timeout=60)
    assert not host.processes("raylet"), "it drained for longer than its grace time"
    cluster.finish(driver)
    assert_each_step_once(cluster, "pod", repeated=0)
    assert cluster.runs("pod") == ["gan FINISHED", "sweep FINISHED", "trial FINISHED"]
    cluster.start_worker(host)


def timed(cluster: Cluster, name: str, counts: list[int], **pace_of: float) -> list[str]:
    """Arguments of Python that launch a study of fixed time."""
    (cluster.network.shared / name).mkdir()
    pace(cluster, name, **pace_of)
    arms = json.dumps([{"variant": "cpggan", "counts": counts}])
    return ["-m", "tests.sweep.fixed_time", str(cluster.network.shared / name), f"name={name}", f"arms={arms}"]


def pace(cluster: Cluster, name: str, **pace_of: float) -> None:
    """How the stages of a study of fixed time behave from now on."""
    fresh = cluster.network.shared / name / "pace.json.fresh"
    fresh.write_text(Pace.model_validate(pace_of).model_dump_json())
    fresh.rename(fresh.with_suffix(""))


def gan_steps(cluster: Cluster, name: str) -> list[int]:
    """Steps of the study's only GAN, in the order in which they were done."""
    diary = cluster.network.shared / name / "diary.txt"
    lines = diary.read_text().splitlines() if diary.exists() else []
    return [int(line.split()[2]) for line in lines if line.startswith("gan")]


def assert_each_step_once(cluster: Cluster, name: str, repeated: int) -> None:
    """Of the study's only GAN; so many may have been done again, as no checkpoint was kept of them."""
    steps = gan_steps(cluster, name)
    assert sorted(set(steps)) == list(range(1, STEPS_OF_A_STAGE + 1)), steps
    assert len(steps) - STEPS_OF_A_STAGE <= repeated, steps
