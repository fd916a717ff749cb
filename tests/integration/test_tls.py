"""TLS to S3, MLflow and PostgreSQL, as the settings say: refused without trust, and no login is sent before."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError

from sweep.settings import VARIABLES, Settings
from sweep.store import Store
from sweep.tracking.mlflow_client import connect
from tests.services.fixtures import seaweedfs
from tests.services.mlflow_server import MLflowServer
from tests.services.seaweedfs import BUCKET, SeaweedFS
from tests.services.tls import tls_in_front_of, write_certificate
from trainers.exceptions import StoreError, TrackingError

__all__ = ["seaweedfs"]

pytestmark = pytest.mark.slow
TLS_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""PostgreSQL's SSLRequest: no login has been sent before."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_certificate(tmp_path_factory.mktemp("tls") / "own.pem")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """metsweep.toml of a project with nothing else set; the environment is restored."""
    monkeypatch.chdir(tmp_path)
    with patch.dict(os.environ):
        for name in (name for names in VARIABLES.values() for name in names):
            os.environ.pop(name, None)
        yield tmp_path / "metsweep.toml"


def test_s3(seaweedfs: SeaweedFS, certificate: Path, project: Path) -> None:
    os.environ |= seaweedfs.environment
    os.environ.pop("AWS_ENDPOINT_URL_S3")
    with tls_in_front_of(seaweedfs.ports[3], certificate) as port:
        project.write_text(f's3_endpoint = "https://127.0.0.1:{port}"\n')
        uri = f"s3://{BUCKET}/{uuid.uuid4().hex}"
        with pytest.raises(StoreError, match=r"certificate of .* is not trusted. Set AWS_CA_BUNDLE"):
            Store(uri).check_writable()
        for trust in (f's3_ca_file = "{certificate}"', "s3_insecure_tls = true"):
            project.write_text(f's3_endpoint = "https://127.0.0.1:{port}"\n{trust}\n')
            Store(uri).check_writable()


def test_mlflow(certificate: Path, project: Path) -> None:
    server = MLflowServer(project.parent)
    server.start()
    try:
        with tls_in_front_of(int(server.uri.rpartition(":")[2]), certificate) as port:
            uri = f"https://127.0.0.1:{port}"
            with pytest.raises(TrackingError, match="CERTIFICATE_VERIFY_FAILED"):
                connect(uri)
            for trust in (f'mlflow_ca_file = "{certificate}"', "mlflow_insecure_tls = true"):
                project.write_text(f'tracking_uri = "{uri}"\n{trust}\n')
                with patch.dict(os.environ):
                    client = connect(Settings.from_environment().tracking_uri)
                    assert [experiment.name for experiment in client.search_experiments()] == ["Default"]
    finally:
        server.kill()


def test_postgresql(project: Path) -> None:
    project.write_text('postgresql_sslmode = "verify-full"\n')
    Settings.from_environment()
    asked = []

    def refuse_tls(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            asked.append(connection.recv(1024))
            connection.sendall(b"N")  # as PostgreSQL without certificates does

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=refuse_tls, args=(listening,), daemon=True).start()
        engine = sqlalchemy.create_engine(f"postgresql+psycopg2://me:hunter2@127.0.0.1:{listening.getsockname()[1]}/x")
        with pytest.raises(OperationalError, match="server does not support SSL, but SSL was required"):
            engine.connect()
    assert asked == [TLS_REQUEST]
