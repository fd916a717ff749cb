"""Where Ray puts a training run's workers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from torch.multiprocessing.spawn import spawn

from sweep.engine.cluster import LOCAL_ENVIRONMENT, RAY_ENVIRONMENT
from trainers.distributed import Placement, WorkerResources, train_on_ray

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def run(_: int, folder: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    from tests.services.patient_ray import be_patient

    os.environ |= RAY_ENVIRONMENT | LOCAL_ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    small: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 100_000_000}
    be_patient()
    cluster = Cluster(True, head_node_args={**small, "include_dashboard": False})
    cluster.add_node(**small)
    ray.init(cluster.address, log_to_driver=False)

    def loop(placement: Placement) -> None:
        node = ray.get_runtime_context().get_node_id()
        (folder / f"{placement.world_size}-{placement.rank}.json").write_text(json.dumps(node))

    try:
        for strategy in ("strict_pack", "strict_spread"):
            resources = WorkerResources.model_validate({"workers": 2, "placement": strategy})
            train_on_ray(loop, name=strategy, storage=str(folder / "ray"), resources=resources)
            nodes = [json.loads((folder / f"2-{rank}.json").read_text()) for rank in range(2)]
            (folder / strategy).write_text(str(len(set(nodes))))
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_workers_go_to_one_node_or_to_a_node_each(tmp_path: Path) -> None:
    # A second Ray in the process of the other tests loses its controller before it starts.
    spawn(run, (tmp_path,))
    assert (tmp_path / "strict_pack").read_text() == "1"
    assert (tmp_path / "strict_spread").read_text() == "2"
