"""A study on a cluster of three hosts without a shared disk, of which nodes are lost with and without notice."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweep.store import Store
from tests.integration.hosts import Cluster, cluster_of_hosts, table, trains_on
from tests.services import hosts
from tests.services.fixtures import seaweedfs
from tests.services.hosts import ROOT, left_of, until
from tests.services.mlflow_server import mlflow_server
from tests.services.seaweedfs import SeaweedFS
from tests.services.spot_metadata import spot_metadata
from tests.sweep import conftest
from tests.sweep.fixed_time import STEPS as STEPS_OF_A_STAGE
from tests.sweep.fixed_time import Pace
from tests.trainers.disc_slices import SIZE, tiny_config

__all__ = ["seaweedfs"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(hosts.missing()), reason=hosts.missing()),
]
empty_database = conftest.empty_database

MAKER = """
import sys, time
from pathlib import Path
from tests.services.hosts import Network
shared, elsewhere = map(Path, sys.argv[1:])
network = Network(shared, shared)
host = network.host("host")
assert host.run("touch", str(elsewhere / "file")).wait() != 0
host.run("sleep", "1000")
print(network.link, flush=True)
time.sleep(1000)
"""
"""Makes a host, which may write into the first of two folders alone, and waits to be killed."""
EVERY, STEPS = 20, 80
"""Steps between the detector's checkpoints, and all of them."""
TOLERANCE = 1e-4
GRACE_S = 90.0
"""Between the notice and the end of an instance; AWS gives 120 s."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedFS, empty_database: Path) -> Iterator[Cluster]:
    """Running; this process reads the same store."""
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


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster) -> dict[str, Any]:
    """What the study finds if nothing happens."""
    cluster.finish(cluster.run("undisturbed", *trained(cluster, "undisturbed", detector=0)))
    return table(cluster.store_uri("undisturbed"))


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether two tables hold the same figures, but for rounding."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE) or found != found != expected
    return found == expected


def test_hosts_end_with_the_process_that_made_them(tmp_path: Path) -> None:
    """Even if it is killed: no process, mount or link is left, and no file was written but into the shared folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shared = tmp_path / "shared"
    shared.mkdir()
    with subprocess.Popen([sys.executable, "-c", MAKER, shared, elsewhere], cwd=ROOT, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        link = Path("/sys/class/net", maker.stdout.readline().decode().strip())
        assert link.is_symlink()
        assert left_of(shared)
        maker.kill()
    deadline = time.monotonic() + 100
    while left_of(shared) or link.is_symlink():
        assert time.monotonic() < deadline, left_of(shared)
        time.sleep(0.1)
    assert [path.name for path in (*shared.iterdir(), *elsewhere.iterdir())] == ["host.txt"]


def test_a_node_is_cut_off_and_later_killed(cluster: Cluster, undisturbed: dict[str, Any]) -> None:
    """The other node goes on from the checkpoint in S3, while the lost one still works."""
    stays, lost = cluster.workers
    driver = cluster.run("cut-off", *trained(cluster, "cut-off", detector=60))
    log = cluster.head.log
    until(lambda: trains_on(stays) == trains_on(lost) == 1 and cluster.trained_steps("cut-off"), driver, log)
    lost.cut_off()
    until(lambda: trains_on(stays) == 2, driver, log)
    assert trains_on(lost) == 1
    lost.kill()
    pace(cluster, "cut-off", detector=0)
    cluster.finish(driver)
    assert same(table(cluster.store_uri("cut-off")), undisturbed)
    assert cluster.runs("cut-off") == ["sweep FINISHED", "trial FINISHED"]
    cluster.replace(lost)


@pytest.mark.long
def test_a_spot_instance_is_taken_away_with_notice(cluster: Cluster, undisturbed: dict[str, Any]) -> None:
    """Its workers leave it with a checkpoint of that very step, long before it is gone."""
    first, second = cluster.workers
    with spot_metadata(cluster.network.address) as metadata:
        watch = second.run(
            sys.executable, str(ROOT / "infra" / "aws" / "spot_notice.py"),
            AWS_EC2_METADATA_SERVICE_ENDPOINT=metadata.uri,
        )  # fmt: skip
        driver = cluster.run("notice", *trained(cluster, "notice", detector=10))
        log = cluster.head.log
        until(lambda: trains_on(second) == 1, driver, log)
        metadata.take_away(GRACE_S)
        noticed = time.monotonic()
        until(lambda: cluster.trained_steps("notice") % EVERY, driver, log)
        until(lambda: trains_on(second) == 0, driver, log)
        assert time.monotonic() - noticed < GRACE_S
        assert watch.wait(60) == 0, second.output
    until(lambda: trains_on(first) == 2, driver, log)
    second.kill()
    cluster.finish(driver)
    assert same(table(cluster.store_uri("notice")), undisturbed)
    assert "FailurePolicy" not in cluster.head.output
    cluster.replace(second)


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


@pytest.mark.long
def test_the_host_of_the_driver_and_of_ray_s_head_is_lost(cluster: Cluster) -> None:
    """Another host takes the study over, while a worker of the lost cluster still trains."""
    arguments = timed(cluster, "moved", [400, 800], gan=60, detector=0)
    driver = cluster.run("moved", *arguments)
    until(lambda: len(gan_steps(cluster, "moved")) >= 3, driver, cluster.head.log)
    (orphaned,) = [worker for worker in cluster.workers if worker.processes(": gan")]
    (other,) = set(cluster.workers) - {orphaned}
    cluster.head.kill()
    other.kill()
    cluster.head = cluster.network.host("head2")
    cluster.head.start_ray(cpus=0)
    cluster.replace(other)
    assert orphaned.processes(": gan"), "it ended before the study was taken over"
    pace(cluster, "moved", gan=0, detector=0)
    cluster.finish(cluster.run("moved", *arguments))
    assert_each_step_once(cluster, "moved", repeated=2)
    assert made(cluster, "moved") == {"prepare": 1, "gan": 1, "synthesize": 2, "detector": 2, "evaluate": 2}
    assert cluster.runs("moved") == ["gan FINISHED", "sweep FINISHED", "trial FINISHED", "trial FINISHED"]


def timed(cluster: Cluster, name: str, counts: list[int], **pace_of: float) -> list[str]:
    """Arguments of Python that launch a study of fixed time."""
    (cluster.network.shared / name).mkdir()
    pace(cluster, name, **pace_of)
    arms = json.dumps([{"variant": "cpggan", "counts": counts}])
    return ["-m", "tests.sweep.fixed_time", str(cluster.network.shared / name), f"name={name}", f"arms={arms}"]


def trained(cluster: Cluster, name: str, **pace_of: float) -> list[str]:
    """The same of a study of one real detector, trained by two workers on as many nodes as have room."""
    (cluster.network.shared / name).mkdir()
    pace(cluster, name, **pace_of)
    values = {
        "name": name,
        "arms": [{"variant": "none"}],
        "prepare": {"size": SIZE},
        "gan": {"resolution": SIZE},
        "detector": tiny_config(steps=STEPS, evaluate_every=EVERY).model_dump(),
        "resources": {"detector": {"workers": 2, "placement": "spread"}},
    }
    pairs = (f"{key}={json.dumps(value)}" for key, value in values.items())
    return ["-m", "tests.sweep.fixed_time", str(cluster.network.shared / name), "--trained", *pairs]


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


def made(cluster: Cluster, name: str) -> dict[str, int]:
    """How many artifacts of each kind the store of a study holds."""
    store = Store(cluster.store_uri(name))
    kinds = ("prepare", "gan", "synthesize", "detector", "evaluate")
    return {kind: len(store.keys(kind)) for kind in kinds}
