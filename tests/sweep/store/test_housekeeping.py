"""`metsweep store`: listing, sizes, verification and garbage collection, on both kinds of store."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from sweep.cli import main
from sweep.store import Store, collect, lease
from sweep.store.backend import HalfWritten
from sweep.store.manifest import key_of
from sweep.store.survey import survey, usage
from tests.sweep.store.making import flip_bit, found, publish, stored_name

OLD = time.time() - 30 * 86400


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.5)
    monkeypatch.setattr(lease, "LOST_AFTER_S", 2.5)
    monkeypatch.setattr(lease, "POLL_S", 0.1)


def run(capsys: pytest.CaptureFixture[str], store: Store, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["store", *arguments, "--store", store.uri])
    said = capsys.readouterr()
    return code, said.out + said.err


def chain(store: Store, name: str, finished: float = OLD) -> list[str]:
    """Artifacts of four stages that are made of each other: slices, GAN, detector, evaluation."""
    keys = [f"{stage}-{name}" for stage in ("prepare", "gan", "detector", "evaluate")]
    publish(store, keys[0], stage="prepare", finished=finished)
    config = {"variant": "cpggan", "seed": 3}
    publish(store, keys[1], stage="gan", inputs=(keys[0],), finished=finished, config=config)
    publish(store, keys[2], stage="detector", inputs=(keys[0], keys[1]), finished=finished, config={"seed": 7}, count=4)
    publish(store, keys[3], stage="evaluate", inputs=(keys[2],), finished=finished)
    return keys


def keyed(store: Store, stage: str) -> str:
    """An artifact whose key is that of its identity; returns the key."""
    identity = {"stage": stage, "version": 1, "config": {}, "inputs": {}}
    key = key_of(identity)
    publish(store, key, stage=stage, version=1, config={})
    return key


def _write(folder: Path, size: int) -> None:
    (folder / "weights").write_bytes(bytes(size))


def all_keys(store: Store) -> set[str]:
    return {key for stage in store.stages() for key in store.keys(stage)}


def test_json_for_programs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    prepared, gan, *_ = chain(store, "a")
    listed = json.loads(run(capsys, store, "ls", "--stage", "gan", "--json")[1])
    assert listed["damaged"] == []
    (one,) = listed["artifacts"]
    assert (one["stage"], one["key"], one["inputs"]) == ("gan", gan, [prepared])
    assert "variant=cpggan" in one["made_by"]
    used = json.loads(run(capsys, store, "du", "--json")[1])
    assert used["bytes"]["gan"] > 0
    assert used["bytes_in_all"] == sum(used["bytes"].values())


def test_verify_for_programs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    gan, _ = keyed(store, "gan"), keyed(store, "detector")
    told = json.loads(run(capsys, store, "verify", "--json")[1])
    assert (told["whole"], told["without_checksum"], told["damaged"]) == (2, 0, [])
    flip_bit(store, stored_name(store, found(store, gan), "figures/a.txt"))
    code, said = run(capsys, store, "verify", "--repair", "--json")
    assert code == 1
    (damaged,) = json.loads(said)["damaged"]
    assert (damaged["key"], damaged["set_aside"]) == (gan, True)


def test_ls_and_du(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    chain(store, "a", time.time() - 7200)
    store.checkpoints("k9").save(lambda folder: _write(folder, 5_000))
    code, said = run(capsys, store, "ls")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].split() == ["stage", "key", "size", "age", "made", "by"]
    gan = next(line for line in lines if line.startswith("gan"))
    assert gan.split()[2:] == ["3", "B", "2", "h", "variant=cpggan", "seed=3"]
    assert "variant=cpggan count=4 seed=7" in next(line for line in lines if line.startswith("detector"))
    assert f"4 artifacts, 12 B, in {store.uri}" in said
    code, said = run(capsys, store, "ls", "--stage", "gan")
    assert "gan-a" in said
    assert "detector" not in said
    code, said = run(capsys, store, "du")
    assert "5." in next(line for line in said.splitlines() if line.startswith("checkpoints"))
    used = usage(store)
    assert used["checkpoints"] >= 5_000
    assert used["gan"] >= 3
    assert set(used) <= {"prepare", "gan", "detector", "evaluate", "checkpoints", "other"}


def test_verify_tells_the_file_and_repairs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    gan = keyed(store, "gan")
    for stage in ("prepare", "detector", "evaluate"):
        keyed(store, stage)
    code, said = run(capsys, store, "verify")
    assert (code, said) == (0, "4 artifacts intact (8 files, 12 B), 0 damaged.\n")
    flip_bit(store, stored_name(store, found(store, gan), "figures/a.txt"))
    code, said = run(capsys, store, "verify")
    assert code == 1
    assert f"Artifact gan {gan} is damaged" in said
    assert "figures/a.txt should be 3 bytes" in said
    assert "3 artifacts intact (6 files, 9 B), 1 damaged." in said
    assert run(capsys, store, "verify", keyed(store, "detector")[:9])[0] == 0
    assert run(capsys, store, "verify", "nothing")[0] == 2
    code, said = run(capsys, store, "verify", "--repair")
    assert code == 1
    assert f"quarantined: gan {gan[:12]}" in said
    assert store.find("gan", gan) is None
    assert run(capsys, store, "verify")[0] == 0
    keyed(store, "gan")


def test_gc_keeps_what_is_needed_and_removes_the_rest(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    by_study, by_lease, by_model, garbage = (chain(store, name) for name in ("study", "lease", "model", "garbage"))
    young = chain(store, "young", time.time())
    needs = {"study": "a", "keys": {"evaluate": [by_study[3]], "gan": ["not-made-yet"]}}
    store.write_text("studies/a/needs.json", json.dumps(needs))
    for key in (by_study[1], "not-made-yet"):
        store.checkpoints(key).save(lambda folder: _write(folder, 1))
    damaged = publish(store, "bad")
    store.set_aside(damaged, "a test says so")
    dead = store.lease("gan", garbage[1])
    assert dead.acquire()
    dead._released.set()  # its holder beats no more

    with store.lease("detector", by_lease[2]):
        before = sorted(entry.name for entry in store.backend.entries() if not entry.name.startswith("leases/"))
        planned = collect.find_garbage(store, {by_model[3]}, 7 * 86400)
        assert before == sorted(entry.name for entry in store.backend.entries() if not entry.name.startswith("leases/"))
        code, said = run(capsys, store, "gc", "--dry-run", "--ignore-registry")
        assert code == 0
        assert "would remove artifact gan gan-garbage variant=cpggan seed=3 (3 B): no study, lease" in said
        assert "nothing was removed" in said
        told = json.loads(run(capsys, store, "gc", "--dry-run", "--ignore-registry", "--json")[1])
        assert (told["removed"], len(told["removals"])) == (False, said.count("would remove"))
        assert told["bytes"] == sum(one["bytes"] for one in told["removals"])
        for one in planned:
            one.remove()
    kept = {*by_study, *by_lease[:3], *by_model, *young}
    assert all_keys(store) == kept
    for key in kept:
        stage = key.partition("-")[0]
        assert found(store, key, stage).text("figures/a.txt") == "abc"
    assert store.checkpoints(by_study[1]).load() is None
    assert store.checkpoints("not-made-yet").load() is not None
    assert not store.list("damaged")


def test_gc_removes_half_written_files_when_they_are_old(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = publish(store, "whole", finished=time.time())
    half = publish(store, "half", finished=time.time())
    busy = publish(store, "busy", finished=time.time())
    if (root := Path(store.uri)).is_dir():
        for one in (half, busy):
            key = one.manifest.key
            (root / "gan" / key).rename(root / "tmp" / f"gan-{key}-123")
    else:
        for one in (half, busy):
            store.backend.remove(f"manifests/gan/{one.manifest.key}.json")
    publications = {whole.manifest.publication}
    assert {found.stage_and_key for found in store.backend.half_written(publications)} == {
        ("gan", "half"),
        ("gan", "busy"),
    }
    assert "0 removals" in run(capsys, store, "gc", "--ignore-registry")[1]
    monkeypatch.setattr(collect, "DAY_S", -60.0)
    with store.lease("gan", "busy"):
        code, said = run(capsys, store, "gc", "--ignore-registry", "--older-than", "9999999d")
        assert code == 0
        assert "removed half-written" in said
        left: list[HalfWritten] = list(store.backend.half_written(publications))
        assert [found.stage_and_key for found in left] == [("gan", "busy")]
    assert found(store, "whole").text("figures/a.txt") == "abc"


def test_gc_removes_nothing_while_something_is_unknown(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = chain(store, "a")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    code, said = run(capsys, store, "gc")
    assert code == 2
    assert "--ignore-registry" in said
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    code, said = run(capsys, store, "gc")
    assert code == 2
    assert "The MLflow database" in said
    assert "does not exist" in said
    assert not (tmp_path / "mlflow.db").exists()
    store.write_text("studies/a/needs.json", '{"study": "a"')
    code, said = run(capsys, store, "gc", "--ignore-registry")
    assert code == 2
    assert "studies/a/needs.json is damaged: " in said
    assert run(capsys, store, "gc", "--ignore-registry", "--older-than", "soon")[0] == 2
    store.remove("studies/a/needs.json")
    name = f"manifests/gan/{keys[1]}.json" if store.uri.startswith("s3") else f"gan/{keys[1]}/manifest.json"
    store.backend.write(name, b"{")
    code, said = run(capsys, store, "gc", "--ignore-registry")
    assert code == 2
    assert "verify gan-a --repair" in said
    assert all_keys(store) == set(keys)


def test_ten_thousand_keys_are_listed_within_a_second(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for number in range(10_000):
        folder = tmp_path / "store" / "gan" / f"{number:064x}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
    (tmp_path / "store" / "gan" / "without-manifest").mkdir()
    began = time.perf_counter()
    keys = store.keys("gan")
    took = time.perf_counter() - began
    assert len(keys) == 10_000
    assert took < 1, f"{took:.2f} s"


def test_a_survey_sees_every_artifact_and_damaged_manifests(store: Store) -> None:
    keys = chain(store, "a")
    name = f"manifests/gan/{keys[1]}.json" if store.uri.startswith("s3") else f"gan/{keys[1]}/manifest.json"
    store.backend.write(name, b"{")
    seen = survey(store)
    assert set(seen.artifacts) == set(keys) - {keys[1]}
    assert [(damage.stage, damage.key) for damage in seen.damaged] == [("gan", keys[1])]
