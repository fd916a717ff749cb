"""Only a complete study, its best by validation, and models that pass their gates become champions."""

from __future__ import annotations

import json
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt
from mlflow import MlflowClient

from search_spaces.search import Constraint
from sweep.detect import MODEL_COLUMNS, detect, slice_config
from sweep.plan import Plan
from sweep.registry.champion import champion_folder
from sweep.registry.judging import Limits
from sweep.registry.promotion import Judgement, Request, judge, promote
from sweep.registry.records import records
from sweep.registry.rollback import planned
from sweep.registry.selection import pick, ranking
from sweep.registry.versions import DETECTOR, GENERATOR, Registry
from sweep.store import Store
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.records import StudyRecord
from sweep.tracking.tags import COHORT, FORCED, JUDGED, STAGE_KEY, TRIAL
from sweep.tracking.tracker import Tracker
from tests.sweep.evaluated import put, search_plan
from tests.sweep.judged_study import copied, judged_plan, set_found, set_realism
from tests.sweep.small_study import small_plan
from tests.trainers.data.phantom import save, stripped_brain
from trainers.evaluation.realism.memorisation import Verdict
from trainers.exceptions import ConfigError, StoreError, TrackingError

SEEDS = (0, 1, 2)
LIMITS = Limits()
LOAD_BOTH = """
import json, sys
import mlflow, numpy as np, pandas as pd

detector = mlflow.pyfunc.load_model("models:/metsweep-detector@champion")
found = detector.predict(np.load(sys.argv[1])[:2], params={"confidence": 0.001})
inside = detector.predict("t1c.nii.gz", params={"confidence": 0.001, "stripped": True})
generator = mlflow.pyfunc.load_model("models:/metsweep-generator@champion")
made = generator.predict(pd.DataFrame({"slice": [0], "x0": [8.0], "y0": [8.0], "x1": [16.0], "y1": [18.0]}))
print(json.dumps([list(found.columns), len(found), list(made.shape), str(made.dtype), inside.to_dict("list")]))
"""


