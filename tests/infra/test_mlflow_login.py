"""The login that Ray has at MLflow in Kubernetes and Compose: enough for a study, and no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import yaml
from mlflow import MlflowClient

from infra.stack.mlflow_server import USER, mlflow_server_with_logins
from infra.stack.service import free_ports, stop
from tests.source_files import ROOT

pytestmark = pytest.mark.slow
LOGIN = (USER, "password-of-the-pods")
ADMIN = ("admin", "password-of-the-administrator")


def test_the_login_of_pods_runs_studies_and_manages_no_logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = yaml.safe_load((ROOT / "infra/kubernetes/mlflow.values.yaml").read_text())
    (migrate,) = values["extraInitContainers"]
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    secrets = {"MLFLOW_BACKEND_STORE_URI": database, "MLFLOW_TRACKING_PASSWORD": LOGIN[1]}
    for _ in range(2):  # a pod may start again
        subprocess.run([sys.executable, *migrate["command"][1:]], env=os.environ | secrets, cwd=tmp_path, check=True)
    artifacts, (port,) = str(tmp_path / "artifacts"), free_ports(1)
    server = mlflow_server_with_logins(tmp_path, port, (database, database), artifacts, LOGIN[1], "key", {})
    names = ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD")
    server = replace(server, environment={**server.environment, **dict(zip(names, ADMIN, strict=True))})
    leader = server.start()
    try:
        server.wait_until_usable(leader)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", LOGIN[0])
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", LOGIN[1])
        client = MlflowClient(server.address, server.address)
        run = client.create_run(client.create_experiment("table1"))
        client.log_metric(run.info.run_id, "sensitivity", 0.5)
        client.log_text(run.info.run_id, "text", "figures.txt")
        client.create_registered_model("metsweep-detector")
        version = client.create_model_version("metsweep-detector", f"runs:/{run.info.run_id}/", run.info.run_id)
        client.set_registered_model_alias("metsweep-detector", "champion", version.version)
        assert client.get_model_version_by_alias("metsweep-detector", "champion").run_id == run.info.run_id
        new = {"username": "stranger", "password": "password-of-a-stranger"}
        made = [
            requests.post(f"{server.address}/api/2.0/mlflow/users/create", json=new, auth=login, timeout=60).status_code
            for login in (LOGIN, ADMIN)
        ]
        assert made == [403, 200]
    finally:
        stop(leader, signal.SIGTERM)
