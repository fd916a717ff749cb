"""`registry`, `rollback` and `compare` on two real detectors."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from sweep.plan import Plan
from sweep.registry.gates import Gate, Verdict
from sweep.registry.lineage import description_of, tags_of
from sweep.registry.records import Record
from sweep.registry.selection import ranking
from sweep.registry.versions import DETECTOR, Registry
from sweep.store import Store
from sweep.tracking.tags import COHORT, EVALUATION, QUALITY, STAGE_KEY, validation_tag
from sweep.tracking.tracker import Tracker
from tests.sweep.cli.conftest import Metsweep
from tests.trainers.data.phantom import make_cohort, read_manifest, write_manifest
from trainers.data.cohort import open_cohort
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_set import open_slice_set
from trainers.data.volume_tasks import check_cohort
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import evaluate

LOW = EvaluationConfig(confidence=0.001, froc_confidence=0.0005, bootstraps=100)
"""What untrained detectors find is not more confident."""


@pytest.fixture
def metsweep(metsweep: Metsweep, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Metsweep:
    """Runs a command that sees `registry`."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.tracking_uri)
    return metsweep


@pytest.fixture
def registry(
    plan: Plan,
    full_store: Store,
    recorded_uri: str,
    tmp_path: Path,
) -> Registry:
    """Version 1 is the real-only detector and champion, version 2 another and candidate."""
    shutil.copy(recorded_uri.removeprefix("sqlite:///"), tmp_path / "own.db")
    uri = f"sqlite:///{tmp_path / 'own.db'}"
    tracker = Tracker(uri, plan, full_store)
    tracker.open()
    registry = Registry(uri)
    for ranked in sorted(ranking(plan, full_store), key=lambda one: one.trial.count)[:2]:
        key = ranked.trial.evaluate.key
        tags = tags_of(plan, ranked, key, "unknown") | {EVALUATION: LOW.model_dump_json()}
        version = registry.register(DETECTOR, tracker.model_of(key), tags, description_of(plan, ranked, "unknown"))
        registry.crown(version, "promoted") if version.number == "1" else registry.set_candidate(version)
    return registry


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of which both detectors know nothing, divided by its manifest."""
    folder = make_cohort(tmp_path_factory.mktemp("others") / "cohort", patients=5, normals=0)
    splits = ("train", "validation", "test", "test", "test")
    subjects = [{**one, "split": split} for one, split in zip(read_manifest(folder), splits, strict=True)]
    write_manifest(folder, subjects)
    return folder


def test_comparison_has_the_figures_of_an_evaluation_and_pairs_them(
    metsweep: Metsweep, registry: Registry, patients: Path, plan: Plan, full_store: Store, tmp_path: Path
) -> None:
    ended = metsweep("compare", "champion", "candidate", "--cohort", patients, "--out", "compared")
    assert ended.code == 0, ended.err
    for part in ("version 1 (champion, none seed 0)", "phantom, test, IoU 0.5", "IoU 0.25", "gain", "3 patients"):
        assert part in ended.out
    told = json.loads(Path("compared/comparison.json").read_text())

    prepare(open_cohort(patients), PrepareConfig(size=32), tmp_path / "slices", lambda *_: None)
    slices = open_slice_set(tmp_path / "slices")
    for name, number in (("first", "1"), ("second", "2")):
        tags = registry.find(DETECTOR, number).tags
        trial = next(one for one in plan.trials if one.evaluate.key == tags["metsweep.stage_key"])
        detector = full_store.local / "detector" / trial.evaluate.detector.key
        evaluate(detector, slices, LOW, tmp_path / name, lambda *_: None, torch.device("cpu"))
        expected = json.loads((tmp_path / name / "metrics.json").read_text())["test"]
        assert expected["iou25"]["fps_per_slice"] > 0
        assert told[name]["figures"] == expected
    by_iou = {row["iou"]: row for row in csv.DictReader(io.StringIO(Path("compared/comparison.csv").read_text()))}
    for iou, name in (("0.5", "iou50"), ("0.25", "iou25")):
        first, second = (told[side]["figures"][name]["sensitivity"] for side in ("first", "second"))
        assert told["gains_of_second"][name]["gain"]["difference"] == pytest.approx(second - first)
        assert float(by_iou[iou]["gain"]) == pytest.approx(second - first)
        assert told["gains_of_second"][name]["gain"]["patients"] == 3


def test_cohort_without_boxes_or_that_a_detector_knows_is_refused(
    metsweep: Metsweep, registry: Registry, patients: Path, tmp_path: Path
) -> None:
    subjects = [{**one, "boxes": None} for one in read_manifest(patients)]
    shutil.copytree(patients, tmp_path / "bare")
    write_manifest(tmp_path / "bare", subjects)
    config = PrepareConfig(size=32)
    fingerprint = check_cohort(open_cohort(patients), config).fingerprint()
    client = MlflowClient(registry.tracking_uri, registry.tracking_uri)
    client.set_model_version_tag(DETECTOR, "2", COHORT, fingerprint)
    for arguments, part in (
        (("1", "2", "--cohort", tmp_path / "bare"), "neither mask nor boxes"),
        (("1", "2", "--cohort", patients, "--split", "train"), "--split is 'train'; allowed: test, validation, all"),
        (("1", "2", "--cohort", patients, "--split", "all"), "version 2 was trained on patients of"),
        (("1", "champion", "--cohort", patients), "Both are version 1 of metsweep-detector (champion)"),
        (("1", "best", "--cohort", patients), "no metsweep-detector 'best'; allowed: 1 = champion, 2 = candidate"),
    ):
        ended = metsweep("compare", *arguments, "--out", "compared")
        assert ended.code == 2, ended.out
        assert part in ended.err
        assert not Path("compared").exists()
    client.set_model_version_tag(DETECTOR, "2", COHORT, "another")
    assert metsweep("compare", "1", "2", "--cohort", patients, "--split", "all").code == 0


def test_versions_are_listed(metsweep: Metsweep) -> None:
    ended = metsweep("registry")
    assert ended.code == 0, ended.err
    rows = [line.split() for line in ended.out.splitlines() if "small: " in line]
    assert [row[:2] for row in rows] == [["2", "candidate"], ["1", "champion"]]
    assert "metsweep-generator: none yet" in ended.out


def test_versions_are_listed_for_programs(metsweep: Metsweep, registry: Registry) -> None:
    ended = metsweep("registry", "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)["models"]
    assert told["metsweep-generator"] == []
    second, first = told[DETECTOR]
    assert (first["version"], first["aliases"], first["study"]) == ("1", ["champion"], "small")
    assert first["champion_since"] is not None
    assert second["champion_since"] is None
    tags = registry.find(DETECTOR, "2").tags
    assert second["validation_sensitivity"] == json.loads(tags[QUALITY])["sensitivity"]
    assert second["validation_sensitivity"] == pytest.approx(float(tags[validation_tag("sensitivity")]), abs=1e-6)
    assert second["stage_key"] == tags[STAGE_KEY]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_of_a_version_is_cut_and_its_tags_are_text(
    metsweep: Metsweep, registry: Registry, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    client = MlflowClient(registry.tracking_uri, registry.tracking_uri)
    for key, value in Record.now((Gate("pulse", 0.0, 0.0, Verdict.FAIL, "no"),), "[/b] \x1b[2J").tags(1).items():
        client.set_model_version_tag(DETECTOR, "1", key, value)
    client.set_model_version_tag(DETECTOR, "1", validation_tag("sensitivity"), "[red]none")
    monkeypatch.setenv("COLUMNS", str(width))
    ended = metsweep("registry", "--model", "detector")
    assert ended.code == 0, ended.err
    (reign,) = registry.history(DETECTOR)
    times = (reign.since[:16], registry.find(DETECTOR, "2").registered.isoformat()[:16])
    for part in (*" ".join(times).replace("T", " ").split(), "[/b]", "candidate"):
        assert part in ended.out
    assert ("version: " in ended.out) == (width < 80), "a table on a standard terminal, else a list"
    assert "\x1b" not in ended.out
    assert all(len(line) <= width for line in ended.out.splitlines())


def test_rollback_tells_from_and_to(metsweep: Metsweep, registry: Registry) -> None:
    first = metsweep("rollback")
    assert first.code == 2
    assert "version 1 is its first champion" in first.err
    registry.crown(registry.find(DETECTOR, "2"), "promoted")

    dry = metsweep("rollback", "--dry-run")
    assert dry.out.startswith(
        "metsweep-detector@champion: from version 2 (cpggan 4 seed 0) to version 1 (none seed 0)."
    )
    champion = registry.champion(DETECTOR)
    assert champion is not None
    assert champion.number == "2"

    assert metsweep("rollback").code == 0
    champion = registry.champion(DETECTOR)
    assert champion is not None
    assert champion.number == "1"
    assert metsweep("rollback", "--model", "both", "--to", "1").code == 2
    assert "--model is 'gan'; allowed: detector, generator, both" in metsweep("rollback", "--model", "gan").err


@pytest.mark.parametrize("command", [("registry",), ("rollback",), ("compare", "1", "2", "--cohort", "x")])
def test_where_there_is_no_registry_nothing_is_made(
    metsweep: Metsweep, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    ended = metsweep(*command)
    assert ended.code == 2
    assert "mlflow.db does not exist yet; `metsweep promote STUDY`" in ended.err
    assert not list(Path.cwd().iterdir())
