"""Notices that the node of a worker will be taken away: a spot instance, a pod that is to end."""

from __future__ import annotations

from contextlib import AbstractContextManager

from sweep.repeating import repeating

LOOK_SECONDS = 5.0
"""How often a worker asks Ray; clouds give notice of half a minute or two."""


class TakenAway:
    """Whether Ray drains the node of this process."""

    def __init__(self) -> None:
        self._noticed = False

    def __call__(self) -> bool:
        """The newest answer; cheap."""
        return self._noticed

    def watched(self) -> AbstractContextManager[None]:
        """Asks Ray while the block runs."""
        return repeating(self._look, lambda: LOOK_SECONDS)

    def _look(self) -> None:
        import ray
        from ray._private.state import state

        if ray.is_initialized():  # stages are also run by hand
            self._noticed = ray.get_runtime_context().get_node_id() in state.get_draining_nodes()
