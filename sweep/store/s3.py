"""A store in a bucket of S3, or of a server that speaks it with conditional writes."""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from sweep.redaction import without_secrets
from sweep.settings import cache_folder
from sweep.store.artifact import refuse_damaged
from sweep.store.backend import Entry, HalfWritten, Unavailable
from sweep.store.local_copy import local_copy
from sweep.store.manifest import MANIFEST, Manifest, StoredFile
from sweep.store.s3_checkpoints import S3Checkpoints
from sweep.store.s3_client import CONDITION, MISSING, bucket_and_prefix, code_of, connect, endpoint, explained
from trainers.exceptions import StoreError

MANIFESTS, FILES = "manifests", "files"
TRANSFERS = 4
"""Files that go up or down at once, each in several parts."""
DELETED_AT_ONCE = 1000
"""Most that one request may delete."""


class S3Backend:
    """The objects whose keys begin with a prefix in one bucket; see Backend.

    `manifests/<stage>/<key>.json` make artifacts, so one listing tells all that are complete. Files lie at
    `files/<stage>/<key>/<publication>/`, so two publishers never mix. Documents lie under their names. Whatever else
    the bucket holds is left alone.

    Args:
        uri: `s3://bucket/prefix`; the prefix may be empty.

    Raises:
        StoreError: as `bucket_and_prefix`.
    """

    def __init__(self, uri: str) -> None:
        self._bucket, prefix = bucket_and_prefix(uri)
        self._prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{self._bucket}/{prefix}".rstrip("/")
        self._endpoint = endpoint()
        self._where = f"bucket {self._bucket} at {without_secrets(self._endpoint or 'AWS')}"
        # The same name at two endpoints is two buckets.
        self.local = cache_folder() / hashlib.sha256(f"{self._endpoint} {self.uri}".encode()).hexdigest()[:16]

    def __reduce__(self) -> tuple[type[S3Backend], tuple[str]]:
        return S3Backend, (self.uri,)

    def is_there(self) -> bool:
        return next(self.entries(), None) is not None

    def check_writable(self, needed_bytes: int) -> None:
        try:
            self.local.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"{self.local}, for local copies of the store {self.uri}, cannot be made: {error.strerror}. "
                "Set METSWEEP_CACHE to another folder."
            ) from None
        try:
            self.probe()
        except Unavailable as error:
            raise StoreError(f"The store {self.uri} cannot be written: {error}") from None

    def probe(self) -> None:
        name = f"tmp/{uuid.uuid4().hex}"
        self.write(name, b"metsweep")
        self.remove(name)

    def read(self, name: str) -> bytes | None:
        found = self._get(name)
        return None if found is None else found[0]

    def write(self, name: str, content: bytes) -> None:
        with explained(self._where):
            self._client.put_object(Bucket=self._bucket, Key=self._object(name), Body=content)

    def swap(self, name: str, content: bytes | None, expected: bytes | None) -> bool:
        found = self._get(name)
        there = None if found is None else found[0]
        if there == content:
            return True
        if there != expected:
            return False
        condition = {"IfNoneMatch": "*"} if found is None else {"IfMatch": found[1]}
        with explained(self._where):
            try:
                if content is None:
                    self._client.delete_object(Bucket=self._bucket, Key=self._object(name), **condition)
                else:
                    self._client.put_object(Bucket=self._bucket, Key=self._object(name), Body=content, **condition)
            except ClientError as error:
                if code_of(error) not in CONDITION | MISSING:
                    raise
                # Another was faster, or the client's own second try met its first.
                return self.read(name) == content
        return True

    def remove(self, name: str) -> None:
        with explained(self._where):
            self._client.delete_object(Bucket=self._bucket, Key=self._object(name))

    def remove_below(self, prefix: str) -> None:
        names = [entry.name for entry in self.entries(prefix)]
        for first in range(0, len(names), DELETED_AT_ONCE):
            objects = [{"Key": self._object(name)} for name in names[first : first + DELETED_AT_ONCE]]
            with explained(self._where):
                done = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            if errors := done.get("Errors"):
                raise Unavailable(
                    f"S3 did not delete {len(errors)} objects of {self.uri}/{prefix} ({errors[0]['Code']})."
                )

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        for page in self._pages(Prefix=self._object(f"{prefix}/" if prefix else "")):
            for found in page.get("Contents", []):
                name = found["Key"].removeprefix(self._prefix)
                yield Entry(name, found["Size"], found["LastModified"].timestamp())

    def stages(self) -> list[str]:
        return sorted({*self._folders(f"{MANIFESTS}/"), *self._folders(f"{FILES}/")})

    def keys(self, stage: str) -> set[str]:
        return {entry.name.rpartition("/")[2].removesuffix(".json") for entry in self.entries(f"{MANIFESTS}/{stage}")}

    def manifest(self, stage: str, key: str) -> bytes | None:
        return self.read(_manifest(stage, key))

    def publish(self, folder: Path, manifest: Manifest) -> bool:
        files = _files(manifest)
        self.upload(folder, files, manifest.files)
        made = self.swap(_manifest(manifest.stage, manifest.key), manifest.model_dump_json(indent=2).encode(), None)
        if not made:
            self.remove_below(files)
        return made

    def copy_here(self, manifest: Manifest) -> Path:
        def fetch(fresh: Path) -> None:
            self.download(_files(manifest), manifest.files, fresh)
            (fresh / MANIFEST).write_text(manifest.model_dump_json(indent=2))

        where = self.where(manifest.stage, manifest.key)
        return local_copy(
            self.local / manifest.stage / manifest.key,
            self.local / "tmp",
            fetch,
            lambda folder: refuse_damaged(folder, manifest, where),
        )

    def read_file(self, manifest: Manifest, name: str) -> bytes | None:
        return self.read(f"{_files(manifest)}/{name}")

    def describe_file(self, manifest: Manifest, name: str) -> StoredFile | None:
        digest, size = hashlib.sha256(), 0
        with explained(self._where):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._object(f"{_files(manifest)}/{name}"))
            except ClientError as error:
                if code_of(error) not in MISSING:
                    raise
                return None
            for chunk in found["Body"].iter_chunks(1 << 20):
                digest.update(chunk)
                size += len(chunk)
        return StoredFile(size=size, sha256=digest.hexdigest())

    def where(self, stage: str, key: str) -> str:
        return f"{self.uri}/{FILES}/{stage}/{key}"

    def set_aside(self, stage: str, key: str, manifest: bytes, reason: str) -> None:
        target = f"damaged/{stage}/{key}-{uuid.uuid4().hex[:8]}"
        self.write(f"{target}/{MANIFEST}", manifest)
        self.write(f"{target}/reason.txt", f"{reason}\n".encode())
        files = f"{FILES}/{stage}/{key}"
        names = [entry.name for entry in self.entries(files)]
        for name in names:
            self._copy(name, f"{target}/{name.removeprefix(f'{files}/')}")
        if self.swap(_manifest(stage, key), None, manifest):
            for name in names:
                self.remove(name)
        else:  # gone or made again meanwhile
            self.remove_below(target)

    def remove_artifact(self, stage: str, key: str) -> None:
        self.remove(_manifest(stage, key))
        self.remove_below(f"{FILES}/{stage}/{key}")

    def half_written(self, publications: Collection[str]) -> Iterator[HalfWritten]:
        found: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
        for entry in self.entries(FILES):
            _, stage, key, publication, _ = entry.name.split("/", 4)
            if publication not in publications:
                found[stage, key, publication].append(entry)
        for (stage, key, publication), entries in found.items():
            size, newest = sum(entry.size for entry in entries), max(entry.modified for entry in entries)
            yield HalfWritten(f"{FILES}/{stage}/{key}/{publication}", (stage, key), size, newest)

    def checkpoints(self, key: str) -> S3Checkpoints:
        return S3Checkpoints(self, key)

    def upload(self, folder: Path, prefix: str, names: Iterable[str]) -> None:
        """Store files of a folder of this machine below a prefix."""

        def put(name: str) -> None:
            with explained(self._where):
                self._client.upload_file(str(folder / name), self._bucket, self._object(f"{prefix}/{name}"))

        _each(put, names)

    def download(self, prefix: str, names: Iterable[str], folder: Path) -> None:
        """Bring files from below a prefix into a folder of this machine; leaves out those that are not there."""

        def get(name: str) -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with explained(self._where):
                try:
                    self._client.download_file(self._bucket, self._object(f"{prefix}/{name}"), str(folder / name))
                except ClientError as error:
                    if code_of(error) not in MISSING:
                        raise

        _each(get, names)

    @cached_property
    def _client(self) -> Any:
        return connect(self._endpoint)

    def _object(self, name: str) -> str:
        return self._prefix + name

    def _get(self, name: str) -> tuple[bytes, str] | None:
        """Content and ETag, or None."""
        with explained(self._where):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._object(name))
            except ClientError as error:
                if code_of(error) not in MISSING:
                    raise
                return None
            return found["Body"].read(), found["ETag"]

    def _copy(self, name: str, target: str) -> None:
        with explained(self._where):
            try:
                source = {"Bucket": self._bucket, "Key": self._object(name)}
                self._client.copy(source, self._bucket, self._object(target))
            except ClientError as error:
                if code_of(error) not in MISSING:  # another process has set it aside meanwhile
                    raise

    def _folders(self, prefix: str) -> Iterator[str]:
        for page in self._pages(Prefix=self._object(prefix), Delimiter="/"):
            for found in page.get("CommonPrefixes", []):
                yield found["Prefix"].rstrip("/").rpartition("/")[2]

    def _pages(self, **of: str) -> Iterator[dict[str, Any]]:
        with explained(self._where):
            yield from self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, **of)


def _manifest(stage: str, key: str) -> str:
    return f"{MANIFESTS}/{stage}/{key}.json"


def _files(manifest: Manifest) -> str:
    return f"{FILES}/{manifest.stage}/{manifest.key}/{manifest.publication}"


def _each(action: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(action, names))
