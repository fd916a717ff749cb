"""The ports of the servers, and who else listens on them."""

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


def strangers(server: str, leader: Process, ports: Mapping[str, int]) -> list[str]:
    """In words, who listens on the ports of a server whose leader has ended, except for what is left of the server."""
    left = {process.pid for process in family(leader)}
    own = {ports[name] for name in LISTENS.get(server, ())}
    if server == "SeaweedFS":
        own |= {port + GRPC_OFFSET for port in own}
    listening = [seen for seen in psutil.net_connections("tcp") if seen.status == psutil.CONN_LISTEN]
    return [
        f"Port {seen.laddr.port} of {server} is used by {_name_of(seen.pid)}"
        for seen in listening
        if seen.laddr and seen.laddr.port in own and seen.pid not in left
    ]


def _name_of(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.Error:
        return f"process {pid}"
