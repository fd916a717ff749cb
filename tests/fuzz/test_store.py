"""Documents of a store and manifests, damaged: refused, or what the undamaged one tells, as all have a checksum."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.study import load_study
from sweep.store import Store
from sweep.store.lease import read_record
from sweep.store.machine import Machine
from sweep.store.survey import Damage, usage, verify
from sweep.studies.outcome import Outcome
from sweep.studies.progress import StageProgress
from sweep.studies.records import LaunchOptions, Request, Status, StudyRecord
from tests.fuzz.damage import TEXT, key_twice
from tests.fuzz.harness import fuzz
from tests.sweep.publishing import publishing
from tests.sweep.small_study import small_plan
from tests.sweep.store.making import COST
from trainers.exceptions import StoreError

STAGES = {"k" * 64: StageProgress("detector", "running", 5, 10, {"loss": 0.125}, (1.5, 0))}


def keep_needs(record: StudyRecord) -> None:
    record.keep_needs(small_plan())


def keep_extension(record: StudyRecord) -> None:
    record.keep_extension({"seeds": [0, 1, 2], "trials": 8, "arms": [("cpggan", [4, 8])]}, {})


def keep_options(record: StudyRecord) -> None:
    record.keep_options(LaunchOptions(cohort="/cohort", overrides=("gan.batch_size=4",), places={"a": "/b"}))


def keep_status(record: StudyRecord) -> None:
    record.keep_status(Status(updated=2.5, began=1.5, host="here", pid=7, running=("none seed 0",), stages=STAGES))


def take_request(record: StudyRecord) -> Any:
    (taken,) = list(record.take_requests()) or (None,)
    return taken


DOCUMENTS: dict[str, tuple[Callable[[StudyRecord], None], Callable[[StudyRecord], Any]]] = {
    "study.yaml": (lambda record: record.keep_study(load_study("quickstart")), StudyRecord.launched),
    "needs.json": (keep_needs, StudyRecord.needs),
    "extension.yaml": (keep_extension, StudyRecord.extension),
    "options.json": (keep_options, StudyRecord.options),
    "outcomes.json": (
        lambda record: record.keep_outcomes({"none seed 0": Outcome(state="failed", error="no memory")}),
        StudyRecord.outcomes,
    ),
    "status.json": (keep_status, StudyRecord.status),
    "requests/1.json": (
        lambda record: record.ask(Request(action="stop", trials=("none seed 0", "cpggan 4 seed 1"))),
        take_request,
    ),
}
SET_ASIDE = {"status.json", "requests/1.json"}
"""Those that are told of and left out, not refused: the launch writes them again, or whoever asked asks again."""


def reader(tmp_path: Path, name: str) -> tuple[Callable[[bytes], Any], bytes]:
    """Reads a document of that name as the commands do, and one to read."""
    record = StudyRecord(Store(tmp_path), "small")
    keep, read = DOCUMENTS[name]
    keep(record)
    (path,) = (one for one in (tmp_path / "studies" / "small").rglob("[!.]*") if one.is_file())
    content = path.read_bytes()

    def run(made: bytes) -> Any:
        path.write_bytes(made)
        got = read(record)
        if got is None and name in SET_ASIDE:
            raise StoreError("told of, and left out")
        return got

    return run, content


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_damage_of_a_document_is_silent(tmp_path: Path, name: str) -> None:
    run, content = reader(tmp_path, name)
    damages = TEXT | ({"key twice": key_twice} if name.endswith(".json") else {})
    tally = fuzz(run, content, damages, count=90, illegal=damages)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 40, str(tally)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_damage_of_an_older_document_ends_in_anything_but_a_refusal_or_what_it_can_hold(
    tmp_path: Path, name: str
) -> None:
    run, content = reader(tmp_path, name)
    if name.endswith(".json"):
        content = json.dumps({key: one for key, one in json.loads(content).items() if key != "checksum"}).encode()
    else:
        content = content.partition(b"\n")[2]
    tally = fuzz(run, content, TEXT, count=50)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 10, str(tally)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Of an artifact with a file."""
    store, stage = Store(tmp_path), small_plan().trials[0].evaluate.detector
    with publishing(store, stage, COST, Machine(cpu="some")) as folder:
        (folder / "weights").write_text("abc")
    return tmp_path / stage.name / stage.key / "manifest.json"


def of_manifest(path: Path) -> Callable[[bytes], Any]:
    """What `store ls`, `du` and `verify` read of an artifact; damage that they tell of is a refusal."""
    store = Store(path.parents[2])

    def run(made: bytes) -> Any:
        path.write_bytes(made)
        usage(store)
        (seen,) = verify(store, [])
        if isinstance(seen, Damage):
            raise StoreError(seen.reason)
        return seen.manifest

    return run


def test_no_damage_of_a_manifest_is_silent(manifest: Path) -> None:
    damages = TEXT | {"key twice": key_twice}
    tally = fuzz(of_manifest(manifest), manifest.read_bytes(), damages, count=150, illegal=damages)
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 100, str(tally)


def test_no_damage_of_an_older_manifest_ends_in_anything_but_a_refusal_or_what_it_can_hold(manifest: Path) -> None:
    values = json.loads(manifest.read_bytes()) | {"checksum": "", "machine": None}
    tally = fuzz(
        of_manifest(manifest), json.dumps(values, indent=1).encode(), TEXT | {"key twice": key_twice}, count=100
    )
    assert not tally.faults, str(tally)
    assert tally.counts["refused"] > 50, str(tally)


def test_damaged_leases_are_read_or_lapse(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lease("gan", "k"):
        content = store.backend.read("leases/gan/k.json")
    assert content is not None
    tally = fuzz(read_record, content, TEXT, count=100)
    assert not tally.faults, str(tally)
