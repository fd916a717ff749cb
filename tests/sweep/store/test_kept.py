"""What this machine keeps of an object store: never out of date, bounded, and ignored where it is damaged."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.utils import parse_timestamp

from sweep.store import Store
from sweep.store.kept import LARGEST, Kept
from sweep.store.s3 import S3Backend
from sweep.store.s3_client import time_of
from tests.services.seaweedfs import BUCKET, SeaweedFS
from tests.sweep.store.making import found, publish, stored_name

KEYS = [f"k{number:02d}" for number in range(12)]


class Requests:
    """Counts what a store's client asks of S3."""

    def __init__(self, store: Store) -> None:
        assert isinstance(store.backend, S3Backend)
        self.names: list[str] = []
        store.backend._client.meta.events.register("before-send.s3", self._note)

    def _note(self, event_name: str, **_: Any) -> None:
        self.names.append(event_name.rpartition(".")[2])

    def since(self) -> list[str]:
        names, self.names = self.names, []
        return names


@pytest.fixture
def filled(s3: SeaweedFS, tmp_path: Path) -> Store:  # noqa: ARG001
    store = Store(f"s3://{BUCKET}/{tmp_path.name}-{time.time_ns()}")
    for key in KEYS:
        publish(store, key, f"content of {key}")
    return store


def test_the_second_command_lists_and_reads_nothing(filled: Store) -> None:
    def texts(store: Store) -> list[str]:
        return [artifact.text("figures/a.txt") for artifact in store.find_all("gan").values()]

    first, again = Store(filled.uri), Store(filled.uri)
    of_first, of_again = Requests(first), Requests(again)
    assert sorted(texts(first)) == sorted(texts(again)) == [f"content of {key}" for key in KEYS]
    assert of_first.since().count("GetObject") == 2 * len(KEYS)
    assert of_again.since() == ["ListObjectsV2"]


def test_what_is_gone_or_made_again_is_seen_at_once(filled: Store) -> None:
    assert set(filled.find_all("gan")) == set(KEYS)
    filled.backend.remove_artifact("gan", KEYS[0])
    filled.set_aside(found(filled, KEYS[1]), "of a test")
    publish(filled, KEYS[1], "made again")
    now = filled.find_all("gan")
    assert set(now) == set(KEYS[1:])
    assert now[KEYS[1]].text("figures/a.txt") == "made again"


@pytest.mark.parametrize(("end", "instead"), [(0, b""), (20, b""), (-1, b"x")])
def test_a_damaged_entry_is_ignored_and_replaced(filled: Store, end: int, instead: bytes) -> None:
    before = {key: artifact.text("figures/a.txt") for key, artifact in filled.find_all("gan").items()}
    kept = [*(filled.local / "kept").iterdir()]
    assert len(kept) == 2 * len(KEYS)
    for path in kept:
        path.write_bytes(path.read_bytes()[:end] + instead)
    again = Store(filled.uri)
    requests = Requests(again)
    assert {key: artifact.text("figures/a.txt") for key, artifact in again.find_all("gan").items()} == before
    assert requests.since().count("GetObject") == 2 * len(KEYS)


def test_an_object_that_is_damaged_in_the_store_is_not_kept(filled: Store) -> None:
    artifact = found(filled, KEYS[0])
    name = stored_name(filled, artifact, "figures/a.txt")
    filled.backend.write(name, b"something else")
    for _ in range(2):
        assert filled.backend.read_file(artifact.manifest, "figures/a.txt") == b"something else"


def test_a_folder_that_cannot_be_written_only_costs_time(filled: Store) -> None:
    filled.local.parent.mkdir(parents=True, exist_ok=True)
    filled.local.write_text("a file where a folder should be")
    assert set(filled.find_all("gan")) == set(KEYS)


def test_the_folder_is_bounded_and_what_is_used_stays(tmp_path: Path) -> None:
    kept = Kept(tmp_path, most_bytes=20_000)
    for number in range(10):
        kept.put(f"{number}", bytes(1000))
        os.utime(kept._path(f"{number}"), (1e9 + number, 1e9 + number))
    assert kept.get("0") == bytes(1000)  # which is noted
    for number in range(10, 20):
        Kept(tmp_path, most_bytes=20_000).put(f"{number}", bytes(1000))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 15_000
    assert [kept.get(f"{number}") is None for number in (0, 1, 2, 19)] == [False, True, True, False]
    kept.put("large", bytes(LARGEST + 1))
    assert kept.get("large") is None


@pytest.mark.parametrize("text", ["2026-11-29T13:00:00.123Z", "2026-11-29T13:00:00Z", "Sun, 29 Nov 2026 13:00:00 GMT"])
def test_time_stamps_are_those_that_botocore_reads(text: str) -> None:
    assert time_of(text) == parse_timestamp(text)
    assert time_of(1.7e9) == parse_timestamp(1.7e9)
