"""Examines everything, services at the same time: each may take seconds to fail."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sweep.doctor.finding import MISSING, OK, Finding
from sweep.doctor.machine import examine_machine
from sweep.doctor.named import examine_named, examine_webhook
from sweep.doctor.nodes import examine_nodes
from sweep.doctor.services import examine_cohort, examine_store, mlflow, open_store, optuna, registry, variables
from sweep.redaction import without_secrets
from sweep.settings import Settings
from sweep.store import Store
from sweep.text import count_text
from trainers.exceptions import ClusterError

SERVICE_S = 40.0
"""How long a service may take; longer than the clients' own timeouts and retries."""


def examine(settings: Settings, cohort: Path | None = None) -> list[Finding]:
    """Examine this machine, the services of the settings and, where `ray_address` is set, every node of the cluster.

    Args:
        settings: whose services are examined.
        cohort: its folder, looked for here and on the nodes.
    """
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # libpq alone would wait for a server that hangs
    store = open_store(settings.store)
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "store": lambda: [store] if isinstance(store, Finding) else examine_store(store),
        "MLflow": lambda: [mlflow(settings.tracking_uri)],
        "Optuna": lambda: [optuna(settings.optuna_storage)],
    }
    if (elsewhere := settings.registry_uri) is not None:
        checks["MLflow registry"] = lambda: [registry(elsewhere)]
    if (webhook := settings.notify_webhook) is not None:
        checks["notify_webhook"] = lambda: [examine_webhook(webhook)]
    if cohort is not None:
        checks["cohort"] = lambda: [examine_cohort(cohort)]
    running = [_Check(what, check) for what, check in checks.items()]
    findings = [*variables(), *examine_machine(), *examine_named(settings)]
    deadline = time.monotonic() + SERVICE_S
    found = [finding for check in running for finding in check.findings(deadline)]
    usable = None if isinstance(store, Finding) or _unusable(found) else store
    return [*findings, *found, *_ray(settings, usable, cohort)]


class _Check(threading.Thread):
    """One check on a thread of its own, which the end of the command does not wait for."""

    def __init__(self, what: str, check: Callable[[], Iterable[Finding]]) -> None:
        super().__init__(daemon=True)
        self._what, self._check = what, check
        self._found: list[Finding] = []
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._found = list(self._check())
        except BaseException as error:  # raised by `findings`
            self._error = error

    def findings(self, deadline: float) -> list[Finding]:
        self.join(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            raise self._error
        if self.is_alive():
            return [Finding(self._what, MISSING, f"no answer within {SERVICE_S:.0f} s", "Restart that service.")]
        return self._found


def _unusable(found: Iterable[Finding]) -> bool:
    return any(finding.what == "store" and finding.state == MISSING for finding in found)


def _ray(settings: Settings, store: Store | None, cohort: Path | None) -> Iterator[Finding]:
    address = settings.ray_address
    if address is None:
        yield Finding("Ray", OK, "on this machine alone, started with a command (RAY_ADDRESS is not set)")
        return
    from sweep.engine.cluster import connected, ray_cluster

    shown = without_secrets(address)
    try:
        with ray_cluster(address, []):
            has = connected()
            size = f"{count_text(len(has.nodes), 'node')}, {has.total('CPU'):g} CPUs, {has.total('GPU'):g} GPUs"
            yield Finding("Ray", OK, f"{size} at {shown}")
            yield from examine_nodes(settings, store, cohort)
    except ClusterError as error:
        yield Finding("Ray", MISSING, f"not reachable at {shown}", str(error))
