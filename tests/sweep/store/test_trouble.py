"""Disks and servers that fail for a while, and what must be refused at once."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweep.store import Store, lease
from tests.services.seaweedfs import BUCKET, SECRET_KEY, SeaweedFS
from tests.sweep.store.making import COST, found, publish
from trainers.exceptions import StoreError

AWAY_S = 6.0
MEGABYTE = bytes(1_000_000)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB of the test's own (needs root, as the tests' container has)."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def while_away(bring_back: Callable[[], object], action: Callable[[], object]) -> None:
    """Run `action` on a store that is away, and bring the store back after AWAY_S."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(action)
        time.sleep(AWAY_S)
        assert not done.done(), "it did not wait for the store"
        bring_back()
        done.result(timeout=60)


def publish_megabyte(store: Store, key: str) -> None:
    with store.writing("gan", key) as folder:
        (folder / "model").write_bytes(MEGABYTE)
        store.publish(folder, "gan", key, {}, COST)


def step_of(store: Store) -> str:
    loaded = store.checkpoints("k1").load()
    assert loaded is not None
    return (loaded / "step").read_text()


class TestReadOnly:
    def test_everything_waits_for_a_disk_that_is_read_only(self, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease, "BEAT_S", 0.5)
        monkeypatch.setattr(lease, "LOST_AFTER_S", 2.5)
        store = Store(disk / "store")
        damaged = publish(store, "k0")
        held = store.lease("gan", "k1")
        assert held.acquire()
        checkpoints = store.checkpoints("k1")
        checkpoints.save(lambda folder: _write(folder, "1"))
        mount("-o", "remount,ro", str(disk))

        def work() -> None:
            checkpoints.save(lambda folder: _write(folder, "2"))
            publish(store, "k1")
            store.set_aside(damaged, "a test says so")

        while_away(lambda: mount("-o", "remount,rw", str(disk)), work)
        assert held.held
        assert step_of(store) == "2"
        assert store.keys("gan") == {"k1"}
        assert not [path for path in (disk / "store" / "tmp").iterdir() if path.name.startswith("gan-")]

    def test_a_disk_that_stays_so_is_a_store_error(self, disk: Path) -> None:
        store = Store(disk / "store", patience_s=1)
        publish(store, "k1")
        mount("-o", "remount,ro", str(disk))
        with pytest.raises(StoreError, match=r"(?s)publish gan k2.*Read-only file system.*tried for 1 s"):
            publish(store, "k2")
        assert found(store, "k1").text("figures/a.txt") == "abc"
        with pytest.raises(StoreError, match="METSWEEP_STORE"):
            store.check_writable()


class TestFullDisk:
    def test_what_does_not_fit_waits_for_space_and_leaves_nothing_half_written(self, disk: Path) -> None:
        store = Store(disk / "store")
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(3_600_000))

        def work() -> None:
            publish_megabyte(store, "k1")
            store.checkpoints("k1").save(lambda folder: _write(folder, "1", MEGABYTE))

        seen = []

        def make_room() -> None:
            seen.append(store.keys("gan"))
            ballast.unlink()

        while_away(make_room, work)
        assert seen == [set()]
        assert found(store, "k1").path.is_dir()
        assert step_of(store) == "1"
        assert not list((disk / "store" / "tmp").iterdir())

    def test_too_little_space_is_refused_with_both_figures(self, disk: Path) -> None:
        with pytest.raises(StoreError, match=r"has 4 MB free, but 9 MB are needed.*METSWEEP_STORE"):
            Store(disk).check_writable(9_000_000)

    def test_a_store_below_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match=r"cannot be written.*METSWEEP_STORE"):
            Store(tmp_path / "file" / "store").check_writable()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedFS]:
    """An S3 server of the test's own, to be hurt."""
    own = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    own.start()
    for name, value in own.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("METSWEEP_CACHE", str(own.folder / "cache"))
    yield own
    own.kill()


class TestServerAway:
    @pytest.mark.parametrize("how", ["killed", "frozen"])
    def test_everything_waits_for_a_server_that_comes_back(self, server: SeaweedFS, how: str) -> None:
        store = Store(f"s3://{BUCKET}/away")
        damaged = publish(store, "k0")
        held = store.lease("gan", "k1")
        assert held.acquire()
        waiting = store.lease("gan", "k1")
        leave = threading.Event()
        waiter = threading.Thread(target=waiting.acquire, args=(leave.is_set,))
        waiter.start()
        store.checkpoints("k1").save(lambda folder: _write(folder, "1"))
        away, back = (server.kill, server.start) if how == "killed" else (server.freeze, server.thaw)
        away()

        def work() -> None:
            store.checkpoints("k1").save(lambda folder: _write(folder, "2", MEGABYTE))
            publish_megabyte(store, "k1")
            store.set_aside(damaged, "a test says so")

        while_away(back, work)
        assert held.held
        assert not waiting.held
        leave.set()
        waiter.join()
        held.release()
        assert step_of(store) == "2"
        assert store.keys("gan") == {"k1"}
        assert (found(store, "k1").path / "model").read_bytes() == MEGABYTE


