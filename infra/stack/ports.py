"""The ports of the servers, who needs whose, and who else listens on them."""

from __future__ import annotations

from collections.abc import Mapping

import psutil

from infra.stack import ray_head, seaweedfs
from infra.stack.service import GRPC_OFFSET, family
from sweep.store.process import Process

SEAWEEDFS = tuple(f"seaweedfs-{server}" for server in seaweedfs.SERVERS)
LISTENS = {
    "PostgreSQL": ("postgresql",), "SeaweedFS": SEAWEEDFS, "Ray": tuple(ray_head.PORTS), "MLflow": ("mlflow",),
    "optuna-dashboard": ("optuna",), "Prometheus": ("prometheus",),
}  # fmt: skip
"""Server -> its ports."""
PORTS = tuple(port for ports in LISTENS.values() for port in ports)
USES = {
    "Ray": {"seaweedfs-s3"}, "MLflow": {"postgresql", "seaweedfs-s3"}, "optuna-dashboard": {"postgresql"},
    "Prometheus": {"ray-dashboard"},
}  # fmt: skip
"""Server -> ports of others that it was started with; but Ray does not end for pictures that Prometheus draws it."""


def strangers(server: str, leader: Process | None, ports: Mapping[str, int]) -> dict[str, str]:
    """Port -> in words, who listens on it, of a server that does not run; what is left of it is no stranger.

    Args:
        server: a key of LISTENS.
        leader: of its last start, which has ended; None if it has not been started.
        ports: port -> its number.
    """
    left = {process.pid for process in family(leader)} if leader else set[int]()
    names = {ports[name]: name for name in LISTENS.get(server, ())}
    if server == "SeaweedFS":
        names |= {number + GRPC_OFFSET: name for number, name in names.items()}
    listening = [seen for seen in psutil.net_connections("tcp") if seen.status == psutil.CONN_LISTEN]
    return {
        names[seen.laddr.port]: f"Port {seen.laddr.port} of {server} is used by {_name_of(seen.pid)}"
        for seen in listening
        if seen.laddr and seen.laddr.port in names and seen.pid not in left
    }


def _name_of(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"
