"""Pages over what the other servers hold: optuna-dashboard, Prometheus and Grafana."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import requests
import yaml

from infra.stack.service import HOST, Service, inherited_environment

DAYS_KEPT = 30


def optuna_dashboard(folder: Path, port: int, database: str, password: str, environment: Mapping[str, str]) -> Service:
    """optuna-dashboard, which has no login of its own.

    Args:
        folder: its working directory.
        port: on this machine.
        database: URI of Optuna's database, without a password.
        password: of that database.
        environment: more variables.
    """
    command = (
        sys.executable, "-m", "optuna_dashboard._cli", database, "--host", HOST, "--port", str(port), "--server",
        "wsgiref", "--quiet",
    )  # fmt: skip
    address = f"http://{HOST}:{port}"
    return Service(
        name="optuna-dashboard",
        folder=folder,
        command=command,
        environment=inherited_environment(environment, {"PGPASSWORD": password}),
        address=address,
        check=lambda: requests.get(f"{address}/api/studies", timeout=20).raise_for_status(),
        prepare=lambda: _make_tables(database, password),
    )


def prometheus(
    folder: Path, port: int, ray_dashboard: int, token: Path, environment: Mapping[str, str]
) -> Service | None:
    """Prometheus on the metrics of Ray's nodes, which Ray's dashboard lists; None if it is not installed."""
    program = shutil.which("prometheus")
    if program is None:
        return None
    command = (
        program, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
        f"--storage.tsdb.retention.time={DAYS_KEPT}d", f"--web.listen-address={HOST}:{port}",
    )  # fmt: skip
    # Ray wants the type in this form, which is not Prometheus's default.
    login = {"type": "Bearer", "credentials_file": str(token)}
    nodes = {
        "url": f"http://{HOST}:{ray_dashboard}/api/prometheus/sd",
        "authorization": login,
        "refresh_interval": "10s",
    }
    scrapes = [{"job_name": "ray", "http_sd_configs": [nodes]}]
    settings = yaml.safe_dump({"global": {"scrape_interval": "10s"}, "scrape_configs": scrapes}, sort_keys=False)
    address = f"http://{HOST}:{port}"
    return Service(
        name="Prometheus",
        folder=folder,
        command=command,
        environment=inherited_environment(environment),
        address=address,
        check=lambda: requests.get(f"{address}/api/v1/query", {"query": "up"}, timeout=20).raise_for_status(),
        prepare=lambda: (folder / "prometheus.yml").write_text(settings),
    )


def _make_tables(database: str, password: str) -> None:
    """Make Optuna's, which the dashboard does not."""
    import optuna

    storage = optuna.storages.RDBStorage(database, engine_kwargs={"connect_args": {"password": password}})
    storage.engine.dispose()
