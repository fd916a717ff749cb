"""A store in a bucket of S3, or of a server that speaks it with conditional writes."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sweep.store.artifact import refuse_damaged
from sweep.store.backend import READERS, Entry, HalfWritten, Unavailable
from sweep.store.local_copy import local_copy
from sweep.store.manifest import MANIFEST, Manifest, StoredFile
from sweep.store.s3_bucket import S3Bucket
from sweep.store.s3_checkpoints import S3Checkpoints
from trainers.exceptions import StoreError

MANIFESTS, FILES = "manifests", "files"
FEW = 8
"""So many manifests cost less to read than to list."""


class S3Backend(S3Bucket):
    """A store whose objects lie in an S3Bucket; see Backend.

    `manifests/<stage>/<key>.json` make artifacts, so one listing names all that are complete. Files lie at
    `files/<stage>/<key>/<publication>/`, so two publishers never mix. Documents lie under their names. Whatever else
    the bucket holds is left alone.
    """

    def is_there(self) -> bool:
        return not self.is_empty()

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

    def stages(self) -> list[str]:
        return sorted({*self.folders(f"{MANIFESTS}/"), *self.folders(f"{FILES}/")})

    def keys(self, stage: str) -> set[str]:
        return {_key(entry) for entry in self.entries(f"{MANIFESTS}/{stage}")}

    def manifest(self, stage: str, key: str) -> bytes | None:
        return self.read(_manifest(stage, key))

    def manifests(self, stage: str, keys: Collection[str] | None) -> dict[str, bytes]:
        if keys is not None and len(keys) <= FEW:
            contents = {key: self.manifest(stage, key) for key in keys}
            return {key: content for key, content in contents.items() if content is not None}
        tags = {_key(entry): entry.tag for entry in self.entries(f"{MANIFESTS}/{stage}")}
        wanted = tags.keys() if keys is None else tags.keys() & keys

        def read(key: str) -> bytes | None:
            return self.read_kept(_manifest(stage, key), tags[key])

        with ThreadPoolExecutor(READERS) as pool:
            contents = dict(zip(wanted, pool.map(read, wanted), strict=True))
        return {key: content for key, content in contents.items() if content is not None}

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
        described = manifest.files.get(name)
        # The checksum names the content, wherever it lies.
        kept = self.kept.get(described.sha256) if described else None
        if described is None or kept is not None:
            return kept
        content = self.read(f"{_files(manifest)}/{name}")
        if content is not None and StoredFile.of(content) == described:
            self.kept.put(described.sha256, content)
        return content

    def describe_file(self, manifest: Manifest, name: str) -> StoredFile | None:
        return self.describe(f"{_files(manifest)}/{name}")

    def where(self, stage: str, key: str) -> str:
        return f"{self.uri}/{FILES}/{stage}/{key}"

    def set_aside(self, stage: str, key: str, manifest: bytes, reason: str) -> None:
        target = f"damaged/{stage}/{key}-{uuid.uuid4().hex[:8]}"
        self.write(f"{target}/{MANIFEST}", manifest)
        self.write(f"{target}/reason.txt", f"{reason}\n".encode())
        files = f"{FILES}/{stage}/{key}"
        names = [entry.name for entry in self.entries(files)]
        for name in names:
            self.copy(name, f"{target}/{name.removeprefix(f'{files}/')}")
        if self.swap(_manifest(stage, key), None, manifest):
            for name in names:
                self.remove(name)
        else:  # removed or made again meanwhile
            self.remove_below(target)

    def remove_artifact(self, stage: str, key: str) -> None:
        self.remove(_manifest(stage, key))
        self.remove_below(f"{FILES}/{stage}/{key}")

    def half_written(self, publications: Collection[str]) -> Iterator[HalfWritten]:
        entries_of: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
        for entry in self.entries(FILES):
            _, stage, key, publication, _ = entry.name.split("/", 4)
            if publication not in publications:
                entries_of[stage, key, publication].append(entry)
        for (stage, key, publication), entries in entries_of.items():
            size, newest = sum(entry.size for entry in entries), max(entry.modified for entry in entries)
            yield HalfWritten(f"{FILES}/{stage}/{key}/{publication}", (stage, key), size, newest)

    def checkpoints(self, key: str) -> S3Checkpoints:
        return S3Checkpoints(self, key)


def _key(manifest: Entry) -> str:
    return manifest.name.rpartition("/")[2].removesuffix(".json")


def _manifest(stage: str, key: str) -> str:
    return f"{MANIFESTS}/{stage}/{key}.json"


def _files(manifest: Manifest) -> str:
    return f"{FILES}/{manifest.stage}/{manifest.key}/{manifest.publication}"
