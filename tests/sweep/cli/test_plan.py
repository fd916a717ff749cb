"""What `metsweep plan` tells beyond arms and stages: money, budget, changes, cells to draw, and what can never run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from search_spaces.study import load_study
from sweep.engine.cluster import Capacity
from sweep.stages import DetectorStage
from sweep.store import Store
from sweep.studies.records import StudyRecord
from tests.sweep.cli.conftest import SIZE, STUDY, Metsweep
from tests.sweep.plans import make_plan
from tests.sweep.publishing import cost_of, publish_empty
from trainers.distributed import WorkerResources
from trainers.exceptions import ClusterError

HOUR = 3600


@pytest.fixture
def study(study_file: Path) -> Path:
    """Two cells and two seeds, whose every stage once took an hour on one core."""
    store, made = Store(study_file.parent / "metsweep-store"), set()
    for stage in make_plan(load_study(str(study_file))).stages.values():
        if stage.name not in made or stage.name == "prepare":
            made.add(stage.name)
            publish_empty(store, stage, cost_of(HOUR, cpus=1))
    return study_file


@pytest.mark.usefixtures("study")
def test_hours_money_and_budget(metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    ended = metsweep("plan", STUDY, "--set", "prices.cpu_hour=0.5", "--set", "budget.wall_hours=1")
    assert ended.code == 0, ended.err
    # Of four trials one is done; the other three need a detector and an evaluation of an hour each;
    # one shard is missing that the look at the GAN draws.
    assert "0.00 GPU-hours, 7.00 CPU-hours" in ended.out
    assert "Money: 3.50 USD, by the prices of the study or the settings." in ended.out
    assert re.search(r"Budget: [2-7]\.\d\d of 1 hours by the clock \(budget.wall_hours\), too little", ended.out)
    assert "history of 1" in ended.out
    assert "assumed" not in ended.out
    assert "enough" in metsweep("plan", STUDY, "--set", "budget.wall_hours=100").out


@pytest.mark.usefixtures("study")
def test_prices_of_the_settings_count_for_a_study_without_its_own(
    metsweep: Metsweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METSWEEP_PRICE_CPU_HOUR", "2")
    monkeypatch.setenv("METSWEEP_PRICE_CURRENCY", "EUR")
    assert "Money: 14.00 EUR," in metsweep("plan", STUDY).out
    assert "Money: 3.50 USD," in metsweep("plan", STUDY, "--set", "prices.cpu_hour=0.5").out


@pytest.mark.usefixtures("study")
def test_a_study_that_never_fits_this_machine_is_planned_but_not_launched(metsweep: Metsweep) -> None:
    too_large = (STUDY, "--set", "resources.detector.cpus_per_worker=1000")
    why = "A worker needs 1000 CPUs, but the largest node has"
    ended = metsweep("plan", *too_large)
    assert ended.code == 0, ended.err
    assert f"This machine cannot run the study: {why}" in ended.out
    assert "7.00 CPU-hours" in ended.out
    assert "Time left: at least" in ended.out
    told = json.loads(metsweep("plan", *too_large, "--json").out)
    assert not told["machine"]["can_run"]
    assert told["machine"]["why_not"].startswith(why)
    assert told["to_run"]["seconds"] is None
    assert told["to_run"]["cpu_hours"] == pytest.approx(7)


@pytest.mark.usefixtures("study_file")
def test_a_plan_that_was_made_before_needs_no_torch(metsweep: Metsweep) -> None:
    arguments = ("plan", STUDY, "--set", "arms=[{variant: none}]", "--json")
    first = metsweep(*arguments)
    assert "FLOPs" in first.out
    check = "import sys; from sweep.cli import main; main(sys.argv[1:]); assert 'torch' not in sys.modules"
    again = subprocess.run([sys.executable, "-c", check, *arguments], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.out


@pytest.mark.usefixtures("study")
def test_json_holds_what_the_tables_tell(metsweep: Metsweep) -> None:
    ended = metsweep("plan", STUDY, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert (told["study"], told["cells"], told["trials"], told["cells_to_draw"]) == ("small", 2, 4, 0)
    assert told["arms"][1] == {
        "variant": "cpggan", "count_in_study": 4, "count": 4, "trials": 2, "evaluated": 0, "train_patients": None,
    }  # fmt: skip
    by_name = {one["stage"]: one for one in told["stages"]}
    assert by_name["detector"]["to_run"] == 3
    assert by_name["detector"]["seconds_each"] == [{"stages": 3, "seconds": HOUR, "known_from": "history of 1"}]
    assert told["to_run"]["cpu_hours"] == pytest.approx(7)
    assert told["to_run"]["seconds"] >= told["to_run"]["seconds_of_longest_chain"] > 0
    assert told["machine"]["can_run"]
    assert told["machine"]["why_not"] is None


def test_a_worker_fits_a_node_and_all_workers_fit_the_cluster() -> None:
    cluster = Capacity(({"CPU": 8, "GPU": 1}, {"CPU": 4}))
    cluster.refuse_infeasible([WorkerResources(workers=12), WorkerResources(gpus_per_worker=1)])
    with pytest.raises(ClusterError, match="A worker needs 9 CPUs, but the largest node has 8"):
        cluster.refuse_infeasible([WorkerResources(cpus_per_worker=9)])
    with pytest.raises(ClusterError, match="13 workers of 1 CPUs were asked for, but the cluster has 12"):
        cluster.refuse_infeasible([WorkerResources(workers=13)])
    cluster.refuse_infeasible([WorkerResources(workers=13, min_workers=12)])


def test_changes_since_the_last_launch(metsweep: Metsweep, study: Path) -> None:
    before = load_study(str(study))
    record = StudyRecord(Store(study.parent / "metsweep-store"), "small")
    record.keep_study(before)
    record.keep_needs(make_plan(before))
    assert "Changed since" not in metsweep("plan", STUDY).out
    ended = metsweep("plan", STUDY, "--set", "detector.learning_rate=0.0005")
    assert "Changed since the last launch: detector.learning_rate was" in ended.out
    because = "because of detector.learning_rate; 0 reused."
    assert f"detector: 4 that the last launch did not need, {because}" in ended.out
    assert f"evaluate: 4 that the last launch did not need, {because}" in ended.out
    assert "gan: " not in ended.out
    more = metsweep("plan", STUDY, "--set", "seeds=[0, 1, 2]").out
    assert "detector: 2 that the last launch did not need, because of seeds; 1 reused." in more


@pytest.mark.parametrize(
    ("space", "gans", "why"),
    [
        ({"detector.learning_rate": {"float": [1e-4, 1e-3]}}, "", "one GAN per variant that has none yet"),
        ({"gan.learning_rate": {"float": [1e-4, 1e-3]}}, "5 gan, ", "one GAN per cell, as a key of gan is drawn"),
        # Its largest value is the arm's, whose GAN is there.
        ({"gan.drift": {"choice": [0.0001, 0.001]}}, "5 gan, ", "one GAN per cell, as a key of gan is drawn"),
    ],
)
def test_cells_to_draw_are_bounded(metsweep: Metsweep, study: Path, space: dict, gans: str, why: str) -> None:
    values = yaml.safe_load(study.read_text())
    study.write_text(yaml.safe_dump(values | {"search": {"method": "random", "trials": 5}, "space": space}))
    ended = metsweep("plan", STUDY)
    assert ended.code == 0, ended.err
    assert "Yet to be drawn: 5 cells, 2 seeds each: at most " in ended.out
    assert f"at most {gans}" in ended.out
    assert "10 detector, 10 evaluate" in ended.out
    assert json.loads(metsweep("plan", STUDY, "--json").out)["stages_of_cells_to_draw"]["detector"] == 10
    assert why in ended.out


def bytes_told(plan: str) -> float:
    found = re.search(r"CPU-hours, (\S+) (B|kB|MB|GB) to write", plan)
    assert found
    return float(found[1]) * 1000 ** ["B", "kB", "MB", "GB"].index(found[2])


def test_cells_to_draw_are_counted_without_what_is_in_the_store_and_with_their_bytes(
    metsweep: Metsweep, study: Path
) -> None:
    """Their GAN was made for an arm that the study no longer has."""
    values = yaml.safe_load(study.read_text())
    space = {"variant": {"choice": ["cpggan"]}, "count": {"choice": [4]}}
    del values["arms"]
    study.write_text(yaml.safe_dump(values | {"search": {"method": "random", "trials": 5}, "space": space}))
    store = Store(study.parent / "metsweep-store")
    (gan,) = store.keys("gan")
    ended = metsweep("plan", STUDY)
    # A shard is still missing that the look at the GAN draws.
    assert "at most 1 synthesize, 10 detector, 10 evaluate (one GAN" in ended.out
    detectors = 10 * DetectorStage.paper_bytes * load_study(STUDY).detector.width ** 2
    assert bytes_told(ended.out) == pytest.approx(detectors + 1000 * SIZE**2, rel=0.01)
    store.set_aside_key("gan", gan, "to make it again")
    assert "at most 1 gan, 1 synthesize, 10 detector, 10 evaluate" in metsweep("plan", STUDY).out
