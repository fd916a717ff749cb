"""The command `ray` for a machine that is busy with other tests: a node may take minutes to start.

Ray itself gives a node 30 s, and the helpers of a node, which import much, 15 s to name their ports. Here the ports are
those of the command line, or chosen before. The server of Ray Client, which nobody uses, is left out.
"""

from __future__ import annotations

import inspect
import time
from typing import Any

from ray import _raylet
from ray._private import services
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.scripts import scripts

from infra.stack.service import free_ports

PATIENCE_S = 300.0
raylet: Any = _raylet
get_node, start_raylet = services.get_node, services.start_raylet


def get_node_patiently(*which: Any) -> Any:
    """As `get_node`, once the node has registered."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return get_node(*which)
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def start_raylet_with_ports(*arguments: Any, **options: Any) -> Any:
    """As `start_raylet`, which finds the ports where the helpers would write them."""
    given = inspect.signature(start_raylet).bind(*arguments, **options).arguments
    helpers = ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent")
    for helper, port in zip(helpers, free_ports(len(helpers)), strict=True):
        name = f"{helper}_port"
        given[name] = given[name] or port
        key = getattr(raylet, f"{name.upper()}_NAME")
        raylet.persist_port(given["session_dir"], given["node_id"], key, given[name])
    return start_raylet(**given)


def be_patient() -> None:
    """Nodes that this process starts from now on may take minutes."""
    services.get_node, services.start_raylet = get_node_patiently, start_raylet_with_ports


class PatientNodes(FakeMultiNodeProvider):
    """The nodes that Ray's autoscaler simulates as processes of this machine."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        be_patient()
        super().__init__(provider_config, cluster_name)


if __name__ == "__main__":
    be_patient()
    setattr(scripts, "get_ray_client_dependency_error", lambda: "not wanted")  # noqa: B010 (its name is not exported)
    scripts.main()
