"""Objects in a bucket of S3, or of a server that speaks it with conditional writes."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from sweep.redaction import without_secrets
from sweep.setting_values import bucket_and_prefix
from sweep.settings import cache_folder
from sweep.store.backend import Entry, Unavailable
from sweep.store.kept import Kept
from sweep.store.manifest import StoredFile
from sweep.store.s3_client import CONDITION, MISSING, S3Options, code_of, connect, explained
from sweep.text import count_text
from trainers.exceptions import StoreError

TRANSFERS = 4
"""Files that go up or down at once, each in several parts."""
DELETED_AT_ONCE = 1000
"""Most that one request may delete."""


class S3Bucket:
    """The objects whose keys begin with a prefix in one bucket, under names without it; the errors are Backend's.

    The URI is as in `bucket_and_prefix`; `otherwise` holds options of S3 that count where this machine's settings leave
    them open.
    """

    def __init__(self, uri: str, otherwise: S3Options | None = None) -> None:
        try:
            self._bucket, prefix = bucket_and_prefix(uri)
        except ValueError as error:
            raise StoreError(f"{error}. Set METSWEEP_STORE (--store).") from None
        self._prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{self._bucket}/{prefix}".rstrip("/")
        self.options = S3Options.here(otherwise)
        self.place = f"bucket {self._bucket} at {without_secrets(self.options.endpoint or 'AWS')}"
        # The same name at two endpoints is two buckets.
        self.local = cache_folder() / hashlib.sha256(f"{self.options.endpoint} {self.uri}".encode()).hexdigest()[:16]

    def __reduce__(self) -> tuple[type[S3Bucket], tuple[str, S3Options]]:
        return type(self), (self.uri, self.options)

    def probe(self) -> None:
        """Write an object and remove it again."""
        name = f"tmp/{uuid.uuid4().hex}"
        self.write(name, b"metsweep")
        self.remove(name)

    def read(self, name: str) -> bytes | None:
        """An object's content, or None."""
        answer = self._get(name)
        return None if answer is None else answer[0]

    def read_kept(self, name: str, tag: str) -> bytes | None:
        """As `read`, without a request where this machine has read the content with this tag before."""
        content = self.kept.get(f"{name} {tag}")
        if content is None and (answer := self._get(name)) is not None:
            content, now = answer
            self.kept.put(f"{name} {now}", content)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Make or replace an object."""
        with explained(self.place):
            self._client.put_object(Bucket=self._bucket, Key=self._object(name), Body=content, **self.options.on_write)

    def swap(self, name: str, content: bytes | None, expected: bytes | None, *, durable: bool = False) -> bool:
        """As in Backend."""
        answer = self._get(name)
        current = None if answer is None else answer[0]
        if current == content:
            return True
        if current != expected:
            return False
        request = {"Bucket": self._bucket, "Key": self._object(name)}
        request |= {"IfNoneMatch": "*"} if answer is None else {"IfMatch": answer[1]}
        with explained(self.place):
            try:
                if content is None:
                    self._client.delete_object(**request)
                else:
                    self._client.put_object(Body=content, **request, **self.options.on_write)
            except ClientError as error:
                if code_of(error) not in CONDITION | MISSING:
                    raise
                # Another process was faster, or the client's retry met its own first attempt.
                return self.read(name) == content
        return True

    def remove(self, name: str) -> None:
        """Remove an object."""
        with explained(self.place):
            self._client.delete_object(Bucket=self._bucket, Key=self._object(name))

    def remove_below(self, prefix: str) -> None:
        """Remove every object below a prefix."""
        names = [entry.name for entry in self.entries(prefix)]
        for first in range(0, len(names), DELETED_AT_ONCE):
            objects = [{"Key": self._object(name)} for name in names[first : first + DELETED_AT_ONCE]]
            with explained(self.place):
                done = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            if errors := done.get("Errors"):
                kept = count_text(len(errors), "object")
                raise Unavailable(f"S3 did not delete {kept} of {self.uri}/{prefix} ({errors[0]['Code']}).")

    def is_empty(self) -> bool:
        """Whether there is no object."""
        with explained(self.place):
            listed = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        return not listed.get("Contents")

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """Every object below a prefix; all without one."""
        for page in self._pages(Prefix=self._object(f"{prefix}/" if prefix else "")):
            for item in page.get("Contents", []):
                name = item["Key"].removeprefix(self._prefix)
                yield Entry(name, item["Size"], item["LastModified"].timestamp(), item["ETag"])

    def describe(self, name: str) -> StoredFile | None:
        """Size and checksum of an object as S3 holds it now, or None."""
        digest, size = hashlib.sha256(), 0
        with self._unless_missing():
            answer = self._client.get_object(Bucket=self._bucket, Key=self._object(name))
            for chunk in answer["Body"].iter_chunks(1 << 20):
                digest.update(chunk)
                size += len(chunk)
            return StoredFile(size=size, sha256=digest.hexdigest())
        return None

    def upload(self, folder: Path, prefix: str, names: Iterable[str]) -> None:
        """Store files of a folder of this machine below a prefix."""

        def put(name: str) -> None:
            with explained(self.place):
                key = self._object(f"{prefix}/{name}")
                self._client.upload_file(str(folder / name), self._bucket, key, self.options.on_write)

        _each(put, names)

    def download(self, prefix: str, names: Iterable[str], folder: Path) -> None:
        """Bring files from below a prefix into a folder of this machine; leaves out those that do not exist."""

        def get(name: str) -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with self._unless_missing():
                self._client.download_file(self._bucket, self._object(f"{prefix}/{name}"), str(folder / name))

        _each(get, names)

    def copy(self, name: str, target: str) -> None:
        """Copy an object under a second name; nothing if it is gone."""
        with self._unless_missing():  # another process may have set it aside meanwhile
            source = {"Bucket": self._bucket, "Key": self._object(name)}
            self._client.copy(source, self._bucket, self._object(target), self.options.on_write)

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders that lie directly in a prefix, which ends in `/`."""
        for page in self._pages(Prefix=self._object(prefix), Delimiter="/"):
            for item in page.get("CommonPrefixes", []):
                yield item["Prefix"].rstrip("/").rpartition("/")[2]

    def request(self, operation: str, name: str, **parameters: Any) -> dict[str, Any]:
        """Any request of boto3's client about one object; raises boto3's errors."""
        return getattr(self._client, operation)(Bucket=self._bucket, Key=self._object(name), **parameters)

    @cached_property
    def kept(self) -> Kept:
        """Contents that this machine has read before."""
        return Kept(self.local / "kept")

    @cached_property
    def _client(self) -> Any:
        return connect(self.options)

    def _object(self, name: str) -> str:
        return self._prefix + name

    def _get(self, name: str) -> tuple[bytes, str] | None:
        """Content and ETag, or None."""
        with self._unless_missing():
            answer = self._client.get_object(Bucket=self._bucket, Key=self._object(name))
            return answer["Body"].read(), answer["ETag"]
        return None

    @contextmanager
    def _unless_missing(self) -> Iterator[None]:
        """As `explained`; the block ends quietly where the object does not exist."""
        with explained(self.place):
            try:
                yield
            except ClientError as error:
                if code_of(error) not in MISSING:
                    raise

    def _pages(self, **of: str) -> Iterator[dict[str, Any]]:
        with explained(self.place):
            yield from self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **of)


def _each(action: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(action, names))
