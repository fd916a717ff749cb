"""A stage on S3 whose workers are killed again and again: the next goes on from the checkpoint, to one artifact."""

from __future__ import annotations

import multiprocessing
import os
import signal
import uuid
from pathlib import Path

import pytest

from sweep.store import Cost, Store
from tests.services.fixtures import seaweedfs
from tests.services.seaweedfs import BUCKET, SeaweedFS

__all__ = ["seaweedfs"]

pytestmark = pytest.mark.slow

STEPS = 6
WEIGHTS = os.urandom(2_000_000)
COST = Cost(requested=1.0, started=2.0, finished=5.0, peak_memory_bytes=10, host="here")


def work(uri: str, diary: Path, dies_after: int | None) -> None:
    """Train to STEPS from the newest checkpoint and publish; killed while it saves the next checkpoint."""
    store = Store(uri)
    with store.lease("gan", "k1"):
        if store.find("gan", "k1") is not None:
            return
        checkpoints = store.checkpoints("k1")
        loaded = checkpoints.load()
        first = int((loaded / "step").read_text()) + 1 if loaded else 1
        assert loaded is None or (loaded / "weights").read_bytes() == WEIGHTS
        for step in range(first, STEPS + 1):
            with diary.open("a") as lines:
                lines.write(f"{step}\n")

            def write(folder: Path, step: int = step) -> None:
                (folder / "step").write_text(str(step))
                (folder / "weights").write_bytes(WEIGHTS)
                if step == dies_after:
                    os.kill(os.getpid(), signal.SIGKILL)

            checkpoints.save(write)
        with store.writing("gan", "k1") as folder:
            (folder / "weights").write_bytes(WEIGHTS)
            store.publish(folder, "gan", "k1", {}, COST)
        checkpoints.clear()


def test_the_work_of_killed_processes_is_continued(
    seaweedfs: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("METSWEEP_CACHE", str(tmp_path / "cache"))
    uri, diary = f"s3://{BUCKET}/{uuid.uuid4().hex}", tmp_path / "diary"
    spawn = multiprocessing.get_context("fork")
    for dies_after in (2, 4, None):
        workers = [spawn.Process(target=work, args=(uri, diary, dies_after)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
            assert worker.exitcode in (0, -signal.SIGKILL)
    steps = [int(line) for line in diary.read_text().splitlines()]
    # Each takes over from the checkpoint before the one that it found its predecessor dead in.
    assert steps == [1, 2, 2, 2, 3, 4, 4, 4, 5, 6]
    store = Store(uri)
    artifact = store.find("gan", "k1")
    assert artifact is not None
    assert (artifact.path / "weights").read_bytes() == WEIGHTS
    assert not store.list("checkpoints")
    assert not store.list("leases")
