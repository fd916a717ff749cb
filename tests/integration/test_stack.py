"""`metsweep stack`: quickstart against its servers equals the embedded default; what they keep, hide and leave."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg2
import pytest
import requests
import yaml
from botocore.exceptions import ClientError

from infra.stack.credentials import Credentials
from infra.stack.ports import SEAWEEDFS
from infra.stack.seaweedfs import BUCKET, Identity
from infra.stack.service import HOST, family, free_ports, is_alive
from infra.stack.stack import State
from tests.infra.tools import INFRA, tool
from tests.services.mortal import ends_with_this_process
from tests.services.stack import database, listed, metsweep, of_env, processes, state, user
from tests.trainers.data.phantom import make_cohort

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

QUICKSTART = (
    'arms=[{"variant": "none"}, {"variant": "cpggan", "counts": [4000]}]',
    "count_scale=0.002", "synthesis.shard_size=8", "gan.batch_size=4", "gan.total_kimg=0.2", "gan.width=0.1",
    "gan.fade_kimg=0.01", "gan.stable_kimg=0.01", "gan.stable_kimg_at={4: 0.01}", "gan.checkpoint_kimg=0.1",
    "detector.batch=4", "detector.steps=16", "detector.evaluate_every=8", "detector.initial_confidence=0.01",
    "detector.initial_variation=1", "evaluation.confidence=0.01", "evaluation.bootstraps=100",
    "realism.slices=16", "realism.kid_subsets=2", "realism.permutations=100",
)  # fmt: skip
"""A trial with and one without a GAN, as short as can be; half of the untrained detections count."""
NOT_COMPARED = {"history.jsonl", "system.jsonl"}
"""Files of artifacts that hold times."""
SERVERS = ["PostgreSQL", "SeaweedFS", "Ray", "MLflow", "optuna-dashboard", "Prometheus"]
EMBEDDED = {"metsweep-store", "mlflow.db", "mlruns", "optuna.db"}
LIKE_A_DELAYED_ACK_MS = 25
MONITORING = INFRA / "monitoring"
NOT_HERE = {"ray_metsweep_lease_takeovers_total", "ray_node_gpus_utilization"}
"""Metrics of what the machine does not have and of what does not happen."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Of a stack that runs; gone after the tests, whatever they did to it."""
    folder = Path(tempfile.mkdtemp(prefix="st", dir="/tmp"))
    folder.chmod(0o755)
    data = folder / "stack"
    try:
        metsweep(folder, "stack", "up", "--dir", str(data))
        for started in state(data).started.values():
            ends_with_this_process(started.leader)
        yield data
    finally:
        if data.exists():
            metsweep(folder, "stack", "down", "--delete", "--yes", "--dir", str(data))
        subprocess.run(["rm", "-r", str(folder)], check=True)


@pytest.fixture(scope="module")
def credentials(folder: Path) -> Credentials:
    return Credentials.model_validate_json((folder / "credentials.json").read_text())


@pytest.fixture(scope="module")
def monitoring(folder: Path, credentials: Credentials) -> Iterator[dict[str, str]]:
    """Addresses of a Prometheus with the files of infra/monitoring, and of the launch that it scrapes beside Ray."""
    prometheus, launch = (f"{HOST}:{port}" for port in free_ports(2))
    own = folder.parent / "monitoring"
    shutil.copytree(MONITORING, own)
    (own / "ray-token").write_text(credentials.ray_token)
    config = (own / "prometheus.yml").read_text()
    head = f"{HOST}:{state(folder).ports['ray-dashboard']}"
    (own / "prometheus.yml").write_text(config.replace("ray-head:8265", head).replace("ray-head:9464", launch))
    command = [tool("prometheus"), "--config.file=prometheus.yml", f"--web.listen-address={prometheus}"]
    with (own / "log").open("w") as log, subprocess.Popen(command, cwd=own, stdout=log, stderr=log) as process:
        try:
            yield {"prometheus": prometheus, "launch": launch}
        finally:
            process.kill()


