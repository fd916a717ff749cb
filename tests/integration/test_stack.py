"""`metsweep stack`: quickstart against its servers equals the embedded default; what they keep, hide and leave."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
import requests
from botocore.exceptions import ClientError

from infra.stack.credentials import Credentials
from infra.stack.seaweedfs import BUCKET, Identity
from infra.stack.service import HOST, family, is_alive
from infra.stack.stack import State

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
QUICKSTART = (
    "count_scale=0.002", "synthesis.shard_size=8", "gan.total_kimg=0.4", "gan.width=0.1", "gan.fade_kimg=0.02",
    "gan.stable_kimg=0.02", "gan.stable_kimg_at={4: 0.02}", "gan.checkpoint_kimg=0.2", "detector.steps=24",
    "detector.evaluate_every=12", "realism.slices=16",
)  # fmt: skip
"""Five trials and two GANs, as shipped, but each as short as it can be."""
PLACES = ("AWS_", "METSWEEP_", "MLFLOW_", "OPTUNA_", "RAY_")
SERVERS = ["PostgreSQL", "SeaweedFS", "Ray", "MLflow", "optuna-dashboard"]
EMBEDDED = ("metsweep-store", "mlflow.db", "mlruns", "optuna.db")
LIKE_A_DELAYED_ACK_MS = 25


def metsweep(home: Path, *arguments: str, environment: dict[str, str] | None = None, status: int = 0) -> str:
    """Run a command as a user would, on a machine of nothing else; returns stdout, then stderr."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PLACES)}
    own = {"HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run(
        [sys.executable, "-m", "sweep.cli", *arguments],
        cwd=home, env=inherited | own | (environment or {}), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Of a stack that runs; gone after the tests, whatever they did to it."""
    folder = Path(tempfile.mkdtemp(prefix="st", dir="/tmp"))
    folder.chmod(0o755)
    data = folder / "stack"
    try:
        metsweep(folder, "stack", "up", "--dir", str(data))
        yield data
    finally:
        if data.exists():
            metsweep(folder, "stack", "down", "--delete", "--yes", "--dir", str(data))
        subprocess.run(["rm", "-r", str(folder)], check=True)


@pytest.fixture(scope="module")
def credentials(folder: Path) -> Credentials:
    return Credentials.model_validate_json((folder / "credentials.json").read_text())


def state(folder: Path) -> State:
    return State.model_validate_json((folder / "state.json").read_text())


def listed(folder: Path, status: int = 0) -> dict[str, str]:
    """What `status` says of each server."""
    servers = json.loads(metsweep(folder.parent, "stack", "status", "--json", "--dir", str(folder), status=status))
    return {server["name"]: server["state"] for server in servers}


def processes(folder: Path) -> list[psutil.Process]:
    return [process for started in state(folder).started.values() for process in family(started.leader)]


def of_env(folder: Path) -> dict[str, str]:
    """What a shell has after `eval "$(metsweep stack env)"`."""
    printed = metsweep(folder.parent, "stack", "env", "--dir", str(folder))
    dirty = {"AWS_PROFILE": "hospital", "RAY_AUTH_TOKEN": "of another cluster", "PATH": os.environ["PATH"]}
    shell = subprocess.run(
        ["bash", "-c", f"eval {shlex.quote(printed)}; env -0"], env=dirty, check=True, capture_output=True, text=True
    )
    after = dict(line.split("=", 1) for line in shell.stdout.strip("\0").split("\0"))
    return {name: value for name, value in after.items() if name.startswith(PLACES)}


def database(folder: Path, credentials: Credentials, name: str, query: str) -> list[Any]:
    port = state(folder).ports["postgresql"]
    connection = psycopg2.connect(
        host=HOST, port=port, user="metsweep", password=credentials.postgresql, dbname=name, connect_timeout=5
    )
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        return [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()


def test_quickstart_equals_the_embedded_default_and_lies_in_postgresql_and_s3_alone(
    folder: Path, credentials: Credentials, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort"
    metsweep(tmp_path, "cohort", "demo", str(cohort), "--patients", "4", "--normals", "0")
    tables = {}
    for name, environment in (("embedded", {}), ("stack", of_env(folder))):
        home = tmp_path / name
        home.mkdir()
        options = [option for pair in QUICKSTART for option in ("--set", pair)]
        metsweep(home, "launch", "quickstart", "--cohort", str(cohort), *options, environment=environment)
        metsweep(home, "report", "quickstart", "--out", "report", environment=environment)
        tables[name] = (home / "report" / "table1.csv").read_text()
        left = {path.name for path in home.iterdir() if not path.name.startswith(".")}
        assert left == {"report", *(EMBEDDED if name == "embedded" else ())}
    assert tables["stack"] == tables["embedded"]
    assert len(tables["stack"].splitlines()) == 1 + 5

    kinds = database(folder, credentials, "mlflow", "SELECT value FROM tags WHERE key = 'metsweep.kind'")
    assert sorted(kinds) == ["gan", "gan", "sweep", *["trial"] * 5]
    assert database(folder, credentials, "optuna", "SELECT state FROM trials") == ["COMPLETE"] * 5
    where = database(folder, credentials, "mlflow", "SELECT artifact_uri FROM runs")
    assert {uri.partition("/quickstart/")[0] for uri in where} == {f"s3://{BUCKET}/store/mlflow"}
    client = user(credentials).client(state(folder).ports["seaweedfs-s3"])
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    for stage, count in {"prepare": 1, "gan": 2, "synthesize": 2, "detector": 5, "evaluate": 5}.items():
        made = [key for key in keys if key.startswith(f"store/{stage}/") and key.endswith("/manifest.json")]
        assert len(made) >= count, stage
    assert any(key.endswith("/MLmodel") for key in keys)


def user(credentials: Credentials) -> Identity:
    return Identity.user(credentials.s3_key, credentials.s3_secret)


def test_env_points_a_shell_at_the_stack_whatever_it_had_before(folder: Path, credentials: Credentials) -> None:
    environment = of_env(folder)
    ports = state(folder).ports
    assert environment["METSWEEP_STORE"] == f"s3://{BUCKET}/store"
    assert environment["RAY_ADDRESS"] == f"{HOST}:{ports['ray']}"
    assert Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text() == credentials.ray_token
    assert not {"AWS_PROFILE", "RAY_AUTH_TOKEN"} & environment.keys()
    user(credentials).client(ports["seaweedfs-s3"]).put_object(Bucket=BUCKET, Key="store/mine", Body=b"")


def test_secrets_stand_in_private_files_alone(folder: Path, credentials: Credentials) -> None:
    secrets = [secret.encode() for secret in credentials.model_dump().values()]
    arguments = b"\n".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert not [secret for secret in secrets if secret in arguments]
    private = {folder / "credentials.json", folder / "seaweedfs" / "s3.json", folder / "ray" / "token"}
    for path in folder.rglob("*"):
        if path in private:
            assert path.stat().st_mode & 0o777 == 0o600, path
        elif path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret in content], path
    assert folder.stat().st_mode & 0o066 == 0
    assert [path for path in folder.iterdir() if path.is_dir() and path.stat().st_mode & 0o077] == []


def test_servers_listen_on_the_loopback_address_and_refuse_strangers(folder: Path, credentials: Credentials) -> None:
    ports = state(folder).ports
    # Ray opens ports on all addresses, too.
    rays = set(family(state(folder).started["Ray"].leader))
    for process in set(processes(folder)) - rays:
        heard = [connection.laddr for connection in process.net_connections() if connection.status == "LISTEN"]
        assert {address.ip for address in heard} <= {HOST}, process
    mlflow = f"http://{HOST}:{ports['mlflow']}/api/2.0/mlflow/experiments/search?max_results=1"
    login = ("metsweep", credentials.mlflow)
    assert requests.get(mlflow, timeout=20).status_code == 401
    assert requests.get(mlflow, auth=("metsweep", "wrong"), timeout=20).status_code == 401
    assert requests.get(mlflow, auth=login, headers={"Host": "evil.example"}, timeout=20).status_code == 403
    assert requests.get(mlflow, auth=login, timeout=20).status_code == 200
    nodes = f"http://{HOST}:{ports['ray-dashboard']}/nodes?view=summary"
    assert requests.get(nodes, timeout=20).status_code == 401
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host=HOST, port=ports["postgresql"], user="metsweep", password="wrong", dbname="mlflow")
    s3 = ports["seaweedfs-s3"]
    with pytest.raises(ClientError, match="AccessDenied"):
        user(credentials).client(s3).create_bucket(Bucket="another")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        Identity.user(credentials.s3_key, "wrong").client(s3).list_objects_v2(Bucket=BUCKET)


def test_mlflow_answers_without_the_delay_of_several_workers(folder: Path) -> None:
    took = []
    with requests.Session() as session:
        for _ in range(41):
            began = time.perf_counter()
            session.get(f"http://{HOST}:{state(folder).ports['mlflow']}/health", timeout=20).raise_for_status()
            took.append(1000 * (time.perf_counter() - began))
    assert statistics.median(took) < LIKE_A_DELAYED_ACK_MS, took


def test_prometheus_reads_the_metrics_of_ray(folder: Path) -> None:
    if "Prometheus" not in state(folder).started:
        pytest.skip("Prometheus is not installed (apt-get install prometheus)")
    query = f"http://{HOST}:{state(folder).ports['prometheus']}/api/v1/query"
    deadline = time.monotonic() + 60
    while True:
        results = requests.get(query, {"query": 'up{job="ray"}'}, timeout=20).json()["data"]["result"]
        if [result["value"][1] for result in results].count("1") >= 1:
            break
        assert time.monotonic() < deadline, results
        time.sleep(1)


def test_up_repairs_what_died_and_down_leaves_data_alone(folder: Path, credentials: Credentials) -> None:
    home, option = folder.parent, ("--dir", str(folder))
    assert listed(folder).items() >= dict.fromkeys(SERVERS, "usable").items()
    before = state(folder)
    runs = database(folder, credentials, "mlflow", "SELECT count(*) FROM runs")
    for name in ("PostgreSQL", "SeaweedFS", "MLflow"):
        os.kill(before.started[name].leader.pid, signal.SIGKILL)
    wait_until_ended(before, ("PostgreSQL", "SeaweedFS", "MLflow"))
    seen = listed(folder, status=1)
    assert {seen[name] for name in ("PostgreSQL", "SeaweedFS", "MLflow")} == {"stopped"}
    metsweep(home, "stack", "up", *option)
    after = state(folder)
    assert set(listed(folder).values()) == {"usable"}
    assert after.ports == before.ports
    assert after.started["Ray"] == before.started["Ray"]
    assert database(folder, credentials, "mlflow", "SELECT count(*) FROM runs") == runs

    family_of_all = processes(folder)
    metsweep(home, "stack", "down", *option)
    assert list(filter(is_alive, family_of_all)) == []
    sockets = [f"-{port + 10_000}.sock" for port in after.ports.values()]
    assert [path.name for path in Path("/tmp").iterdir() if path.name.endswith(tuple(sockets))] == []
    assert not after.run.exists()
    assert set(listed(folder, status=1).values()) == {"stopped"}
    assert "is down. Start it: metsweep stack up" in metsweep(home, "stack", "env", *option, status=2)


def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(folder: Path, credentials: Credentials) -> None:
    home, option = folder.parent, ("--dir", str(folder))
    with socket.create_server((HOST, state(folder).ports["postgresql"])):
        said = metsweep(home, "stack", "up", *option, status=2)
    assert "PostgreSQL ended. The last lines of" in said
    assert "Address already in use" in said
    assert not [secret for secret in credentials.model_dump().values() if secret in said]

    (folder / "notes.txt").write_text("the user's own")
    metsweep(home, "stack", "down", "--delete", "--yes", *option)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    folder.rmdir()
    assert "holds no stack" in metsweep(home, "stack", "status", *option, status=2)


def wait_until_ended(state: State, names: tuple[str, ...]) -> None:
    leaders = [state.started[name].leader for name in names]
    deadline = time.monotonic() + 60
    while not all(leader.is_gone for leader in leaders):
        assert time.monotonic() < deadline
        time.sleep(0.1)
