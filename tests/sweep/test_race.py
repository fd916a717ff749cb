"""Races without Ray: which seeds are handed out, what is decided, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.cli.extending import _more_seeds
from sweep.cli.plan_tables import undrawn_lines
from sweep.cli.status_tables import as_dict, headline
from sweep.engine.launch import _look
from sweep.engine.search import StudySearch
from sweep.plan import Trial
from sweep.plan.estimate import Estimator
from sweep.plan.looks import look_text
from sweep.plan.plan import plan_with
from sweep.plan.racing import race, rest_of_race
from sweep.plan.schedule import Jobs
from sweep.plan.undrawn import add_rest_of_race
from sweep.report.report import build_report
from sweep.store import Store
from sweep.studies.continuing import check_race
from sweep.studies.optuna_study import open_storage
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.overview import Observer
from sweep.studies.records import StudyRecord
from tests.sweep.fixed_time import make_timed_maker, timed_study
from tests.sweep.publishing import cost_of, publishing
from tests.sweep.summaries import summary
from tests.sweep.task_stages import settings_in
from tests.sweep.without_ray import Asking, Board
from trainers.evaluation.outcome import Truth, match_outcomes, outcome_tables
from trainers.evaluation.sequential import Decision
from trainers.exceptions import ConfigError
from trainers.matching import DETECTION_COLUMNS

RACE: dict[str, Any] = {
    "arms": [{"variant": "none"}, {"variant": "cpggan", "counts": [400]}, {"variant": "image2image", "counts": [400]}],
    "seeds": [0, 1, 2],
    "search": {"method": "race", "gain": 0.12, "most_seeds": 12},
}
PATIENTS, LESIONS = 40, 5
GOOD, SAME = "cpggan 400", "image2image 400"
SKILL = {"none": 0.4, GOOD: 0.75, SAME: 0.4}
"""Arm -> share of lesions that its detectors find."""


def truth() -> Truth:
    """Patients of one slice with LESIONS lesions each."""
    slices = pd.DataFrame({"slice_id": [f"s{i:02}" for i in range(PATIENTS)]})
    slices = slices.assign(patient_id=slices["slice_id"], scanner="a", volume="v", z=0)
    rows = [(i, 20.0 * k, 0.0, 20.0 * k + 9, 9.0, k, 5.0) for i in range(PATIENTS) for k in range(LESIONS)]
    return Truth(slices, pd.DataFrame(rows, columns=["slice", "x0", "y0", "x1", "y1", "lesion", "diameter_mm"]))


TRUTH = truth()


def evaluate(store: Store, trial: Trial, **changes: Any) -> None:
    """Publish what a detector of the arm's skill finds; the same trial finds the same lesions.

    Args:
        changes: of the figures in `metrics.json`.
    """
    draw = np.random.default_rng([*trial.arm.encode(), trial.seed])
    hits = TRUTH.lesions[draw.random(len(TRUTH.lesions)) < SKILL[trial.arm]].assign(confidence=0.9)
    outcomes = match_outcomes(hits[list(DETECTION_COLUMNS)], TRUTH, trial.evaluate.config.ious)
    figures = {name: summary(len(hits) / len(TRUTH.lesions), **changes) for name in ("iou50", "iou25")}
    with publishing(store, trial.evaluate, cost_of(60, cpus=1)) as folder:
        for name, table in outcome_tables(outcomes).items():
            pd.concat([table.assign(split=split) for split in ("validation", "test")]).to_parquet(
                folder / f"{name}.parquet"
            )
        (folder / "metrics.json").write_text(json.dumps({"validation": figures, "test": figures}))


class Driver(Asking):
    """One launch of a race: everything but Ray."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.study = timed_study(folder, **{**RACE, **changes})
        self.store, self.board, self.record = Store(folder / "store"), Board(), StudyRecord(Store(folder), "timed")
        self.maker = make_timed_maker(self.study)
        self.whole = plan_with(self.maker, self.study, ())
        todo = _look(self.study, settings_in(folder), StudyRecord(self.store, "timed"), make_timed_maker)
        storage = open_storage(f"sqlite:///{folder / 'optuna.db'}")
        self.search = StudySearch(
            todo.plan, self.maker, storage, self.store, self.board, self._ended, self.record.keep_needs
        )
        self.search.give_up(todo.stopped)
        self.search.wait_for(todo.waiting)
        self.outcomes: dict[str, Outcome] = {}

    def _ended(self, trial: Trial, outcome: Outcome) -> None:
        self.outcomes[trial.name] = outcome
        StudyRecord(self.store, "timed").keep_outcomes({trial.name: outcome})

    def run(self, trials: int = 1000) -> list[str]:
        """So many trials at most, one after the other; the names as they were handed out."""
        for _ in range(trials):
            if (given := self.next()) is None:
                break
            evaluate(self.store, given[1])
            self.search.on_trial_complete(given[0], {"state": "done"})
        return self.board.handed_out


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """A race that was run to its end without interruption."""
    driver = Driver(tmp_path_factory.mktemp("race") / "undisturbed")
    driver.run()
    return driver