@pytest.fixture(scope="module")
def homes(folder: Path, monitoring: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Working directories in which quickstart was launched, on the embedded default and on the stack."""
    root = tmp_path_factory.mktemp("homes")
    cohort = make_cohort(root / "cohort", patients=4, normals=0)
    options = [option for pair in QUICKSTART for option in ("--set", pair)]
    stack = of_env(folder) | {"METSWEEP_METRICS_ADDRESS": monitoring["launch"]}
    for name, environment in (("embedded", {}), ("stack", stack)):
        (root / name).mkdir()
        launch = ("launch", "quickstart", "--cohort", str(cohort), *options)
        metsweep(root / name, *launch, environment=environment, patient=True)
    return {name: root / name for name in ("embedded", "stack")}


def test_quickstart_equals_the_embedded_default_and_lies_in_postgresql_and_s3_alone(
    folder: Path, credentials: Credentials, homes: dict[str, Path]
) -> None:
    left = {name: {path.name for path in home.iterdir() if path.name[0] != "."} for name, home in homes.items()}
    assert left == {"embedded": EMBEDDED, "stack": set()}
    embedded = {str(path): path.read_bytes() for path in homes["embedded"].rglob("*.*") if path.is_file()}
    bucket = user(credentials).client(state(folder).ports["seaweedfs-s3"])
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [entry["Key"] for page in pages for entry in page["Contents"] if entry["Key"].endswith((".json", ".csv"))]
    stack = {key: bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    assert checksums(stack, "store/manifests/") == checksums(embedded, "manifest.json")
    (expected,) = [content.decode() for path, content in embedded.items() if path.endswith("report/table1.csv")]
    (table,) = [content.decode() for key, content in stack.items() if key.endswith("report/table1.csv")]
    assert table == expected
    arms = list(csv.DictReader(io.StringIO(table)))
    assert all(float(arm["test_fps_per_slice_iou50"]) > 0 for arm in arms), "nothing to compare"

    kinds = database(folder, credentials, "mlflow", "SELECT value FROM tags WHERE key = 'metsweep.kind'")
    assert sorted(kinds) == ["gan", "sweep", *["trial"] * len(arms)]
    assert database(folder, credentials, "mlflow", "SELECT DISTINCT status FROM runs") == ["FINISHED"]
    assert database(folder, credentials, "optuna", "SELECT state FROM trials") == ["COMPLETE"] * len(arms)


def checksums(files: dict[str, bytes], manifest: str) -> dict[tuple[str, str], str]:
    """Stage key and name of a file -> its checksum, of the files of artifacts that do not depend on the clock."""
    manifests = [json.loads(content) for path, content in files.items() if manifest in path]
    return {
        (content["key"], name): file["sha256"]
        for content in manifests
        for name, file in content["files"].items()
        if name not in NOT_COMPARED and not name.startswith("figures/")
    }


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


@pytest.mark.usefixtures("homes")
def test_the_metrics_that_readme_and_alerts_name_are_those_of_a_study(monitoring: dict[str, str]) -> None:
    api = f"http://{monitoring['prometheus']}/api/v1"
    names = requests.get(f"{api}/label/__name__/values", timeout=20).json()["data"]
    exported = {re.sub("_(bucket|count|sum)$", "", name) for name in names} | set(names)
    readme = set(re.findall(r"`((?:ray_)?metsweep_\w+)`", (INFRA / "README.md").read_text()))
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    of_alerts = set(re.findall(r"\b(?:ray|metsweep)_\w+", " ".join(rule["expr"] for rule in rules)))
    assert (readme | of_alerts) - exported <= NOT_HERE
    ours = {name for name in exported if "metsweep_" in name and not name.endswith(("_bucket", "_count", "_sum"))}
    assert ours - readme == set()
    loaded = requests.get(f"{api}/rules", timeout=20).json()["data"]["groups"]
    assert [rule["health"] for group in loaded for rule in group["rules"]] == ["ok"] * len(rules)


def test_prometheus_of_the_stack_reads_the_metrics_of_ray(folder: Path) -> None:
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
    objects = stored(folder, credentials)
    for name in ("PostgreSQL", "SeaweedFS", "MLflow"):
        os.kill(before.started[name].leader.pid, signal.SIGKILL)
    wait_until_ended(before, ("PostgreSQL", "SeaweedFS", "MLflow"))
    seen = listed(folder, status=1)
    assert {seen[name] for name in ("PostgreSQL", "SeaweedFS", "MLflow")} == {"stopped"}
    assert f"Start the servers: metsweep stack up --dir {folder}\n" in metsweep(home, "stack", "env", *option, status=2)
    taken = {"postgresql", "seaweedfs-master"}
    with ExitStack() as others:
        for name in taken:
            others.enter_context(socket.create_server((HOST, before.ports[name])))
        said = metsweep(home, "stack", "up", *option)
    after = state(folder)
    assert set(listed(folder).values()) == {"usable"}
    assert {name for name, port in after.ports.items() if before.ports[name] != port} == taken
    assert f"{after.ports['postgresql']} is used instead" in said
    assert after.started["Ray"] == before.started["Ray"]
    assert database(folder, credentials, "mlflow", "SELECT count(*) FROM runs") == runs
    assert stored(folder, credentials) == objects
    assert f"{HOST}:{after.ports['postgresql']}/optuna" in of_env(folder)["OPTUNA_STORAGE"]

    family_of_all = processes(folder)
    metsweep(home, "stack", "down", *option)
    assert list(filter(is_alive, family_of_all)) == []
    servers = {name.removeprefix("seaweedfs-"): port for name, port in after.ports.items() if name in SEAWEEDFS}
    sockets = [Path(f"/tmp/seaweedfs-{server}-grpc-{port + 10_000}.sock") for server, port in servers.items()]
    assert len(sockets) == 4
    assert not any(path.exists() for path in sockets)
    assert not after.run.exists()
    assert set(listed(folder, status=1).values()) == {"stopped"}
    assert "is down. Start it: metsweep stack up" in metsweep(home, "stack", "env", *option, status=2)


def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(folder: Path, credentials: Credentials) -> None:
    home, option = folder.parent, ("--dir", str(folder))
    (folder / "postgresql" / "data" / "PG_VERSION").unlink()
    said = metsweep(home, "stack", "up", *option, status=2)
    assert "PostgreSQL ended. The last lines of" in said
    assert "is not a valid data directory" in said
    assert not [secret for secret in credentials.model_dump().values() if secret in said]

    (folder / "notes.txt").write_text("the user's own")
    metsweep(home, "stack", "down", "--delete", "--yes", *option)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    folder.rmdir()
    assert "holds no stack" in metsweep(home, "stack", "status", *option, status=2)


def stored(folder: Path, credentials: Credentials) -> dict[str, str]:
    """Name of an object in S3 -> hash of its content, read."""
    bucket = user(credentials).client(state(folder).ports["seaweedfs-s3"])
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="store/")
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    return {key: hashlib.sha256(bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest() for key in keys}


def wait_until_ended(state: State, names: tuple[str, ...]) -> None:
    leaders = [state.started[name].leader for name in names]
    deadline = time.monotonic() + 60
    while not all(leader.is_gone for leader in leaders):
        assert time.monotonic() < deadline
        time.sleep(0.1)
