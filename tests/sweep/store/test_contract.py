"""What every kind of store promises, on a folder and on a real S3 server."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sweep.store import DamagedArtifact, Store
from sweep.store.s3 import S3Backend
from tests.sweep.store.making import COST, flip_bit, found, manifest_name, publish, stored_name
from trainers.exceptions import StoreError


class TestArtifacts:
    def test_published_is_found_with_sizes_checksums_and_files(self, store: Store) -> None:
        publish(store, "k1", "abc")
        artifact = found(store, "k1")
        assert (artifact.path / "figures" / "a.txt").read_text() == "abc"
        assert (artifact.path / "empty").read_bytes() == b""
        assert artifact.text("figures/a.txt") == "abc"
        stored = artifact.manifest.files["figures/a.txt"]
        assert stored.size == 3
        assert stored.sha256.startswith("ba7816bf")
        assert artifact.manifest.cost.seconds == 3.0
        with pytest.raises(StoreError, match=r"no file b\.txt; it has empty, figures/a\.txt"):
            artifact.text("b.txt")

    def test_another_process_sees_it_through_a_pickle(self, store: Store) -> None:
        publish(store, "k1", "abc")
        assert found(pickle.loads(pickle.dumps(store)), "k1").text("figures/a.txt") == "abc"

    def test_half_written_is_invisible(self, store: Store) -> None:
        with store.writing("gan", "k1") as folder:
            (folder / "half.txt").write_text("half")
            assert store.find("gan", "k1") is None
            assert not store.keys("gan")
        assert not folder.exists()
        publish(store, "k2")
        store.backend.remove(manifest_name(store, "gan", "k2"))
        assert store.find("gan", "k2") is None
        assert not store.keys("gan")
        assert not list(store.artifacts("gan"))
        assert publish(store, "k2", "again").text("figures/a.txt") == "again"

    def test_of_two_publishers_the_first_stays(self, store: Store) -> None:
        publish(store, "k1", "first")
        assert publish(store, "k1", "second").text("figures/a.txt") == "first"
        assert (found(store, "k1").path / "figures" / "a.txt").read_text() == "first"

    def test_publishers_at_once_make_one_whole_artifact(self, store: Store) -> None:
        together = threading.Barrier(4)

        def make(content: str) -> str:
            with store.writing("gan", "k1") as folder:
                for number in range(5):
                    (folder / f"{number}.txt").write_text(content)
                together.wait()
                return store.publish(folder, "gan", "k1", {}, COST).manifest.publication

        with ThreadPoolExecutor(4) as pool:
            publications = set(pool.map(make, "abcd"))
        artifact = found(store, "k1")
        assert publications == {artifact.manifest.publication}
        assert len({(artifact.path / f"{number}.txt").read_text() for number in range(5)}) == 1

    def test_keys_and_artifacts_of_a_stage(self, store: Store) -> None:
        publish(store, "k2", finished=2.0)
        publish(store, "k1", finished=1.0)
        publish(store, "other", stage="detector")
        assert store.keys("gan") == {"k1", "k2"}
        assert [artifact.manifest.key for artifact in store.artifacts("gan")] == ["k1", "k2"]
        assert store.keys("evaluate") == set()
        assert store.stages() == ["detector", "gan"]


class TestDamage:
    def test_a_flipped_bit_is_found_by_path_and_by_text(self, store: Store) -> None:
        artifact = publish(store, "k1", "abc")
        flip_bit(store, stored_name(store, artifact, "figures/a.txt"))
        told = r"(?s)gan k1.*figures/a\.txt should be 3 bytes with SHA-256 ba7816bf8f01….*got 3 bytes with SHA-256"
        with pytest.raises(DamagedArtifact, match=told):
            _ = found(store, "k1").path
        with pytest.raises(DamagedArtifact, match=told):
            found(store, "k1").text("figures/a.txt")

    def test_who_reads_some_files_has_these_checked_and_the_size_of_all(self, store: Store) -> None:
        artifact = publish(store, "k1", "abc")
        name = stored_name(store, artifact, "figures/a.txt")
        assert (found(store, "k1").path_to_read("empty") / "figures" / "a.txt").read_text() == "abc"
        flip_bit(store, name)
        if not isinstance(store.backend, S3Backend):  # whose copy on this machine is still sound
            assert (found(store, "k1").path_to_read("empty") / "figures" / "a.txt").read_text() != "abc"
            with pytest.raises(DamagedArtifact, match=r"figures/a\.txt should be 3 bytes"):
                found(store, "k1").path_to_read("figures/a.txt")
            store.backend.write(name, b"ab")
            with pytest.raises(DamagedArtifact, match="got 2 bytes"):
                found(store, "k1").path_to_read("empty")

    def test_a_file_that_is_gone_or_short_is_damage(self, store: Store) -> None:
        artifact = publish(store, "k1", "abc")
        name = stored_name(store, artifact, "figures/a.txt")
        store.backend.write(name, b"ab")
        with pytest.raises(DamagedArtifact, match="got 2 bytes"):
            _ = found(store, "k1").path
        store.backend.remove(name)
        with pytest.raises(DamagedArtifact, match="got no such file"):
            _ = found(store, "k1").path
        with pytest.raises(DamagedArtifact, match="got no such file"):
            found(store, "k1").text("figures/a.txt")

    def test_what_is_set_aside_is_made_again(self, store: Store) -> None:
        old = publish(store, "k1", "old")
        store.set_aside(old, "a test says so")
        assert store.find("gan", "k1") is None
        assert publish(store, "k1", "new").text("figures/a.txt") == "new"
        store.set_aside(old, "told late")
        assert found(store, "k1").text("figures/a.txt") == "new"
        kept = {name.rpartition("/")[2]: name for name in store.list("damaged")}
        assert store.read_text(kept["reason.txt"]) == "a test says so\n"
        assert store.read_text(kept["a.txt"]) == "old"

    def test_a_damaged_manifest_is_refused_and_can_be_set_aside(self, store: Store) -> None:
        publish(store, "k1")
        store.backend.write(manifest_name(store, "gan", "k1"), b"{")
        with pytest.raises(StoreError, match=r"(?s)manifest of artifact gan k1.*damaged.*verify k1 --repair"):
            store.find("gan", "k1")
        store.set_aside_key("gan", "k1", "its manifest cannot be read")
        assert store.find("gan", "k1") is None
        publish(store, "k1")

    @pytest.mark.parametrize("store", ["s3"], indirect=True)
    def test_a_damaged_copy_of_this_machine_is_fetched_again(self, store: Store) -> None:
        publish(store, "k1", "abc")
        copy = store.local / "gan" / "k1" / "figures" / "a.txt"
        copy.parent.mkdir(parents=True)
        copy.write_text("xyz")
        assert (found(store, "k1").path / "figures" / "a.txt").read_text() == "abc"
        assert copy.read_text() == "abc"


class TestCheckpoints:
    def test_the_newest_is_loaded_until_cleared(self, store: Store) -> None:
        checkpoints = pickle.loads(pickle.dumps(store.checkpoints("k1")))
        assert checkpoints.load() is None
        for step in range(4):
            checkpoints.save(lambda folder, step=step: _write(folder, step))
            loaded = checkpoints.load()
            assert loaded is not None
            assert (loaded / "deep" / "step").read_text() == str(step)
        assert store.checkpoints("k2").load() is None
        checkpoints.clear()
        assert checkpoints.load() is None
        assert not [name for name in store.list("checkpoints") if "k1" in name and store.uri.startswith("s3")]

    def test_a_save_that_fails_leaves_the_one_before(self, store: Store) -> None:
        checkpoints = store.checkpoints("k1")
        checkpoints.save(lambda folder: _write(folder, 1))

        def fail(folder: Path) -> None:
            _write(folder, 2)
            raise InterruptedError

        with pytest.raises(InterruptedError):
            checkpoints.save(fail)
        loaded = checkpoints.load()
        assert loaded is not None
        assert (loaded / "deep" / "step").read_text() == "1"

    def test_the_same_content_twice_is_one_checkpoint(self, store: Store) -> None:
        checkpoints = store.checkpoints("k1")
        for _ in range(3):
            checkpoints.save(lambda folder: _write(folder, 7))
        loaded = checkpoints.load()
        assert loaded is not None
        assert (loaded / "deep" / "step").read_text() == "7"

    def test_without_the_newest_the_one_before_is_loaded(self, store: Store) -> None:
        """On S3 a file of the newest is damaged; in a folder the run was killed between the two renames."""
        checkpoints = store.checkpoints("k1")
        for step in (1, 2):
            checkpoints.save(lambda folder, step=step: _write(folder, step))
        if isinstance(store.backend, S3Backend):
            for name in store.list("checkpoints/k1"):
                if store.read_text(name) == "2":
                    flip_bit(store, name)
        else:
            store.backend.remove_below("checkpoints/k1/latest")
        loaded = checkpoints.load()
        assert loaded is not None
        assert (loaded / "deep" / "step").read_text() == "1"


def _write(folder: Path, step: int) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "step").write_text(str(step))
    (folder / "weights").write_bytes(bytes(100_000))


class TestDocuments:
    def test_documents_are_written_read_listed_and_removed(self, store: Store) -> None:
        assert store.read_text("studies/a/needs.json") is None
        store.write_text("studies/a/needs.json", "1")
        store.write_text("studies/a/needs.json", "2 µm")
        store.write_text("studies/b/plan.yaml", "")
        assert store.read_text("studies/a/needs.json") == "2 µm"
        assert store.list("studies") == ["studies/a/needs.json", "studies/b/plan.yaml"]
        assert store.list("studies/a") == ["studies/a/needs.json"]
        assert store.list("nothing") == []
        store.remove("studies/a/needs.json")
        store.remove("studies/a/needs.json")
        assert store.list("studies") == ["studies/b/plan.yaml"]

    def test_of_sixteen_swaps_one_succeeds(self, store: Store) -> None:
        together = threading.Barrier(16)

        def swap(content: bytes | None, expected: bytes | None) -> bool:
            together.wait()
            return store.backend.swap("leases/gan/k1.json", content, expected)

        for round_ in range(3):
            for expected in (None, b"held"):
                with ThreadPoolExecutor(16) as pool:
                    won = list(pool.map(lambda n: swap(f"{n} {round_}".encode(), expected), range(16)))  # noqa: B023
                assert won.count(True) == 1
                assert store.backend.read("leases/gan/k1.json") == f"{won.index(True)} {round_}".encode()
                store.backend.write("leases/gan/k1.json", b"held")
            assert store.backend.swap("leases/gan/k1.json", None, b"held")
