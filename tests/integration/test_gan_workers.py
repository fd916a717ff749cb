"""A GAN on a real Ray of two nodes with a worker each: first a worker is killed, then a whole node is lost."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from sweep.engine.cluster import LOCAL_ENVIRONMENT, RAY_ENVIRONMENT, connected
from tests.trainers.gan.tiny_runs import make_slices, tiny
from tests.trainers.ranks import join_group, run_ranks
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import open_slice_set
from trainers.distributed import Context, Placement, WorkerResources, train_on_ray
from trainers.exceptions import ClusterError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONFIG = tiny(total_kimg=0.2, checkpoint_kimg=0.05)
KILLED_AT, LOST_AT = 72, 128
"""Images: between the checkpoints after 56, 104 and 152."""
ROUNDING = 1e-5
"""Weights of one worker against those of two, 12 steps later: their gradients are summed in another order."""


class Watched(Context):
    """Writes down who trains and what rank 0 reports; in a disturbed run, rank 1 dies twice."""

    def __init__(self, placement: Placement, folder: Path, disturbed: bool) -> None:
        super().__init__(placement, FolderCheckpoints(folder / "checkpoints"), lambda *_: None)
        self._folder, self._disturbed = folder, disturbed
        (folder / f"pid-{self.rank}").write_text(str(os.getpid()))
        if self.rank == 0:
            self._note("starts", self.world_size)

    def progress(self, done: int, total: int, metrics: Mapping[str, float]) -> None:
        if self.rank != 0:
            return
        self._note("reports", [done, {name: value for name, value in metrics.items() if name != "gan/sec_per_kimg"}])
        marker = self._folder / f"died-{done}"
        if not self._disturbed or done not in (KILLED_AT, LOST_AT) or marker.exists():
            return
        other = int((self._folder / "pid-1").read_text())
        marker.touch()
        if done == KILLED_AT:
            os.kill(other, signal.SIGKILL)
        while Path(f"/proc/{other}").exists():  # of LOST_AT: the test takes its node away
            time.sleep(0.05)

    def _note(self, what: str, value: object) -> None:
        with (self._folder / what).open("a") as file:
            file.write(f"{json.dumps(value)}\n")


def train(slices: Path, folder: Path, disturbed: bool, placement: Placement) -> None:
    from trainers.gan.training import train_gan

    out = folder / f"out-{placement.rank}"
    out.mkdir(exist_ok=True)
    train_gan(CONFIG, open_slice_set(slices), out, Watched(placement, folder, disturbed))


def train_undisturbed(rank: int, slices: Path, folder: Path) -> None:
    join_group(rank, folder / "group")
    train(slices, folder, False, Placement(rank, 2, torch.device("cpu")))
    dist.destroy_process_group()


def take_away(cluster: Any, node: Any, marker: Path) -> None:
    """Remove a node as soon as a run has come to the point; the daemon thread that waits ends with its process."""
    while not marker.exists():
        time.sleep(0.05)
    cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_slices(tmp_path_factory.mktemp("slices")).path


@pytest.fixture(scope="module")
def undisturbed(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of two workers without Ray."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_ranks(train_undisturbed, slices, folder)
    return folder


@pytest.fixture(scope="module")
def disturbed(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an elastic run on Ray that loses a worker, which comes back, and then a node, which does not."""
    folder = tmp_path_factory.mktemp("disturbed")
    # A second Ray in the process of the other tests loses its controller before it starts.
    spawn(train_disturbed, (slices, folder))
    return folder


def train_disturbed(_: int, slices: Path, folder: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    from tests.services.patient_ray import be_patient

    os.environ |= RAY_ENVIRONMENT | LOCAL_ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100_000_000}
    be_patient()
    cluster = Cluster(True, head_node_args={**small, "include_dashboard": False})
    second = cluster.add_node(**small)
    ray.init(cluster.address, log_to_driver=False)
    threading.Thread(target=take_away, args=(cluster, second, folder / f"died-{LOST_AT}"), daemon=True).start()
    try:
        train_on_ray(
            partial(train, slices, folder, True),
            name="disturbed",
            storage=str(folder / "ray"),
            resources=WorkerResources(workers=2, min_workers=1),
        )
        # Ray has one CPU left.
        connected().refuse_infeasible([WorkerResources(workers=2, min_workers=1)])
        with pytest.raises(ClusterError, match="2 workers of 1 CPUs were asked for, but the cluster has 1"):
            connected().refuse_infeasible([WorkerResources(workers=2)])
    finally:
        ray.shutdown()
        cluster.shutdown()


def noted(folder: Path, what: str) -> list[Any]:
    return [json.loads(line) for line in (folder / what).read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "out-0" / "generator.pt", weights_only=True)


def test_rank_0_alone_writes(undisturbed: Path) -> None:
    assert noted(undisturbed, "starts") == [2]
    assert [done for done, _ in noted(undisturbed, "reports")] == list(range(8, 208, 8))
    assert not list((undisturbed / "out-1").iterdir())


def test_a_lost_worker_costs_the_steps_since_the_last_checkpoint_alone(disturbed: Path) -> None:
    assert noted(disturbed, "starts") == [2, 2, 1]
    assert [done for done, _ in noted(disturbed, "reports")] == [
        *range(8, KILLED_AT + 8, 8), *range(64, LOST_AT + 8, 8), *range(112, 208, 8),
    ]  # fmt: skip


def test_after_a_killed_worker_the_run_is_the_undisturbed_one_bit_for_bit(undisturbed: Path, disturbed: Path) -> None:
    expected = dict(noted(undisturbed, "reports"))
    for done, metrics in noted(disturbed, "reports")[: KILLED_AT // 8 + (LOST_AT - 56) // 8]:
        assert metrics == expected[done], done


def test_with_one_node_left_it_ends_as_with_two(undisturbed: Path, disturbed: Path) -> None:
    straight, elastic = weights(undisturbed), weights(disturbed)
    for name, value in straight.items():
        torch.testing.assert_close(elastic[name], value, rtol=0, atol=ROUNDING, msg=name)
