"""Nodes that an autoscaler may add count as room, as far as the head's labels say."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.engine.cluster import Capacity
from sweep.engine.growth import CPUS, GPUS, NODES, nodes_to_come
from trainers.distributed import WorkerResources
from trainers.exceptions import ClusterError

LABELS = {NODES: "3", CPUS: "8", GPUS: "1", "ray.io/node-id": "ab"}


def node(**labels: str) -> dict[str, Any]:
    return {"Alive": True, "Resources": {"CPU": 4.0}, "Labels": labels}


def test_the_nodes_that_run_are_taken_off() -> None:
    each = {"CPU": 8.0, "GPU": 1.0}
    assert nodes_to_come([node(**LABELS)]) == (each, each, each)
    assert nodes_to_come([node(), node(**LABELS), node()]) == (each,)
    assert nodes_to_come([node(**LABELS), *[node()] * 5]) == ()


def test_a_cluster_without_the_labels_does_not_grow() -> None:
    assert nodes_to_come([]) == ()
    assert nodes_to_come([node(), {"Alive": True}]) == ()


def test_a_head_alone_has_room_for_what_may_come() -> None:
    small = Capacity(({"CPU": 4},))
    growing = Capacity(small.nodes, nodes_to_come([node(**LABELS)]))
    needs = [WorkerResources(workers=3, cpus_per_worker=8, gpus_per_worker=1)]
    with pytest.raises(ClusterError, match="A worker needs 8 CPUs, but the largest node has 4"):
        small.refuse_infeasible(needs)
    growing.refuse_infeasible(needs)
    assert (growing.total("CPU"), growing.total("GPU")) == (28, 3)
    with pytest.raises(ClusterError, match="4 workers of 1 GPUs were asked for, but the cluster has 3"):
        growing.refuse_infeasible([WorkerResources(workers=4, gpus_per_worker=1)])


@pytest.mark.parametrize("text", ["", "-1", "many", "1.5", "²", "99999"])
def test_a_label_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ClusterError, match=r"The label metsweep/nodes .* whole number up to 10,000"):
        nodes_to_come([node(**LABELS | {NODES: text})])
