"""`status`, `watch`, `stop`, `retry` and `extend` on a real store, beside a launch as its status tells of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from search_spaces.study import load_study
from sweep.plan import Plan, Trial
from sweep.settings import Settings
from sweep.store import Store
from sweep.studies.opened import open_study
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.progress import StageProgress
from sweep.studies.records import LaunchOptions, Request, Status, StudyRecord
from tests.sweep.cli.conftest import STUDY, Ended, Metsweep
from tests.sweep.plans import make_plan
from tests.sweep.publishing import cost_of, publish_empty, publishing
from tests.sweep.summaries import summary


@pytest.fixture
def study(study_file: Path) -> Path:
    """A study that was launched, as far as the store knows, and has not told anything yet."""
    StudyRecord(Store(study_file.parent / "metsweep-store"), "small").keep_study(load_study(str(study_file)))
    return study_file


@pytest.fixture
def store(study: Path) -> Store:
    return Store(study.parent / "metsweep-store")


@pytest.fixture
def record(store: Store) -> StudyRecord:
    return StudyRecord(store, "small")


@pytest.fixture
def plan(study: Path) -> Plan:
    return make_plan(load_study(str(study)))


def finish(trial: Trial, store: Store, sensitivity: float) -> None:
    """Publish the goals of a trial, and a detector that took 10 s."""
    content = {"metrics.json": json.dumps({"validation": {"iou50": summary(sensitivity, 1.0)}})}
    for stage in (trial.evaluate.detector, *trial.goals):
        with publishing(store, stage, cost_of(10, cpus=1)) as folder:
            for name, text in content.items():
                (folder / name).write_text(text)


def launch_is_at_work(record: StudyRecord, running: tuple[Trial, ...] = (), ago: float = 0.0, **told: object) -> None:
    """What a launch told so long ago: the detectors of `running` are half way."""
    now = time.time() - ago
    half = StageProgress(
        "detector",
        "running",
        5,
        10,
        {"validation/sensitivity": 0.125, "kept_validation/sensitivity": 0.25},
        (now - 60, 0),
    )
    stages = {trial.evaluate.detector.key: half for trial in running}
    status = Status(
        updated=now,
        began=now - 100,
        host="gpu-7",
        pid=os.getpid(),
        running=tuple(trial.name for trial in running),
        stages=stages,
    )
    record.keep_status(status.model_copy(update=told))


def states(ended: Ended) -> dict[str, str]:
    assert ended.code == 0, ended.err
    return {one["trial"]: one["state"] for one in json.loads(ended.out)["each"]}


@pytest.mark.parametrize("command", ["status", "watch", "stop", "retry", "track", "report", "promote", "extend"])
def test_what_was_not_launched_is_refused(metsweep: Metsweep, study_file: Path, command: str) -> None:
    ended = metsweep(command, STUDY)
    assert ended.code == 2
    assert "There is no store " in ended.err
    Store("metsweep-store").write_text("studies/other/options.json", "{}")
    before = sorted(Path.cwd().rglob("*"))
    ended = metsweep(command, STUDY)
    assert ended.code == 2
    assert "Study small was not launched with the store " in ended.err
    assert "Next: metsweep launch study.yaml" in ended.err
    assert sorted(Path.cwd().rglob("*")) == before
    assert metsweep("plan", study_file).code == 0


def test_status_tells_the_state_of_every_trial(
    metsweep: Metsweep, plan: Plan, store: Store, record: StudyRecord
) -> None:
    done, failed, running, pruned = plan.trials
    finish(done, store, 0.5)
    for stage in running.evaluate.inputs_first()[:-2]:  # all but its detector and evaluation
        publish_empty(store, stage)
    record.keep_outcomes(
        {
            failed.name: Outcome(state="failed", error="CUDA is out of memory."),
            pruned.name: Outcome(state="stopped", reason=StopReason.PRUNED),
        }
    )
    launch_is_at_work(record, (running,))
    told = json.loads(metsweep("status", STUDY, "--json").out)
    each = {one["trial"]: one for one in told["each"]}
    assert (each[done.name]["state"], each[done.name]["value"]) == ("done", 0.5)
    assert (each[failed.name]["state"], each[failed.name]["reason"]) == ("failed", "CUDA is out of memory.")
    assert (each[running.name]["state"], each[running.name]["progress"]) == ("running", 0.5)
    assert each[running.name]["value"] == 0.25
    assert each[pruned.name]["state"] == "pruned"
    assert told["states"] == {"running": 1, "waiting": 0, "failed": 1, "stopped": 0, "pruned": 1, "done": 1}
    assert (told["launch"]["state"], told["launch"]["host"]) == ("alive", "gpu-7")
    shown = metsweep("status", STUDY).out
    assert "1 of 4 trials done, 1 running, 1 failed, 1 pruned" in shown
    assert "ago (host gpu-7, PID" in shown
    assert "CUDA is out of memory." in shown


def test_the_best_cell_has_all_its_seeds(metsweep: Metsweep, plan: Plan, store: Store) -> None:
    none, other_none, synthetic, _ = plan.trials
    finish(none, store, 0.2)
    finish(other_none, store, 0.4)
    finish(synthetic, store, 0.9)  # its other seed is open
    told = json.loads(metsweep("status", STUDY, "--json").out)
    assert told["best"]["cell"] == "none"
    assert told["best"]["value"] == pytest.approx(0.3)
    bounded = "constraints=[{metric: fps_per_slice, at_most: 0.5}]"
    assert json.loads(metsweep("status", STUDY, "--json", "--set", bounded).out)["best"] is None


def test_time_left_by_what_was_made(metsweep: Metsweep, plan: Plan, store: Store, record: StudyRecord) -> None:
    first, second, *others = plan.trials
    record.keep_outcomes({trial.name: Outcome(state="stopped", reason=StopReason.STOPPED_BY_HAND) for trial in others})
    for trial in (first, *others[1:]):
        finish(trial, store, 0.5)
    for stage in others[0].stages.values():
        if stage.name in ("prepare", "gan", "synthesize", "realism"):
            publish_empty(store, stage)
    launch_is_at_work(record, (second,))
    # Half of a detector of 10 s, 10 s of evaluation; its job has started.
    assert json.loads(metsweep("status", STUDY, "--json").out)["seconds_left"] == pytest.approx(15)


def test_a_silent_launch_has_gone_away(metsweep: Metsweep, plan: Plan, record: StudyRecord) -> None:
    launch_is_at_work(record, plan.trials[:1], ago=20)
    ended = metsweep("status", STUDY)
    assert "has gone silent: last update 2" in ended.out
    assert "Run the same launch command again to resume." in ended.out
    assert "4 waiting" in ended.out
    watched = metsweep("watch", STUDY)
    assert watched.code == 1
    assert "has gone silent" in watched.out


def test_watch_ends_with_the_launch(metsweep: Metsweep, plan: Plan, store: Store, record: StudyRecord) -> None:
    for trial in plan.trials:
        finish(trial, store, 0.5)
    launch_is_at_work(record, finished=True)
    ended = metsweep("watch", STUDY)
    assert ended.code == 0, ended.err
    assert "4 of 4 trials done." in ended.out
    assert "Last launch (host gpu-7, PID" in ended.out


def test_stop_without_a_launch_is_kept_for_the_next(metsweep: Metsweep, record: StudyRecord) -> None:
    ended = metsweep("stop", STUDY, "cpggan 4")
    assert ended.code == 0, ended.err
    assert "Stopped: cpggan 4 seed 0, cpggan 4 seed 1." in ended.out
    assert "No launch is running now" in ended.out
    stopped = Outcome(state="stopped", reason=StopReason.STOPPED_BY_HAND)
    assert record.outcomes() == {"cpggan 4 seed 0": stopped, "cpggan 4 seed 1": stopped}
    assert list(record.take_requests()) == []
    assert states(metsweep("status", STUDY, "--json"))["cpggan 4 seed 1"] == "stopped"


def test_stop_asks_the_launch_that_is_at_work(
    metsweep: Metsweep, plan: Plan, store: Store, record: StudyRecord
) -> None:
    finish(plan.trials[0], store, 0.5)
    launch_is_at_work(record, plan.trials[1:2])
    ended = metsweep("stop", STUDY, "none")
    assert ended.code == 0, ended.err
    assert "Asked the launch to stop: none seed 1." in ended.out  # seed 0 is done
    assert list(record.take_requests()) == [Request(action="stop", trials=("none seed 1",))]
    assert set(record.outcomes()) == {"none seed 1"}


def test_what_is_done_cannot_be_stopped(metsweep: Metsweep, plan: Plan, store: Store, record: StudyRecord) -> None:
    finish(plan.trials[0], store, 0.5)
    ended = metsweep("stop", STUDY, "none seed 0")
    assert ended.code == 2
    assert "none seed 0: already done" in ended.err
    assert record.outcomes() == {}


@pytest.mark.usefixtures("study")
@pytest.mark.parametrize("command", ["stop", "retry"])
def test_unknown_cells_are_answered_with_close_ones(metsweep: Metsweep, command: str) -> None:
    ended = metsweep(command, STUDY, "cpgan 4 seed 1")
    assert ended.code == 2
    assert "has no trial or cell 'cpgan 4 seed 1'. Did you mean 'cpggan 4 seed 1' or" in ended.err
    assert metsweep(command, STUDY).code == 2


def test_retry_forgets_what_failed(metsweep: Metsweep, plan: Plan, record: StudyRecord) -> None:
    failed, stopped, *_ = [trial.name for trial in plan.trials]
    record.keep_outcomes(
        {
            failed: Outcome(state="failed", error="broken"),
            stopped: Outcome(state="stopped", reason=StopReason.STOPPED_BY_HAND),
        }
    )
    ended = metsweep("retry", STUDY, "--failed")
    assert ended.code == 0, ended.err
    assert f"To be run again: {failed}." in ended.out
    assert "Next: metsweep launch study.yaml" in ended.out
    assert set(record.outcomes()) == {stopped}
    launch_is_at_work(record)
    assert "Asked the launch to run again" in metsweep("retry", STUDY, stopped).out
    assert list(record.take_requests()) == [Request(action="retry", trials=(stopped,))]
    assert record.outcomes() == {}


@pytest.mark.usefixtures("study")
def test_only_what_ended_can_be_retried(metsweep: Metsweep) -> None:
    ended = metsweep("retry", STUDY, "none")
    assert ended.code == 2
    assert "none seed 0 is waiting, none seed 1 is waiting" in ended.err
    assert "No trial of study small has failed" in metsweep("retry", STUDY, "--failed").err


def test_extend_adds_seeds_for_every_command(metsweep: Metsweep, study: Path) -> None:
    ended = metsweep("extend", STUDY, "--seeds", 4)
    assert ended.code == 0, ended.err
    assert "Study small now has 8 trials: 4 more, with 8 new stages." in ended.out
    assert "Next: metsweep launch study.yaml" in ended.out
    assert "none seed 3" in states(metsweep("status", STUDY, "--json"))
    assert "8 trials (seeds 0, 1, 2, 3)" in metsweep("plan", STUDY).out
    assert "Includes what `metsweep extend` added." in metsweep("plan", STUDY).out
    # --set counts more, and what was there keeps its artifacts.
    assert len(states(metsweep("status", STUDY, "--json", "--set", "seeds=[0]"))) == 2
    values = yaml.safe_load(study.read_text())
    study.write_text(yaml.safe_dump(values | {"arms": [{"variant": "none"}], "seeds": [9]}))
    assert set(states(metsweep("status", STUDY, "--json"))) == {f"none seed {seed}" for seed in (9, 2, 3)}


@pytest.mark.usefixtures("study")
def test_extend_adds_arms(metsweep: Metsweep) -> None:
    ended = metsweep("extend", STUDY, "--arms", "cpggan:4,8", "--arms", "image2image:4")
    assert ended.code == 0, ended.err
    # Of cpggan 8 only detector and evaluation are new: its slices are a prefix of the same shard.
    assert "8 trials: 4 more" in ended.out
    assert {"cpggan 8 seed 0", "image2image 4 seed 1"} < set(states(metsweep("status", STUDY, "--json")))


def test_extended_arms_keep_their_order(metsweep: Metsweep, study: Path) -> None:
    arms = [{"variant": "none"}, {"variant": "none", "train_patients": [1]}, {"variant": "cpggan", "counts": [4]}]
    study.write_text(yaml.safe_dump(yaml.safe_load(study.read_text()) | {"arms": arms, "seeds": [0]}))
    assert metsweep("extend", STUDY, "--arms", "cpggan:8", "--arms", "image2image:4").code == 0
    trials = ("none", "none 1 patients", "cpggan 4", "cpggan 8", "image2image 4")
    assert list(states(metsweep("status", STUDY, "--json"))) == [f"{trial} seed 0" for trial in trials]


def test_extend_adds_cells_to_draw(metsweep: Metsweep, study: Path) -> None:
    values = yaml.safe_load(study.read_text())
    space = {"detector.learning_rate": {"float": [1e-4, 1e-3]}}
    study.write_text(yaml.safe_dump(values | {"search": {"method": "random", "trials": 3}, "space": space}))
    ended = metsweep("extend", STUDY, "--trials", 7)
    assert ended.code == 0, ended.err
    assert "4 cells to draw" in ended.out
    assert json.loads(metsweep("status", STUDY, "--json").out)["cells_to_draw"] == 7
    assert "--trials is 5, but study small already draws 7" in metsweep("extend", STUDY, "--trials", 5).err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seeds", 2), "already has seeds 0, 1; allowed: more"),
        (("--seeds", 10**12), "allowed: 10000 or less"),
        (("--trials", 9), "draws nothing"),
        (("--arms", "cpgan:4"), "'cpgan' is not a variant. Did you mean 'cpggan'?"),
        (("--arms", "cpggan:many"), "allowed is variant:count,count"),
        (("--arms", "cpggan:4"), "already includes all of this"),
        ((), "already includes all of this"),
    ],
)
def test_extend_refuses(metsweep: Metsweep, record: StudyRecord, options: tuple, message: str) -> None:
    ended = metsweep("extend", STUDY, *options)
    assert ended.code == 2
    assert message in ended.err
    assert record.extension() == {}


def test_a_study_is_read_though_its_cohort_is_gone(
    metsweep: Metsweep, study: Path, plan: Plan, store: Store, record: StudyRecord
) -> None:
    """By the slice set in the store; a launch, or a study whose slices were not made, needs the cohort."""
    record.keep_needs(plan)
    (slices,) = (stage for stage in plan.stages.values() if stage.name == "prepare")
    values = yaml.safe_load(study.read_text())
    study.write_text(yaml.safe_dump(values | {"cohort": "gone"}))
    record.keep_study(load_study(str(study)))
    ended = metsweep("status", STUDY)
    assert ended.code == 2
    assert (
        "There is no cohort folder gone, which study small needs. If the folder has moved, add --cohort PATH"
        in ended.err
    )
    publish_empty(store, slices)
    for command in ("plan", "report"):
        assert metsweep(command, STUDY).code == 0
    finish(plan.trials[0], store, 0.5)
    ended = metsweep("status", STUDY, "--json")
    assert states(ended)[plan.trials[0].name] == "done"
    assert f"The cohort folder {Path.cwd() / 'gone'} does not exist" in ended.err
    assert metsweep("status", STUDY, "--cohort", "never").code == 2, "a cohort that was never launched is a mistake"
    assert "There is no cohort folder gone" in metsweep("launch", STUDY).err


@pytest.fixture
def launched(study: Path, record: StudyRecord) -> None:
    """The study was launched from a file that is gone now."""
    fidelity = Path(yaml.safe_load(study.read_text())["fidelity"])
    elsewhere = study.with_name("fidelity.yaml")
    elsewhere.write_bytes(fidelity.read_bytes())
    review = study.with_name("review.csv")
    review.write_text("slice_id,decision\nsynthetic-000001-0,keep\n")
    settings = ["seeds=[5]", "synthesis.review=review.csv"]
    record.keep_study(load_study(str(study), fidelity="fidelity.yaml", overrides=settings))
    record.keep_options(LaunchOptions(overrides=tuple(settings)))
    study.unlink()
    elsewhere.unlink()


@pytest.mark.usefixtures("launched")
def test_a_launched_study_is_known_by_its_name(
    metsweep: Metsweep, store: Store, record: StudyRecord, monkeypatch: pytest.MonkeyPatch, empty_database: Path
) -> None:
    monkeypatch.chdir(store.local)
    shutil.copy(empty_database, store.local)
    there = ("--store", store.uri)
    assert set(states(metsweep("status", "small", "--json", *there))) == {"none seed 5", "cpggan 4 seed 5"}
    assert "Changed since" not in metsweep("plan", "small", *there).out
    assert "`metsweep status small` shows all" in metsweep("stop", "small", "nonono", *there).err
    stopped = metsweep("stop", "small", "none", *there)
    assert 'metsweep retry small "none seed 5"' in stopped.out
    assert metsweep("retry", "small", "none", *there).code == 0
    assert "now has 8 trials: 6 more" in metsweep("extend", "small", "--seeds", 3, *there).out
    assert "lacks 8 of 8 trials (first: " in metsweep("promote", "small", *there).err
    assert "Next: metsweep launch small" in metsweep("track", "small", *there).out
    too_much = ("--set", "resources.detector.cpus_per_worker=1000")
    assert "A worker needs 1000 CPUs" in metsweep("launch", "small", *too_much, *there).err
    assert "No trial is complete yet." in metsweep("report", "small", *there).out
    record.keep_status(Status(updated=0, began=0, host="here", pid=1, finished=True))
    assert metsweep("watch", "small", *there).code == 0


@pytest.mark.usefixtures("launched")
def test_settings_lie_over_what_a_study_was_launched_with(
    metsweep: Metsweep, store: Store, record: StudyRecord
) -> None:
    ended = metsweep("status", "small", "--json", "--set", "arms=[{variant: none}]")
    assert set(states(ended)) == {"none seed 5"}
    opened = open_study("small", LaunchOptions(), Settings.from_environment(store.uri), print)
    replace(opened, options=LaunchOptions(overrides=("seeds=[6]",))).remember_options()
    assert record.options().overrides == ("seeds=[5]", "synthesis.review=review.csv", "seeds=[6]")
    for option in (("--fidelity", "gpu"), ("--as-written",)):
        ended = metsweep("plan", "small", *option)
        assert ended.code == 2
        assert f"{' '.join(option)}: small as launched with the store" in ended.err
        assert "give the study's YAML file instead of its name" in ended.err


@pytest.mark.usefixtures("launched")
def test_an_unknown_study_is_answered_with_those_of_the_store(metsweep: Metsweep) -> None:
    for unknown in ("smal", "small.yaml", "../small"):
        ended = metsweep("status", unknown)
        assert ended.code == 2
        assert f"Unknown study {unknown!r}. Did you mean 'small'?" in ended.err
        assert re.search(r"table1; launched with the store \S+: small, or the path of an existing .yaml", ended.err)


def test_a_file_and_a_shipped_name_win_over_a_launched_study(metsweep: Metsweep, study: Path, store: Store) -> None:
    other = load_study(str(study), overrides=["name=table1", "seeds=[5]"])
    StudyRecord(store, "table1").keep_study(other)
    StudyRecord(store, STUDY).keep_study(other)
    assert "none seed 1" in states(metsweep("status", STUDY, "--json"))
    assert "none seed 2" in states(metsweep("status", "table1", "--json", "--cohort", other.cohort))


@pytest.mark.usefixtures("study")
def test_messages_name_the_study_as_it_was_given(metsweep: Metsweep) -> None:
    assert f"`metsweep status {STUDY}` shows all" in metsweep("stop", STUDY, "nonono").err
    assert f"`metsweep status {STUDY}` shows them" in metsweep("stop", STUDY).err


@pytest.fixture
def launched_with(record: StudyRecord) -> Callable[..., None]:
    return lambda **options: record.keep_options(LaunchOptions(**options))


def test_options_of_the_last_launch_are_remembered(metsweep: Metsweep, launched_with: Callable[..., None]) -> None:
    launched_with(overrides=("seeds=[5]",))
    ended = metsweep("status", STUDY, "--json")
    assert set(states(ended)) == {"none seed 5", "cpggan 4 seed 5"}
    assert ended.err == "Using the options of the last launch: --set seeds=[5]\n"
    given = metsweep("status", STUDY, "--json", "--set", "seeds=[6]")
    assert set(states(given)) == {"none seed 6", "cpggan 4 seed 6"}
    assert given.err == ""
    assert "(seeds 0, 1)" in metsweep("plan", STUDY, "--as-written").out


def test_a_refused_launch_is_not_remembered(
    metsweep: Metsweep, record: StudyRecord, launched_with: Callable[..., None]
) -> None:
    launched_with(overrides=("seeds=[5]",))
    assert metsweep("launch", STUDY, "--cohort", "nowhere").code == 2
    assert record.options() == LaunchOptions(overrides=("seeds=[5]",))
