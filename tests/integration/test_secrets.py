"""A launch on this machine with an S3 store: keys and passwords stand nowhere, and its private folder goes with it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import grpc
import psutil
import pytest
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from tests.integration.survival import Home, kill
from tests.services import fixtures
from tests.services.hosts import title_of
from tests.services.seaweedfs import ACCESS_KEY, BUCKET, SECRET_KEY, SeaweedFS
from tests.sweep import conftest

pytestmark = pytest.mark.slow
seaweedfs, empty_database = fixtures.seaweedfs, conftest.empty_database

PLANTED = {
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "MLFLOW_TRACKING_TOKEN": "planted-mlflow-token",
    "DATABASE_PASSWORD": "planted-database-password",
    "RAY_AUTH_TOKEN": "planted-token-of-another-ray-of-this-user",
}
IN_OPTUNA_STORAGE = "planted-optuna-password"


class Watch:
    """A launch, and what stands in the arguments of every process that it started."""

    def __init__(self, driver: subprocess.Popen[bytes]) -> None:
        self.driver = driver
        self.arguments: set[str] = set()
        self.seen: set[psutil.Process] = set()

    def look(self) -> bool:
        """Note them; whether a worker of Ray is there."""
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.driver.pid).children(recursive=True)
            self.seen |= set(family)
            for process in self.seen:
                with suppress(psutil.Error):
                    self.arguments.add("\0".join(process.cmdline()))
        return any(text.startswith("ray::") for text in self.arguments)


@pytest.fixture
def home(tmp_path: Path, empty_database: Path) -> Iterator[Home]:
    """Its temporary files have a short path, as sockets lie among them; its user has turned Ray's tokens off."""
    for name in ("here", "home"):
        (tmp_path / name).mkdir()
    shutil.copy(empty_database, tmp_path / "here")
    temporary = Path("/tmp") / f"m{os.getpid()}"
    temporary.mkdir()
    own = {"TMPDIR": str(temporary), "HOME": str(tmp_path / "home")}
    yield Home(tmp_path / "here", None, counts=(400,), environment=own)
    subprocess.run(["rm", "-r", str(temporary)], check=True)


def temporary_files(home: Home) -> list[Path]:
    return list(Path(home.environment["TMPDIR"]).iterdir())


def content(folder: Path) -> bytes:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return b"\n".join(path.read_bytes() for path in files)


def answers(port: int, token: str | None) -> bool:
    """Whether the head of a Ray on this machine answers a client that sends this token."""
    headers = (("authorization", f"Bearer {token}"),) if token else ()
    gcs: Any = gcs_service_pb2
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            stub.GetAllNodeInfo(gcs.GetAllNodeInfoRequest(), timeout=10, metadata=headers)
        except grpc.RpcError as error:
            if cast(grpc.Call, error).code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
            return False
    return True


def test_a_killed_launch_and_the_next_keep_their_secrets_and_leave_nothing(home: Home, seaweedfs: SeaweedFS) -> None:
    cache = home.folder / "cache"
    storage = f"sqlite:///{home.folder / 'optuna.db'}?password={IN_OPTUNA_STORAGE}"
    home.environment |= seaweedfs.environment | PLANTED
    home.environment |= {
        "METSWEEP_STORE": f"s3://{BUCKET}/secrets",
        "METSWEEP_CACHE": str(cache),
        "OPTUNA_STORAGE": storage,
    }
    home.counts = (400, 800)
    home.pace(gan=20.0)
    first = Watch(home.launch())
    home.until(lambda: first.look() and home.steps("gan"), first.driver)
    left = temporary_files(home)
    assert [path.name.startswith("metsweep-launch-") for path in left] == [True]
    tokens = [(left[0] / "token").read_text()]
    admits_its_own_token_alone(first, tokens[0])
    kill(first.driver)
    assert temporary_files(home) == left
    psutil.wait_procs(first.seen, timeout=60)
    logs = content(left[0] / "ray")

    home.pace(gan=0.5, detector=0.5, failing=(800,))
    second = Watch(home.launch())
    while second.driver.poll() is None:
        if second.look():
            # It may be gone at any moment.
            with suppress(OSError, ValueError):
                (root,) = temporary_files(home)
                # The token first: Ray may make a folder again that is being removed, without a token.
                assert (root / "token").stat().st_mode & 0o777 == 0o600
                assert root.stat().st_mode & 0o777 == 0o700
                tokens[1:] = [(root / "token").read_text()]
                logs_of_second = content(root / "ray")
        time.sleep(0.2)
    output = home.finish(second.driver, status=1)
    assert temporary_files(home) == []
    assert not (Path(home.environment["HOME"]) / ".ray").exists()
    assert len({*tokens, PLANTED["RAY_AUTH_TOKEN"]}) == 3
    kept = Path(output.partition("Ray's own logs of this launch are kept in ")[2].splitlines()[0].rstrip("."))
    assert kept.is_relative_to(cache)
    assert kept.stat().st_mode & 0o777 == 0o700
    assert (kept / "raylet.out").is_file()
    assert b"raylet" in logs
    assert b"raylet" in logs_of_second
    arguments = first.arguments | second.arguments
    assert any(text.startswith("ray::") for text in second.arguments)

    bodies = all_that_is_stored(seaweedfs)
    everything = b"\n".join(
        ["\n".join(arguments).encode(), logs, logs_of_second, output.encode(), content(home.folder), *bodies]
    )
    for secret in (ACCESS_KEY, SECRET_KEY, IN_OPTUNA_STORAGE, *tokens, *PLANTED.values()):
        assert secret
        assert secret.encode() not in everything, secret


def admits_its_own_token_alone(launch: Watch, token: str) -> None:
    server = next(process for process in launch.seen if title_of(process).partition(" ")[0].endswith("/gcs_server"))
    ports = {connection.laddr.port for connection in server.net_connections() if connection.status == "LISTEN"}
    tokens = (None, "wrong", secrets.token_hex(32), token)
    assert [answers(min(ports), one) for one in tokens] == [False, False, False, True]


def all_that_is_stored(seaweedfs: SeaweedFS) -> list[bytes]:
    """Every object of the store; logs of the study are among them."""
    client = seaweedfs.client()
    objects = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="secrets/")
    stored = [entry["Key"] for page in objects for entry in page["Contents"]]
    bodies = [client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in stored]
    assert any(b"metsweep" in body for body in bodies)
    texts = (body.decode() for key, body in zip(stored, bodies, strict=True) if key.startswith("secrets/logs/timed/"))
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    assert {line["study"] for line in lines} == {"timed"}
    done = {(line["trial"], line["stage"]) for line in lines if line["message"] == "stage done" and line["key"]}
    assert done >= {("cpggan 400 seed 0", "detector"), ("cpggan 400 seed 0", "evaluate")}
    return bodies