def decisions(driver: Driver) -> list[tuple[int, dict[str, Decision]]]:
    return [(look.seeds, {arm: at.decision for arm, at in look.arms.items()}) for look in driver.search.plan.looks]


def test_seeds_are_added_to_open_arms_alone_until_all_are_decided(raced: Driver) -> None:
    looks = decisions(raced)
    assert [seeds for seeds, _ in looks] == list(range(3, 3 + len(looks))), "a look after every seed"
    good = next(seeds for seeds, arms in looks if arms.get(GOOD) == Decision.BETTER)
    same = next(seeds for seeds, arms in looks if arms.get(SAME) == Decision.WITHIN)
    assert 3 < good < same < 12, "a large gain is seen before a small one can be denied"
    numbers = {arm: len(trials) for arm, trials in raced.search.plan.cells.items()}
    assert numbers == {"none": same, GOOD: good, SAME: same}
    assert len(raced.board.handed_out) == sum(numbers.values()) == len(set(raced.board.handed_out))
    assert set(raced.board.handed_out[:9]) == {f"{arm} seed {seed}" for arm in SKILL for seed in range(3)}
    assert raced.board.handed_out[-1].endswith(f"seed {same - 1}")


@pytest.mark.parametrize("after", [4, 11])
def test_a_race_that_was_killed_goes_on_to_the_same_end(tmp_path: Path, raced: Driver, after: int) -> None:
    """Killed before the first look, and between two looks."""
    first = Driver(tmp_path / "killed")
    first.run(after)
    lost = first.next()
    assert lost is not None
    second = Driver(tmp_path / "killed")
    again = second.run()
    assert lost[1].name in again
    assert sorted([*first.board.handed_out[:after], *again]) == sorted(raced.board.handed_out), "nothing twice"
    assert decisions(second) == decisions(raced)
    assert (
        build_report(second.search.plan, second.store).table1.section().rows
        == build_report(raced.search.plan, raced.store).table1.section().rows
    )


def test_whoever_asks_finds_the_same_race_in_the_store(raced: Driver) -> None:
    found = race(raced.whole, Store(raced.store.local), ())
    assert [trial.name for trial in found.trials] == [trial.name for trial in raced.search.plan.trials]
    assert found.looks[-1].arms[SAME].interval == raced.search.plan.looks[-1].arms[SAME].interval
    assert Driver(raced.store.local.parent).next() is None, "nothing is left"


@pytest.mark.parametrize("ending", [{"state": "failed", "error": "x"},
                                    {"state": "stopped", "reason": StopReason.STOPPED_BY_HAND}])  # fmt: skip
def test_an_arm_whose_trial_fails_or_is_stopped_holds_up_no_other(tmp_path: Path, ending: dict[str, Any]) -> None:
    driver = Driver(tmp_path / "race")
    lost = None
    while (given := driver.next()) is not None:
        if given[1].arm == SAME and given[1].seed == 3:
            lost = given[1].name
            driver.search.on_trial_complete(given[0], ending)
            continue
        evaluate(driver.store, given[1])
        driver.search.on_trial_complete(given[0], {"state": "done"})
    ended = driver.search.plan
    held_up = f" No further look at {SAME} without trials that failed or were stopped (metsweep retry): {SAME} seed 3."
    assert build_report(ended, driver.store).verdict.endswith(held_up)
    assert decisions(driver)[-1][1] == {GOOD: Decision.BETTER}
    assert (len(ended.cells[SAME]), lost) == (4, f"{SAME} seed 3")
    assert race(driver.whole, driver.store, StudyRecord(driver.store, "timed").outcomes()).looks[-1].seeds > 4
    if ending["state"] == "stopped":
        assert Driver(tmp_path / "race").next() is None, "until it is to be retried"
        StudyRecord(driver.store, "timed").forget_outcomes([f"{SAME} seed 3"])
        later = Driver(tmp_path / "race")
        later.run()
        assert decisions(later)[-1][1] == {SAME: Decision.WITHIN}


@pytest.mark.parametrize("seed", [1, 3])
def test_a_race_whose_base_fails_says_why_it_ended(tmp_path: Path, seed: int) -> None:
    """Before the first look, and after it."""
    driver = Driver(tmp_path / "race")
    while (given := driver.next()) is not None:
        if given[1].name == f"none seed {seed}":
            driver.search.on_trial_complete(given[0], {"state": "failed", "error": "x"})
            continue
        evaluate(driver.store, given[1])
        driver.search.on_trial_complete(given[0], {"state": "done"})
    why = f"No further look at any arm without trials that failed or were stopped (metsweep retry): none seed {seed}."
    plan = race(driver.whole, driver.store, StudyRecord(driver.store, "timed").outcomes())
    assert len(plan.looks) == (seed > 1)
    report = build_report(plan, driver.store)
    assert report.verdict.endswith(f" {why}")
    assert all(section.note.endswith(why) for section in report.sections if section.name == "race")
    overview = Observer(driver.study, driver.store).look(plan)
    assert why in headline(overview, "timed")
    assert as_dict(overview)["race_held_up_by"] == [f"none seed {seed}"]
    later = Driver(tmp_path / "race")
    later.run()
    assert decisions(later)[-1][1] == {SAME: Decision.WITHIN}
    assert not later.search.plan.held_up_by