@pytest.fixture(scope="module")
def judged_store(seeded_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every arm finds something; `cpggan 4` beats the real-only arm beyond chance."""
    store = copied(seeded_store, tmp_path_factory.mktemp("judged") / "store")
    plan = judged_plan(SEEDS)
    found = {"none": (0, 1, 0), "cpggan 4": (4, 4, 4), "cpggan 8": (2, 2, 1), "image2image 4": (1, 0, 1)}
    for trial in plan.trials:
        set_found(store, trial, {"validation": found[trial.arm][trial.seed], "test": 1})
    set_realism(store, plan)
    return store


@pytest.fixture
def store(judged_store: Store, tmp_path: Path) -> Store:
    return copied(judged_store, tmp_path / "store")


@pytest.fixture
def tracking_uri(recorded_uri: str, tmp_path: Path) -> str:
    """MLflow that holds the study, with a registry of the test's own."""
    return own_database(recorded_uri, tmp_path)


@pytest.fixture(scope="module")
def promoted(judged_store: Store, tmp_path_factory: pytest.TempPathFactory, recorded_uri: str) -> str:
    """MLflow after a promotion whose gates all pass."""
    uri = own_database(recorded_uri, tmp_path_factory.mktemp("promoted"))
    promoting(judged_store, uri, request())
    return uri


def own_database(uri: str, folder: Path) -> str:
    shutil.copy(uri.removeprefix("sqlite:///"), folder / "own.db")
    return f"sqlite:///{folder / 'own.db'}"


def request(force: str | None = None, **changes: object) -> Request:
    return Request(**{"limits": LIMITS, "force": force, **changes})  # type: ignore[arg-type]


def promoting(store: Store, uri: str, asked: Request) -> list[Judgement]:
    plan = judged_plan(SEEDS)
    return promote(plan, store, Tracker(uri, plan, store), asked)


def content(uri: str) -> list[str]:
    """All that MLflow's database holds."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        return list(database.iterdump())


def registered(uri: str) -> list[str]:
    """All that the registry holds."""
    return [
        line
        for line in content(uri)
        if line.startswith(('INSERT INTO "registered_model', 'INSERT INTO "model_version'))
    ]


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_best_is_chosen_by_validation_not_by_test(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    for trial, validation, test, fps in zip(
        plan.trials, (0.5, 0.7, 0.7, 0.6), (0.9, 0.1, 0.2, 0.8), (1.0, 3.0, 2.0, 1.0), strict=True
    ):
        put(store, trial, test, validation, fps)
    names = [one.trial.name for one in ranking(plan, store)]
    assert names == ["cpggan 8 seed 0", "cpggan 4 seed 0", "image2image 4 seed 0", "none seed 0"]


def test_an_incomplete_study_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path / "store")
    put(store, plan.trials[0], 0.5)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(StoreError, match=r"3 of 4 trials.*cpggan 4 seed 0.*metsweep launch small"):
        promote(plan, store, Tracker(uri, plan, store), request())
    assert not (tmp_path / "mlflow.db").exists()


def test_cells_that_the_search_gave_up_are_left_out_and_others_waited_for(tmp_path: Path) -> None:
    plan, store = search_plan(3, seeds=(0,)), Store(tmp_path)
    *arms, first, pruned, running = plan.trials
    for trial, validation in zip((*arms, first, pruned), (0.5, 0.5, 0.5, 0.5, 0.6, 0.9), strict=True):
        put(store, trial, 0.5, validation, fps=1)
    with pytest.raises(StoreError, match=rf"1 of 7 trials.*{running.name}.*`metsweep launch small.yaml` first"):
        ranking(plan, store, {1}, "small.yaml")
    among = ranking(plan, store, {1, 2})
    assert among[0].trial.name == first.name, "the best was pruned, though it is evaluated"
    assert len(among) == 5
    with pytest.raises(ConfigError, match="is not a trial of the study with all figures"):
        pick(among, pruned.name, forced=True)


def test_an_arm_that_is_missing_is_refused_with_the_commands_that_make_it(tmp_path: Path) -> None:
    plan, store = search_plan(1, seeds=(0,)), Store(tmp_path)
    for trial in plan.trials[:2]:
        put(store, trial, 0.5)
    with pytest.raises(StoreError, match=r"2 of 5 trials.*Run `metsweep launch small` first"):
        ranking(plan, store, {0})
    stopped = Outcome(state="stopped", reason=StopReason.STOPPED_BY_HAND)
    StudyRecord(store, "small").keep_outcomes({"cpggan 8 seed 0": stopped})
    with pytest.raises(StoreError, match='Run `metsweep retry small "cpggan 8"` and `metsweep launch small` first'):
        ranking(plan, store, {0})


def test_what_is_not_defined_is_never_the_best(tmp_path: Path) -> None:
    plan, store = small_plan(), Store(tmp_path)
    for trial, validation in zip(plan.trials, (math.nan, 0.4, math.nan, 0.6), strict=True):
        put(store, trial, 0.5, validation)
    assert [one.trial.name for one in ranking(plan, store)] == ["image2image 4 seed 0", "cpggan 4 seed 0"]

    bound = Constraint(metric="sensitivity", at_least=0.5)
    by_fps = small_plan(objectives=[{"metric": "fps_per_slice", "direction": "minimize"}], constraints=[bound])
    assert ranking(by_fps, store)[0].trial.name == "image2image 4 seed 0", "nor does it keep a bound"

    nothing = Plan(plan.study, (plan.trials[0], plan.trials[2]))
    with pytest.raises(StoreError, match=r"no trial \(of 2\) has every objective.*`metsweep status small`"):
        ranking(nothing, store)


def test_a_study_without_iou_50_is_refused(tmp_path: Path) -> None:
    plan, store = small_plan(evaluation={"ious": [0.25]}, objectives=[{"iou": 0.25}]), Store(tmp_path)
    for trial in plan.trials:
        put(store, trial, 0.5)
    with pytest.raises(ConfigError, match=r"evaluation.ious is \[0.25\]"):
        ranking(plan, store)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001])
def test_a_reason_that_says_nothing_is_refused(store: Store, tmp_path: Path, reason: str) -> None:
    with pytest.raises(ConfigError, match="1 to 1000 characters"):
        judge(judged_plan(SEEDS), store, f"sqlite:///{tmp_path / 'mlflow.db'}", request(reason))


def test_models_that_pass_every_gate_become_champions_and_say_where_they_come_from(
    judged_store: Store, promoted: str
) -> None:
    registry = Registry(promoted)
    detector, generator = (registry.find(name, "champion") for name in (DETECTOR, GENERATOR))
    assert detector.aliases == generator.aliases == ("champion",), "no longer candidates"
    best = ranking(judged_plan(SEEDS), judged_store)[0].trial
    assert best.name == "cpggan 4 seed 0"
    assert best.gan is not None
    assert (detector.tags[STAGE_KEY], generator.tags[STAGE_KEY]) == (best.evaluate.key, best.gan.key)
    assert detector.tags[TRIAL] == best.name
    assert detector.tags[COHORT] == "discs"
    assert FORCED not in detector.tags
    gates = {key: json.loads(value) for key, value in detector.tags.items() if key.startswith("metsweep.gate.")}
    assert {gate["name"] for gate in gates.values()} == {
        "picked by validation", "paired gain", "above chance", "FPs per slice", "loads and predicts",
    }  # fmt: skip
    assert all(gate["verdict"] == "pass" for gate in gates.values())
    assert gates["metsweep.gate.paired_gain"]["figure"] > 0
    for part in (
        "Study small at fidelity laptop, trial cpggan 4 seed 0", "sensitivity 1.000, FPs/slice 1.00",
        f"- gan {best.gan.key}", f"- prepare {best.evaluate.detector.slices.key}", "- paired gain: pass",
        "Cohort discs", "AGPL-3.0-or-later",
        "not a medical device", f"metsweep at commit {detector.tags['metsweep.commit']}",
    ):  # fmt: skip
        assert part in detector.description
    assert "- memorisation: pass. No sign of leak." in generator.description
    assert [reign.why for reign in registry.history(DETECTOR)] == ["promoted"]


def test_promoting_the_champion_again_changes_nothing(judged_store: Store, promoted: str) -> None:
    before = registered(promoted)
    judged = promoting(judged_store, promoted, request("again"))
    assert [(one.champion, one.newly, one.forced) for one in judged] == [(True, False, None)] * 2
    assert [gate.verdict for gate in judged[0].gates] == ["pass"] * 5, "as it was judged, not against itself"
    assert judged[0].gates[-1].name == "loads and predicts"
    assert registered(promoted) == before
    assert len(before) > 10


def test_what_a_version_was_told_before_is_never_changed(judged_store: Store, promoted: str, tmp_path: Path) -> None:
    """Made as versions were before their records had dates; then judged again, with the champion gone."""
    uri = own_database(promoted, tmp_path)
    registry, client = Registry(uri), MlflowClient(uri, uri)
    old = registry.find(DETECTOR, "champion")
    client.delete_registered_model_alias(DETECTOR, "champion")
    client.delete_model_version_tag(DETECTOR, old.number, JUDGED)
    client.update_model_version(DETECTOR, old.number, "As it was written then.")
    client.set_model_version_tag(DETECTOR, old.number, "metsweep.validation.sensitivity_iou50", "0.125")
    promoting(judged_store, uri, request(models=(DETECTOR,), limits=Limits(fps_cap=0.5), alias="candidate"))
    now = registry.find(DETECTOR, old.number)
    assert now.description.startswith("As it was written then.\n\nJudged 20")
    assert now.tags["metsweep.validation.sensitivity_iou50"] == "0.125"
    kept = {key: value for key, value in old.tags.items() if key.startswith("metsweep.gate.")}
    assert kept.items() <= now.tags.items()
    first, second = records(now.tags)
    assert [one.verdict for one in first.gates] == ["pass"] * 5
    assert first.gates[-1].name == "loads and predicts"
    assert {one.name for one in second.gates if one.verdict == "fail"} == {"FPs per slice"}
    promoting(judged_store, uri, request(models=(DETECTOR,), limits=Limits(fps_cap=0.5), alias="candidate"))
    assert registry.find(DETECTOR, old.number).description == now.description, "nothing new was said"


def test_description_is_lists_and_paragraphs(promoted: str) -> None:
    parser = MarkdownIt()
    for name in (DETECTOR, GENERATOR):
        tokens = parser.parse(Registry(promoted).find(name, "champion").description)
        level, items, paragraphs = 0, [], []
        for token in tokens:
            level += token.nesting * token.type.startswith("list_item")
            if token.type == "inline":
                (items if level else paragraphs).append(token.content)
        assert [text for text in items if text.startswith("prepare ")]
        assert [text for text in items if text.startswith("loads and predicts: pass.")]
        assert not [text for text in items if "\n" in text], "no line runs into the item before it"
        for begin in ("Study small", "Validation at", "Stage keys:", "Cohort ", "Licence: ", "Judged 20"):
            assert [text for text in paragraphs if text.startswith(begin) and "\n" not in text], begin


def test_champions_load_anywhere(judged_store: Store, promoted: str, tmp_path: Path) -> None:
    best = ranking(judged_plan(SEEDS), judged_store)[0].trial
    images = judged_store.local / "prepare" / best.evaluate.detector.slices.key / "images.npy"
    save(tmp_path / "t1c.nii.gz", stripped_brain())
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD_BOTH, str(images)],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": promoted},
        capture_output=True,
        text=True,
    )
    assert loaded.returncode == 0, loaded.stderr
    columns, count, shape, dtype, inside = json.loads(loaded.stdout.splitlines()[-1])
    assert columns == list(MODEL_COLUMNS)
    assert count > 0
    assert (shape, dtype) == ([1, 32, 32], "uint8")
    weights = champion_folder(f"models:/{DETECTOR}@champion", promoted)
    by_command = detect(
        tmp_path / "t1c.nii.gz", weights, slice_config(weights), tmp_path, confidence=0.001, model="m", stripped=True
    )
    assert len(by_command.boxes) > 0
    # Boxes of all but the same confidence come in an order that rounding decides.
    place = ["slice", "x0", "y0", "x1", "y1"]
    boxes = [pd.DataFrame(inside), by_command.boxes.rename(columns={"z": "slice"})]
    by_model, by_hand = (one.sort_values(place, ignore_index=True) for one in boxes)
    pd.testing.assert_frame_equal(by_model, by_hand)


def test_dry_run_shows_every_gate_and_changes_nothing(
    judged_store: Store, promoted: str, recorded_uri: str, tmp_path: Path
) -> None:
    plan = judged_plan(SEEDS)
    folders = Path(recorded_uri.removeprefix("sqlite:///")).parent, judged_store.local
    before, there = content(promoted), [files(folder) for folder in folders]
    judged = judge(plan, judged_store, promoted, request())
    assert [len(one.gates) for one in judged] == [5, 4]
    assert all(gate.passed for one in judged for gate in one.gates)
    assert [(one.version, one.champion) for one in judged] == [("1", True), ("1", True)]

    # One that a promotion would change: another trial, forced.
    other = judge(plan, judged_store, promoted, request("tried", trial="none seed 1", models=(DETECTOR,)))
    assert other[0].version is None
    assert content(promoted) == before
    assert [files(folder) for folder in folders] == there

    nowhere = f"sqlite:///{tmp_path / 'mlflow.db'}"
    unwritten = judge(plan, judged_store, nowhere, request(models=(DETECTOR,)))
    assert unwritten[0].gates[-1].verdict == "undetermined"
    assert not list(tmp_path.glob("mlflow*"))


@pytest.mark.slow
def test_a_gate_that_fails_leaves_the_champion_and_force_is_recorded(store: Store, tracking_uri: str) -> None:
    for trial in judged_plan(SEEDS).trials:
        set_found(store, trial, {"validation": 1 + (trial.arm == "cpggan 8"), "test": 1}, fps=13)
    set_realism(store, judged_plan(SEEDS), Verdict.FEW_PATIENTS)
    detector, generator = promoting(store, tracking_uri, request())
    failed = [gate.name for gate in detector.gates if not gate.passed]
    assert failed == ["paired gain", "above chance", "FPs per slice"], "two lesions with 13 boxes a slice are chance"
    assert [gate.name for gate in generator.gates if not gate.passed] == ["memorisation"]
    registry = Registry(tracking_uri)
    for judged in (detector, generator):
        assert not judged.passed
        assert registry.champion(judged.name) is None
        assert registry.find(judged.name, "candidate").number == judged.version == "1"
    assert "- memorisation: undetermined." in registry.find(GENERATOR, "candidate").description

    forced = promoting(store, tracking_uri, request("demo: one seed", models=(DETECTOR,)))
    assert [(one.version, one.newly) for one in forced] == [("1", True)]
    champion = registry.find(DETECTOR, "champion")
    assert champion.aliases == ("champion",)
    assert champion.tags[f"{FORCED}.0002"] == "demo: one seed", "its second record"
    assert "Gates overridden: demo: one seed" in champion.description
    assert registry.history(DETECTOR)[-1].why == "forced: demo: one seed"
    assert registry.champion(GENERATOR) is None, "it was not asked for"

    first, second = records(champion.tags)
    assert (first.gates, first.forced, second.forced) == (detector.gates, None, "demo: one seed"), "one after the other"
    assert len(registry.versions(DETECTOR)) == 1


def test_a_model_that_does_not_load_cannot_be_forced(store: Store, tracking_uri: str) -> None:
    plan = judged_plan(SEEDS)
    tracker = Tracker(tracking_uri, plan, store)
    tracker.open()
    tracker.record()
    best = ranking(plan, store)[0].trial
    description = Path(tracker.model_of(best.evaluate.key).artifact_location) / "MLmodel"
    description.rename(description.with_name("hidden"))
    try:
        (judged,) = promote(plan, store, tracker, request("in a hurry", models=(DETECTOR,)))
    finally:
        description.with_name("hidden").rename(description)
    assert not judged.passed
    assert judged.gates[-1].verdict == "fail"
    assert "MLmodel" in judged.gates[-1].why
    assert Registry(tracking_uri).champion(DETECTOR) is None


def test_candidate_is_registered_and_the_champion_left(store: Store, tracking_uri: str) -> None:
    (judged,) = promoting(store, tracking_uri, request(alias="candidate", models=(DETECTOR,)))
    assert judged.passed
    registry = Registry(tracking_uri)
    assert registry.find(DETECTOR, "candidate").number == "1"
    assert registry.champion(DETECTOR) is None


@pytest.mark.slow
def test_real_only_arm_must_beat_the_champion_and_a_rollback_can_be_rolled_back(
    store: Store, tracking_uri: str
) -> None:
    registry = Registry(tracking_uri)
    with pytest.raises(TrackingError, match="has no champion"):
        planned(registry, DETECTOR)
    promoting(store, tracking_uri, request(models=(DETECTOR,)))
    with pytest.raises(TrackingError, match="version 1 is its first champion"):
        planned(registry, DETECTOR)

    hand = request("hand pick", trial="none seed 0", models=(DETECTOR,))
    (judged,) = promoting(store, tracking_uri, hand)
    gates = {gate.name: gate for gate in judged.gates}
    assert gates["picked by validation"].verdict == "fail"
    assert gates["paired gain"].verdict == "fail"
    assert "over the champion, version 1 (cpggan 4 seed 0)" in gates["paired gain"].why
    assert "best of 4 cells" in gates["paired gain"].why
    assert (judged.version, judged.newly) == ("2", True)

    assert rolled(registry) == ("2", "1")
    assert rolled(registry) == ("1", "2"), "a rollback of a rollback undoes it"
    whys = [(reign.version, reign.why.partition(":")[0]) for reign in registry.history(DETECTOR)]
    assert whys == [("1", "promoted"), ("2", "forced"), ("1", "rolled back from 2"), ("2", "rolled back from 1")]
    assert rolled(registry, to="1") == ("2", "1")
    with pytest.raises(ConfigError, match=r"--to 3: allowed are versions .* not now: 2\."):
        planned(registry, DETECTOR, "3")
    with pytest.raises(TrackingError, match=r"has no metsweep-detector 'best'; allowed: 1 = champion, 2\."):
        registry.find(DETECTOR, "best")


@pytest.mark.slow
def test_champion_that_somebody_else_crowned_is_remembered(store: Store, tracking_uri: str) -> None:
    registry = Registry(tracking_uri)
    promoting(store, tracking_uri, request(alias="candidate", models=(DETECTOR,)))
    MlflowClient(tracking_uri, tracking_uri).set_registered_model_alias(DETECTOR, "champion", "1")
    promoting(store, tracking_uri, request("hand pick", trial="none seed 0", models=(DETECTOR,)))
    assert [(reign.version, reign.why) for reign in registry.history(DETECTOR)] == [
        ("1", "found as champion"), ("2", "forced: hand pick"),
    ]  # fmt: skip
    assert rolled(registry) == ("2", "1")


def rolled(registry: Registry, to: str | None = None) -> tuple[str, str]:
    """Roll the detector back; from which version to which."""
    move = planned(registry, DETECTOR, to)
    registry.crown(move.back, f"rolled back from {move.now.number}")
    champion = registry.champion(DETECTOR)
    assert champion is not None
    return move.now.number, champion.number
