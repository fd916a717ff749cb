"""The store's contract: an artifact is there whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from sweep.store import MANIFEST, Cost, Store
from trainers.exceptions import StoreError

COST = Cost(requested=1.0, started=2.0, finished=5.0, peak_memory_bytes=10, host="here")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def publish(store: Store, key: str, content: str) -> Path:
    with store.writing("gan", key) as folder:
        (folder / "figures").mkdir()
        (folder / "figures" / "a.txt").write_text(content)
        return store.publish(folder, "gan", key, {"stage": "gan"}, COST).path


def test_published_artifact_is_found_with_sizes_and_checksums(store: Store) -> None:
    publish(store, "k1", "abc")
    artifact = store.find("gan", "k1")
    assert artifact is not None
    assert (artifact.path / "figures" / "a.txt").read_text() == "abc"
    stored = artifact.manifest.files["figures/a.txt"]
    assert stored.size == 3
    assert stored.sha256.startswith("ba7816bf")
    assert artifact.manifest.cost.seconds == 3.0


def test_unpublished_files_are_invisible_and_removed(store: Store) -> None:
    def fail() -> None:
        with store.writing("gan", "k1") as folder:
            (folder / "half.txt").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert store.find("gan", "k1") is None
    assert not list((store.root / "tmp").iterdir())


def test_leftover_of_a_killed_writer_is_swept_up_by_the_next(store: Store) -> None:
    leftover = store.root / "tmp" / "gan-k1-killed"
    leftover.mkdir(parents=True)
    (leftover / "half.txt").write_text("half")
    publish(store, "k1", "whole")
    assert not leftover.exists()


def test_second_publisher_of_a_key_keeps_the_first_artifact(store: Store) -> None:
    publish(store, "k1", "first")
    path = publish(store, "k1", "second")
    assert (path / "figures" / "a.txt").read_text() == "first"


def test_damaged_manifest_is_refused_with_its_path(store: Store) -> None:
    path = publish(store, "k1", "abc")
    (path / MANIFEST).write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        store.find("gan", "k1")


def test_store_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"METSWEEP_STORE"):
        Store(tmp_path / "file" / "store").check_writable()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a 1 MB disk needs root")
def test_store_without_space_is_refused_with_both_figures(small_disk: Path) -> None:
    with pytest.raises(StoreError, match=r"has 1 MB free, but 5 MB are needed"):
        Store(small_disk).check_writable(5_000_000)


def _hold(root: Path, held: Event) -> None:
    with Store(root).single_flight("gan", "k1"):
        held.set()
        multiprocessing.Event().wait()


def test_lock_of_a_killed_owner_is_free_at_once(store: Store) -> None:
    spawn = multiprocessing.get_context("spawn")
    held = spawn.Event()
    owner = spawn.Process(target=_hold, args=(store.root, held))
    owner.start()
    assert held.wait(60)
    lock = store.single_flight("gan", "k1")
    with pytest.raises(TimeoutError):
        lock.acquire(timeout=0.2)
    owner.kill()
    owner.join()
    with lock.acquire(timeout=5):
        assert lock.is_locked
