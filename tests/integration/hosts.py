"""A Ray cluster of three hosts without a shared disk: artifacts lie in S3, runs in MLflow, both outside the hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from sweep.store import Store
from tests.services.forward import forwarding
from tests.services.hosts import GCS_PORT, Host, Network, title_of, until
from tests.services.mlflow_server import MLflowServer
from tests.services.seaweedfs import BUCKET, SeaweedFS

CPUS = 2
"""Of a worker's host: room for a whole run of two workers."""


@dataclass
class Cluster:
    """The hosts and the services that they use."""

    network: Network
    head: Host
    """Holds Ray's head and nothing that trains."""
    workers: tuple[Host, Host]
    mlflow: MLflowServer
    tracking_uri: str

    def start_worker(self, worker: Host) -> None:
        """Let its Ray join the head's."""
        worker.start_ray(self.head, cpus=CPUS)

    def replace(self, worker: Host) -> None:
        """A fresh host in the place of one that was killed."""
        worker.start()
        self.start_worker(worker)

    def run(self, study: str, *arguments: str, host: Host | None = None) -> subprocess.Popen[bytes]:
        """Start Python on a host, with the services and the store of a study; both workers serve by then."""
        for worker in self.workers:
            if not worker.processes("raylet"):  # too busy to answer the head, which gave it up
                self.start_worker(worker)
        return (host or self.head).run(
            sys.executable, *arguments,
            RAY_ADDRESS=f"{self.head.address}:{GCS_PORT}", METSWEEP_STORE=self.store_uri(study),
            MLFLOW_TRACKING_URI=self.tracking_uri, OPTUNA_STORAGE=f"sqlite:///{self.network.shared / 'optuna.db'}",
        )  # fmt: skip

    def finish(self, driver: subprocess.Popen[bytes], patience_s: float = 600) -> None:
        """Wait for a launch to end well."""
        try:
            driver.wait(patience_s)
        except subprocess.TimeoutExpired:
            titles = {host.name: sorted(map(title_of, host.processes("ray"))) for host in (self.head, *self.workers)}
            raise AssertionError(f"{self._said()}\nThe launch has not ended. Ray's processes: {titles}") from None
        assert driver.returncode == 0, self._said()

    def _said(self) -> str:
        return "\n".join(f"{host.name}: {host.output[-5000:]}" for host in (*self.workers, self.head))

    @staticmethod
    def store_uri(study: str) -> str:
        """Of the study's artifacts."""
        return f"s3://{BUCKET}/{study}"

    def trained_steps(self, study: str) -> int:
        """Of the newest checkpoint of the study's detector; 0 before the first."""
        store = Store(self.store_uri(study))
        steps = [0]
        for key in {name.split("/")[1] for name in store.list("checkpoints")}:
            if folder := store.checkpoints(key).load():
                steps.append(torch.load(folder / "detector.pt", weights_only=True)["step"])
        return max(steps)

    def runs(self, study: str) -> list[str]:
        """Kind and status of every run of a study in MLflow."""
        client = MlflowClient(self.mlflow.uri)
        experiment = client.get_experiment_by_name(study)
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        return sorted(f"{run.data.tags['metsweep.kind']} {run.info.status}" for run in found)


def trains_on(host: Host) -> int:
    """How many workers of a Ray Train run a host has."""
    return len(host.processes("ray::RayTrainWorker"))


def table(uri: str) -> dict[str, Any]:
    """What a study found: the figures of every evaluation, and every detector's history."""
    store = Store(uri)
    figures: dict[str, Any] = {}
    for key in store.keys("evaluate"):
        artifact = store.find("evaluate", key)
        assert artifact is not None
        figures[key] = json.loads((artifact.path / "metrics.json").read_text())
    for key in store.keys("detector"):
        artifact = store.find("detector", key)
        assert artifact is not None
        lines = map(json.loads, (artifact.path / "history.jsonl").read_text().splitlines())
        figures[key] = [{name: value for name, value in line.items() if name != "time"} for line in lines]
    return figures


@contextmanager
def cluster_of_hosts(shared: Path, logs: Path, seaweedfs: SeaweedFS, mlflow: MLflowServer) -> Iterator[Cluster]:
    """Three hosts with a running Ray; nothing is left of them after the block."""
    network = Network(shared, logs)
    try:
        with (
            forwarding(seaweedfs.endpoint, network.address) as (s3, _),
            forwarding(mlflow.uri, network.address) as (tracking_uri, _),
        ):
            network.environment = seaweedfs.environment | {"AWS_ENDPOINT_URL_S3": s3}
            head = network.host("head")
            head.start_ray(cpus=0)
            workers = (network.host("worker1"), network.host("worker2"))
            cluster = Cluster(network, head, workers, mlflow, tracking_uri)
            for worker in workers:
                cluster.start_worker(worker)
            yield cluster
    finally:
        network.close()


__all__ = ["Cluster", "cluster_of_hosts", "table", "trains_on", "until"]
