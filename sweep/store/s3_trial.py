"""Tries every kind of request that a store makes of S3, so that a missing permission is found before any work."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from botocore.exceptions import ClientError

from sweep.store.backend import Unavailable
from sweep.store.s3_bucket import S3Bucket
from sweep.store.s3_client import CONDITION, code_of, explained
from trainers.exceptions import StoreError

PERMISSIONS = {
    "list": "s3:ListBucket",
    "write": "s3:PutObject",
    "read": "s3:GetObject",
    "conditional write": "s3:PutObject",
    "multipart upload": "s3:PutObject",
    "delete": "s3:DeleteObject",
}
"""Kind of request -> the permission that it needs on AWS."""


@dataclass(frozen=True)
class Trial:
    """What became of the requests."""

    done: tuple[str, ...]
    """Kinds that work."""
    refused: str | None
    """Kind that does not: those after it were not tried."""
    why: str
    """Its error; empty if there is none."""
    clock_ahead_s: float | None
    """How far the clock of this machine is ahead of the server's; None if the server gave no time."""


def try_requests(bucket: S3Bucket) -> Trial:
    """Make an object below `tmp/` and do with it whatever a store does; it is deleted at the end if that is allowed."""
    name, content = f"tmp/doctor-{uuid.uuid4().hex}", b"metsweep"
    ahead = None

    def write() -> None:
        nonlocal ahead
        answer = bucket.request("put_object", name, Body=content, **bucket.options.on_write)
        if date := answer["ResponseMetadata"]["HTTPHeaders"].get("date"):
            ahead = time.time() - parsedate_to_datetime(date).timestamp()

    def read() -> None:
        if bucket.read(name) != content:
            raise StoreError(f"An object in {bucket.place} is read with another content than was written.")

    def overwrite() -> None:
        try:
            bucket.request("put_object", name, Body=b"", IfNoneMatch="*", **bucket.options.on_write)
        except ClientError as error:
            if code_of(error) in CONDITION:
                return
            raise
        raise StoreError(f"{bucket.place} ignores the condition of a write, so two processes could hold one lease.")

    def upload_in_parts() -> None:
        upload = bucket.request("create_multipart_upload", name, **bucket.options.on_write)["UploadId"]
        part = bucket.request("upload_part", name, UploadId=upload, PartNumber=1, Body=content)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        bucket.request("complete_multipart_upload", name, UploadId=upload, MultipartUpload=parts)

    steps: dict[str, Callable[[], object]] = {
        "list": lambda: next(bucket.entries("tmp"), None),
        "write": write,
        "read": read,
        "conditional write": overwrite,
        "multipart upload": upload_in_parts,
        "delete": lambda: bucket.remove(name),
    }
    done: list[str] = []
    for kind, step in steps.items():
        try:
            with explained(bucket.place):
                step()
        except (StoreError, Unavailable) as error:
            if "write" in done and kind != "delete":
                with suppress(ClientError):
                    bucket.request("delete_object", name)
            return Trial(tuple(done), kind, str(error), ahead)
        done.append(kind)
    return Trial(tuple(done), None, "", ahead)
