"""Asks the head of a Ray cluster whether it admits this user; Ray's own client tries for long and gives no reason."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, cast

from sweep.engine.ray_token import admitted
from sweep.redaction import without_secrets
from sweep.setting_values import host_and_port
from trainers.exceptions import ClusterError

SECONDS_TO_ANSWER = 5.0
REMEDY = "Start Ray there (`ray start --head`), correct RAY_ADDRESS, or unset it to use this machine alone."


@contextmanager
def reached(address: str) -> Iterator[None]:
    """Within the block Ray may connect to the cluster, with the token that it asks for.

    Args:
        address: as RAY_ADDRESS (`host:port`, `auto` or `local`).

    Raises:
        ClusterError: no Ray has this address, or the cluster refuses this user.
    """
    if address == "local":
        yield
        return
    shown = without_secrets(address)
    place = _address_on_this_machine() if address == "auto" else address
    host, port = host_and_port(place)
    try:
        socket.create_connection((host, port), timeout=SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise ClusterError(f"Cannot connect to Ray at {shown}: {error.strerror or error}. {REMEDY}") from None
    with admitted(shown, functools.partial(_admits, place, shown)):
        yield


def _address_on_this_machine() -> str:
    from ray._private.services import canonicalize_bootstrap_address

    address = canonicalize_bootstrap_address("auto")
    if address is None:
        raise ClusterError(f"RAY_ADDRESS is 'auto', but no Ray runs on this machine. {REMEDY}")
    return address


def _admits(place: str, shown: str) -> bool:
    """Whether the head answers, instead of asking for another token."""
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    gcs: Any = gcs_service_pb2
    with closing(cast(grpc.Channel, init_grpc_channel(place))) as channel:
        try:
            head = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            head.CheckAlive(gcs.CheckAliveRequest(), timeout=SECONDS_TO_ANSWER)
        except grpc.RpcError as error:
            code = cast(grpc.Call, error).code()
            if code == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise ClusterError(
                f"Cannot connect to Ray at {shown}: the head of a Ray cluster does not answer there ({code.name}). The "
                f"port of RAY_ADDRESS is that of `ray start --head`, 6379 by default. {REMEDY}"
            ) from None
    return True
