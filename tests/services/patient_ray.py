"""The command `ray` for a machine that is busy with other tests: a node may take minutes to start.

Ray itself gives a node 30 s, and the helpers of a node, which import much, 15 s to name their ports. Here the ports are
those of the command line. The server of Ray Client, which nobody uses, is left out.
"""

from __future__ import annotations

import inspect
import time
from typing import Any

from ray import _raylet
from ray._private import services
from ray.scripts import scripts

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
    for helper in ("metrics_agent", "metrics_export", "dashboard_agent_listen", "runtime_env_agent"):
        name = f"{helper}_port"
        key = getattr(raylet, f"{name.upper()}_NAME")
        raylet.persist_port(given["session_dir"], given["node_id"], key, given[name])
    return start_raylet(*arguments, **options)


if __name__ == "__main__":
    services.get_node, services.start_raylet = get_node_patiently, start_raylet_with_ports
    setattr(scripts, "get_ray_client_dependency_error", lambda: "not wanted")  # noqa: B010 (its name is not exported)
    scripts.main()
