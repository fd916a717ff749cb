"""What the doctor examines on a node of a cluster, by an actor there."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from sweep.doctor.finding import LOOK, MISSING, OK, Finding
from sweep.doctor.machine import gpu
from sweep.doctor.services import examine_cohort, examine_store
from sweep.store import Store

CONNECT_S = 5.0


@dataclass(frozen=True)
class Mark:
    """Something that this machine left in the store's place, and that other machines must find."""

    name: str
    """An object's, or the path of a file."""
    content: bytes


@dataclass(frozen=True)
class NodeTask:
    """What a node is asked to examine."""

    store: Store | None
    mark: Mark | None
    cohort: Path | None
    listing: str | None
    """`cohort_listing` of the machine that asks."""
    places: tuple[tuple[str, str, int], ...]
    """Services: name, host, port."""
    gpus: float = 0.0
    """That Ray offers on the node."""


@contextmanager
def place_mark(store: Store | None) -> Iterator[Mark | None]:
    """Within the block a mark lies in the store, or where its folder will be made, and its file is locked."""
    if store is None:
        yield None
        return
    content = uuid.uuid4().hex.encode()
    if store.uri.startswith("s3://"):
        mark = Mark(f"tmp/doctor-{uuid.uuid4().hex}", content)
        store.backend.write(mark.name, content)
        try:
            yield mark
        finally:
            store.backend.remove(mark.name)
        return
    folder = next(path for path in (store.local, *store.local.parents) if path.is_dir())
    file = folder / f".metsweep-doctor-{uuid.uuid4().hex}"
    lock = file.with_suffix(".lock")
    file.write_bytes(content)
    try:
        with FileLock(lock):
            yield Mark(str(file), content)
    finally:
        file.unlink()
        lock.unlink(missing_ok=True)


def examine_node(task: NodeTask) -> list[Finding]:
    """Examine the node that this process runs on."""
    store = [] if task.store is None else list(examine_store(task.store))
    usable = all(finding.state != MISSING for finding in store)
    return [
        *store,
        *(_same_store(task.store, task.mark) if task.store and task.mark and usable else ()),
        gpu(task.gpus),
        *(() if task.cohort is None else (examine_cohort(task.cohort, task.listing),)),
        *(_reaches(*place) for place in task.places),
    ]


def _same_store(store: Store, mark: Mark) -> Iterator[Finding]:
    what = "same store"
    if store.uri.startswith("s3://"):
        if store.backend.read(mark.name) != mark.content:
            fix = "Set the same endpoint and bucket there: s3_endpoint, AWS_ENDPOINT_URL_S3."
            yield Finding(what, MISSING, f"{store.uri} is another bucket than on this machine", fix)
        return
    file = Path(mark.name)
    if not file.is_file():
        fix = "Mount the folder there under the same path, or use s3://bucket/prefix."
        yield Finding(what, MISSING, f"{file.parent} is another folder than on this machine", fix)
        return
    try:
        with FileLock(file.with_suffix(".lock"), timeout=0):
            fix = "Mount the folder with locks (NFS 4; Lustre: -o flock), or use s3://bucket/prefix."
            yield Finding(what, MISSING, "file locks of this machine do not hold there", fix)
    except Timeout:
        yield Finding(what, OK, "found, and its locks hold")


def _reaches(name: str, host: str, port: int) -> Finding:
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except OSError as error:
        fix = "Only the driver needs it, which `launch --cluster` runs on the head node."
        return Finding(f"reaches {name}", LOOK, f"{host}:{port}: {error.strerror or error}", fix)
    return Finding(f"reaches {name}", OK, f"{host}:{port}")
