"""The nodes that an autoscaler may add to a Ray cluster.

Ray shows drivers only the nodes that run now, of which a cluster that shrinks to its head has none. So whoever sets up
the autoscaler says in labels of the head how far the cluster may grow: a launch then knows what fits, and how many
trials to keep in work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trainers.documents import shown
from trainers.exceptions import ClusterError

NODES, CPUS, GPUS = "metsweep/nodes", "metsweep/node-cpus", "metsweep/node-gpus"
"""Labels of the head: the most nodes beside it, and the CPUs and GPUs of each."""
MOST = 10_000
"""More nodes than a cluster of Ray has, and more CPUs than a node."""


def nodes_to_come(alive: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, float], ...]:
    """The resources of each node that may still be added.

    Args:
        alive: the cluster's nodes as `ray.nodes()` lists them.

    Raises:
        ClusterError: a label holds something else than a number.
    """
    alive = list(alive)
    for node in alive:
        labels = node.get("Labels", {})
        if NODES in labels:
            each = {"CPU": float(_number(labels, CPUS)), "GPU": float(_number(labels, GPUS))}
            return (each,) * max(0, _number(labels, NODES) - (len(alive) - 1))
    return ()


def _number(labels: Mapping[str, str], name: str) -> int:
    text = labels.get(name, "0")
    if not text.isascii() or not text.isdigit() or int(text) > MOST:
        raise ClusterError(
            f"The label {name} of the Ray cluster's head is {shown(text)}; allowed: a whole number up to {MOST:,}. "
            "Correct the file that the cluster was started with."
        )
    return int(text)
