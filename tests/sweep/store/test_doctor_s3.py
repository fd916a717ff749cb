"""What the doctor finds of a store on S3."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from sweep.doctor import MISSING, OK, Finding
from sweep.doctor.services import examine_store
from sweep.store import Store
from sweep.store.s3_bucket import S3Bucket
from sweep.store.s3_trial import try_requests
from tests.services.seaweedfs import BUCKET, READER_KEY, SeaweedFS

pytestmark = pytest.mark.usefixtures("s3")


def findings(uri: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine_store(Store(uri))}


def test_every_request_of_a_store_is_tried_and_nothing_is_left() -> None:
    uri = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    found = findings(uri)
    kinds = "list, write, read, conditional write, multipart upload, delete"
    assert found["store"] == Finding("store", OK, f"{uri}: {kinds}")
    assert found["clock against S3"].state == OK
    assert found["disk of the store"].state == OK
    assert not list(Store(uri).backend.entries())


@pytest.mark.parametrize(
    ("name", "value", "uri", "found", "fix"),
    [
        ("AWS_ACCESS_KEY_ID", READER_KEY, f"s3://{BUCKET}/x", "list; no write", "needs s3:PutObject"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", f"s3://{BUCKET}/x", "x: no list", "refuses the credentials"),
        ("AWS_REGION", "us-east-1", "s3://missing/x", "x: no list", "There is no bucket missing"),
        ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1", f"s3://{BUCKET}/x", "x: no list", "S3 does not answer"),
    ],
)
def test_what_is_refused_is_named_with_the_permission(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, uri: str, found: str, fix: str
) -> None:
    monkeypatch.setenv(name, value)
    began = time.monotonic()
    store = findings(uri)["store"]
    assert time.monotonic() - began < 15
    assert store.state == MISSING
    assert found in store.found
    assert fix in store.fix


def test_a_server_without_conditional_writes_is_refused(s3: SeaweedFS) -> None:
    class Unconditional(S3Bucket):
        def request(self, operation: str, name: str, **parameters: Any) -> dict[str, Any]:
            parameters.pop("IfNoneMatch", None)
            return super().request(operation, name, **parameters)

    prefix = uuid.uuid4().hex
    trial = try_requests(Unconditional(f"s3://{BUCKET}/{prefix}"))
    assert trial.done == ("list", "write", "read")
    assert trial.refused == "conditional write"
    assert "two processes could hold one lease" in trial.why
    assert "Contents" not in s3.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