def test_report_and_status_show_looks_and_decisions(raced: Driver) -> None:
    plan = raced.search.plan
    report = build_report(plan, raced.store)
    assert report.verdict.startswith("Race for gains in test sensitivity over none at IoU 0.5, after ")
    assert "better: cpggan 400 +0.3" in report.verdict
    assert "within ±0.12: image2image 400 " in report.verdict
    section = next(section for section in report.sections if section.name == "race")
    assert [line.cells[:2] for line in section.lines[:2]] == [["3", GOOD], ["3", SAME]]
    assert section.lines[-1].values["decision"] == "within"
    assert section.lines[-1].values["gain_low"] == pytest.approx(plan.looks[-1].arms[SAME].interval.low)
    assert any("which were added while its gain was not decided" in line for line in report.header)
    overview = Observer(raced.study, raced.store).look(plan)
    assert report.verdict in headline(overview, "timed")
    assert as_dict(overview)["race"][GOOD]["decision"] == "better"


def test_looks_name_the_collapsed_detectors_that_they_judge(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "race")
    for _ in range(9):
        given = driver.next()
        assert given is not None
        silent = given[1].name == f"{GOOD} seed 1"
        evaluate(driver.store, given[1], **({"true_positives": 0, "false_positives": 0} if silent else {}))
        driver.search.on_trial_complete(given[0], {"state": "done"})
    named = f" Collapsed detectors, included in these gains: {GOOD} seed 1."
    plan = race(driver.whole, driver.store)
    assert look_text(driver.study, plan.looks[0]).endswith(named)
    report = build_report(plan, driver.store)
    assert report.verdict.endswith(named)
    assert next(section for section in report.sections if section.name == "race").note.endswith(named)


def test_a_report_between_two_looks_shows_those_that_were_taken(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "race")
    driver.run(10)  # the first of the three trials that the second look needs
    plan = driver.search.plan
    assert len(plan.trials) == 12
    rows = build_report(plan, driver.store).rows
    assert [row.seeds for row in rows] == ["3/3", "3/3", "3/3"]


def test_the_plan_bounds_what_a_race_may_cost(tmp_path: Path) -> None:
    """Nine more looks, with a detector and an evaluation of each of three arms."""
    driver = Driver(tmp_path / "race")
    driver.run(9)
    plan = race(driver.whole, driver.store)
    estimator = Estimator(plan, driver.store, count_flops=False)
    jobs = Jobs(plan.missing(driver.store), estimator)
    looks = rest_of_race(driver.whole, plan)
    bound = add_rest_of_race(looks, estimator, jobs)
    assert [len(trials) for trials in looks] == [3] * 8, "the ninth is the next"
    assert bound.stages == {"detector": 24, "evaluate": 24}
    assert bound.usage.cpu_seconds == 24 * 60, "of the evaluations, which took a minute each"
    (line,) = undrawn_lines(bound, driver.study)
    assert "at most 24 detector, 24 evaluate" in line
    assert "to 12 seeds" in line
    driver.run()
    assert rest_of_race(driver.whole, driver.search.plan) == [], "all arms are decided"


def test_looks_are_chosen_before_the_race(tmp_path: Path) -> None:
    record = StudyRecord(Store(tmp_path / "store"), "timed")
    record.keep_study(timed_study(tmp_path, **RACE))
    check_race(timed_study(tmp_path, **RACE, name="timed"), record)
    check_race(timed_study(tmp_path, **{**RACE, "arms": [*RACE["arms"], {"variant": "classic"}]}), record)
    with pytest.raises(ConfigError, match=r"search\.gain was 0\.12 .* is 0\.2 now"):
        check_race(timed_study(tmp_path, **{**RACE, "search": {**RACE["search"], "gain": 0.2}}), record)
    with pytest.raises(ConfigError, match=r"evaluation\.ious was \[0\.5, 0\.25\] .* is \[0\.25, 0\.5\] now"):
        check_race(timed_study(tmp_path, **RACE, evaluation={"ious": [0.25, 0.5]}), record)
    with pytest.raises(ConfigError, match=r"evaluation\.confidence was"):
        check_race(timed_study(tmp_path, **RACE, evaluation={"confidence": 0.77}), record)
    with pytest.raises(ConfigError, match=r"an arm less than when it began: image2image 400"):
        check_race(timed_study(tmp_path, **{**RACE, "arms": RACE["arms"][:2]}), record)
    with pytest.raises(ConfigError, match=r"search\.most_seeds was 12 .* is 13 now"):
        check_race(timed_study(tmp_path, **{**RACE, "search": {**RACE["search"], "most_seeds": 13}}), record)
    with pytest.raises(ConfigError, match=r"is a race, which adds seeds itself"):
        _more_seeds(timed_study(tmp_path, **RACE), 5)
    with pytest.raises(ConfigError, match=r"seeds was \[0, 1, 2\] .* is \[0, 1\] now"):
        check_race(timed_study(tmp_path, **{**RACE, "seeds": [0, 1]}), record)