class TestRefusedAtOnce:
    def test_wrong_secret_missing_bucket_no_credentials_no_server(
        self, s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"(?s)no bucket no-such-bucket at http://127.*METSWEEP_STORE"):
            Store("s3://no-such-bucket/x").check_writable()
        with pytest.raises(StoreError, match="no bucket no-such-bucket"):
            publish(Store("s3://no-such-bucket/x"), "k1")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
        with pytest.raises(StoreError, match=r"refuses the credentials.*AWS_SECRET_ACCESS_KEY") as refused:
            publish(Store(f"s3://{BUCKET}/x"), "k1")
        assert "wrong-secret" not in str(refused.value)
        assert SECRET_KEY not in str(refused.value)
        for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(StoreError, match=r"no credentials for bucket metsweep.*AWS_ACCESS_KEY_ID"):
            Store(f"s3://{BUCKET}/x").check_writable()
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
        with pytest.raises(StoreError, match=r"bucket metsweep at http://127.0.0.1:1.*AWS_ENDPOINT_URL_S3"):
            Store(f"s3://{BUCKET}/x").check_writable()
        assert time.monotonic() - began < 60

    def test_what_is_no_store(self) -> None:
        for uri in ("gs://bucket/x", "s3:/bucket/x"):
            with pytest.raises(StoreError, match=r"allowed: a folder, or s3://bucket/prefix"):
                Store(uri)
        with pytest.raises(StoreError, match="names no bucket"):
            Store("s3://")
        for bucket in ("ab", "b" * 64, "-bucket", "bu cket", "bücket"):
            with pytest.raises(StoreError, match=r"The bucket of the store is '.*'; allowed: 3 to 63 letters"):
                Store(f"s3://{bucket}/prefix")
        with pytest.raises(
            StoreError, match=r"The prefix of the store s3://bucket/ppp.* has 601 bytes; allowed: up to 600"
        ):
            Store(f"s3://bucket/{'p' * 601}")

    def test_an_endpoint_that_is_no_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://a_b:1")
        with pytest.raises(StoreError, match="AWS_ENDPOINT_URL_S3 is http://a_b:1, which is no URL"):
            Store("s3://bucket").check_there()

    @pytest.mark.parametrize("name", ["a" * 300, "/".join(["b" * 200] * 25)])
    def test_a_folder_whose_name_is_too_long(self, tmp_path: Path, name: str) -> None:
        store = Store(tmp_path / name)
        for use in (store.check_there, store.check_writable, lambda: store.read_text("x"), lambda: publish(store, "k")):
            with pytest.raises(StoreError, match=r"File name too long.*METSWEEP_STORE"):
                use()

    @pytest.mark.usefixtures("s3")
    def test_a_writable_bucket_is_accepted_and_left_as_it_was(self) -> None:
        store = Store(f"s3://{BUCKET}/{uuid.uuid4().hex}")
        store.check_writable(10**18)
        assert not list(store.backend.entries())


def test_every_object_is_encrypted_as_the_settings_say(s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METSWEEP_S3_ENCRYPTION", "AES256")
    prefix = uuid.uuid4().hex
    store = Store(f"s3://{BUCKET}/{prefix}", patience_s=20)
    publish(store, "k1")
    store.checkpoints("k1").save(lambda folder: _write(folder, "1"))
    store.set_aside_key("gan", "k1", "damaged")
    with store.lease("gan", "k1"):
        names = [f"{prefix}/{entry.name}" for entry in store.backend.entries()]
        encryption = {
            name: s3.client().head_object(Bucket=BUCKET, Key=name).get("ServerSideEncryption") for name in names
        }
    assert len(names) > 5
    assert set(encryption.values()) == {"AES256"}, encryption


@pytest.mark.usefixtures("s3")
def test_a_copy_that_does_not_fit_on_this_machine_waits_for_space(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METSWEEP_CACHE", str(disk))
    store = Store(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    publish_megabyte(store, "k1")
    ballast = disk / "ballast"
    shutil.rmtree(store.local, ignore_errors=True)
    ballast.write_bytes(bytes(3_600_000))
    while_away(ballast.unlink, lambda: found(store, "k1").path)


def _write(folder: Path, step: str, weights: bytes = b"") -> None:
    (folder / "step").write_text(step)
    (folder / "weights").write_bytes(weights)
