"""A manifest is believed only as far as its key and its checksum go."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from search_spaces.study import shipped
from sweep.cli import main
from sweep.store import DamagedArtifact, Machine, Store
from sweep.store.manifest import Manifest, StoredFile, key_of
from sweep.store.s3_checkpoints import _Checkpoint
from sweep.store.survey import Damage, verify
from tests.sweep.publishing import publishing
from tests.sweep.small_study import small_plan
from tests.sweep.store.making import COST

MACHINE = Machine(cpu="AMD EPYC 7763", torch="2.9.0", kernels="AVX2", blas="MKL 2024.2")
OLD = {"machine", "checksum"}


def publish(store: Store, machine: Machine | None = MACHINE) -> Path:
    """A detector of a real stage; returns its manifest."""
    stage = small_plan().trials[1].evaluate.detector
    with publishing(store, stage, COST, machine) as folder:
        (folder / "weights").write_text("abc")
    return Path(store.uri, stage.name, stage.key, "manifest.json")


def as_older(path: Path, **changes: Any) -> None:
    """The manifest as versions before checksums wrote it."""
    values = {name: value for name, value in json.loads(path.read_text()).items() if name not in OLD}
    path.write_text(json.dumps(values | changes, indent=2))


def checked(store: Store) -> list[bool]:
    """Of every artifact, whether it is whole."""
    return [not isinstance(one, Damage) for one in verify(store, [])]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_keys_are_made_again_from_identities() -> None:
    assert "table1" in shipped("studies")
    for stage in small_plan(seeds=(0, 1)).stages.values():
        assert key_of(json.loads(json.dumps(stage.identity))) == stage.key


def test_a_manifest_says_what_it_was_made_on(store: Store) -> None:
    publish(store)
    (artifact,) = store.artifacts("detector")
    assert artifact.manifest.machine == MACHINE
    assert str(MACHINE) == "AMD EPYC 7763, torch 2.9.0 AVX2, MKL 2024.2"
    assert checked(store) == [True]


def test_this_machine_is_known() -> None:
    import torch

    machine = Machine.this()
    assert machine.cpu
    assert (machine.torch, machine.kernels) == (torch.__version__, torch.backends.cpu.get_cpu_capability())
    assert re.search(r"\d", machine.blas)
    assert not machine.gpu


@pytest.mark.parametrize(
    ("part", "value"),
    [("cost", COST.model_dump() | {"finished": 6.0}), ("files", {}), ("machine", None), ("checksum", "")],
)
def test_a_changed_manifest_is_damaged(store: Store, part: str, value: Any) -> None:
    path = publish(store)
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: value}))
    assert checked(store) == [False]
    with pytest.raises(DamagedArtifact, match="--repair"):
        store.find("detector", path.parent.name)


def test_the_same_content_is_not_damaged(store: Store) -> None:
    path = publish(store)
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert checked(store) == [True]


def test_a_manifest_of_another_key_is_damaged(store: Store) -> None:
    path = publish(store)
    path.parent.rename(path.parent.with_name("0" * 64))
    assert checked(store) == [False]


def test_a_sealed_identity_that_makes_another_key_is_damaged(store: Store) -> None:
    path = publish(store)
    manifest = Manifest.model_validate_json(path.read_bytes())
    other = manifest.model_copy(update={"identity": manifest.identity | {"version": 99}})
    path.write_text(other.sealed().model_dump_json())
    assert checked(store) == [False]


def test_an_older_manifest_is_read_and_its_identity_checked(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    path = publish(store)
    as_older(path)
    assert main(["store", "verify", "--store", store.uri]) == 0
    assert "1 manifest from before manifests had checksums" in capsys.readouterr().out
    identity = json.loads(path.read_text())["identity"]
    for changes in (
        {"files": {}},
        {"identity": identity | {"version": 99}},
        {"identity": identity | {"config": identity["config"] | {"seed": 8}}},
        {"identity": identity | {"inputs": {}}},
        {"identity": {"stage": "detector"}},
        {"identity": identity | {"inputs": [1]}},
    ):
        as_older(path, **({"identity": identity} | changes))
        assert checked(store) == [False], changes


def test_a_file_that_is_a_folder_now_is_damage(store: Store) -> None:
    path = publish(store)
    (path.parent / "weights").unlink()
    (path.parent / "weights").mkdir()
    assert checked(store) == [False]
    with pytest.raises(DamagedArtifact, match="weights should be 3 bytes"):
        _ = next(store.artifacts("detector")).path


def test_files_of_a_checkpoint_in_s3_lie_in_its_folder() -> None:
    with pytest.raises(ValidationError, match="lies outside its folder"):
        _Checkpoint(files={"../weights": StoredFile.of(b"abc")})


def test_files_lie_in_their_artifact(store: Store) -> None:
    path = publish(store)
    files = json.loads(path.read_text())["files"]
    for name in ("../../other", "/etc/passwd", "a/../../b", ""):
        as_older(path, files={name: files["weights"]})
        assert checked(store) == [False]
