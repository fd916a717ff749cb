"""The search without Ray: what is handed out, and what Optuna is told."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sweep.console import TextConsole
from sweep.engine.cluster import Capacity
from sweep.engine.display import Display
from sweep.engine.launch import _look, launch
from sweep.engine.study_lease import only_process
from sweep.report.report import write_report
from sweep.store import Store
from sweep.studies.arms import record_arms
from sweep.studies.continuing import check_optuna_study
from sweep.studies.optuna_study import (
    ARM,
    ERROR,
    TWIN_OF,
    drawn_cells,
    given_up,
    left_to_draw,
    open_storage,
    read_drawn,
)
from sweep.studies.outcome import Outcome, StopReason
from sweep.studies.records import StudyRecord
from tests.sweep.fixed_time import make_timed_maker, quality, timed_study
from tests.sweep.task_stages import settings_in
from tests.sweep.without_ray import SEARCH, Sweep
from trainers.exceptions import ConfigError, StoreError, TrackingError


def test_what_steers_a_launch_never_waits_for_the_database(tmp_path: Path) -> None:
    """The search holds its lock while it waits for a database that is away."""
    sweep = Sweep(tmp_path)
    with sweep.search._lock, ThreadPoolExecutor(1) as steering:
        assert steering.submit(lambda: sweep.search.running).result(10) == []
        steering.submit(sweep.search.close).result(10)


def test_arms_come_first_then_drawn_cells_and_each_is_told_what_it_reached(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    names = sweep.run()
    assert names[0] == "none seed 0"
    assert [name.split()[0] for name in names[1:]] == ["t0", "t1", "t2", "t3"]
    assert [trial.state.name for trial in sweep.told] == ["COMPLETE"] * 4
    by_number = {trial.number: trial for trial in sweep.search.plan.trials if trial.number is not None}
    for trial in sweep.told:
        assert trial.values == [pytest.approx(quality(by_number[trial.number].evaluate.detector))]
    assert sweep.next() is None


def test_store_gc_spares_what_a_drawn_cell_needs_before_work_on_it_begins(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, arms=[])
    given = sweep.next()
    assert given is not None
    needs = sweep.record.needs()
    assert all(key in needs[stage.name] for key, stage in given[1].stages.items())


def test_a_launch_that_lost_its_study_tells_nobody_how_a_trial_ended_and_draws_nothing(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, arms=[])
    given = sweep.next()
    assert given is not None
    sweep.held = False
    sweep.finish(*given)
    assert sweep.outcomes == {}
    assert [trial.state.name for trial in sweep.told] == ["RUNNING"]
    assert sweep.next() is None
    assert len(sweep.told) == 1


def test_a_new_driver_goes_on_with_the_cells_that_a_killed_one_left_running(tmp_path: Path) -> None:
    straight = Sweep(tmp_path / "straight").run() if (tmp_path / "straight").mkdir() is None else []
    (tmp_path / "killed").mkdir()
    first = Sweep(tmp_path / "killed")
    for _ in range(2):
        given = first.next()
        assert given is not None
        first.finish(*given)
    lost = first.next()
    assert lost is not None
    assert first.told[1].state.name == "RUNNING"

    second = Sweep(tmp_path / "killed")
    again = second.run()
    assert again[0] == lost[1].name, "under the same number, with the same values"
    assert [*first.board.handed_out[:2], *again] == straight
    assert [trial.state.name for trial in second.told] == ["COMPLETE"] * 4


def test_a_cell_whose_figures_are_there_is_told_without_running_again(tmp_path: Path) -> None:
    first = Sweep(tmp_path, arms=[])
    for _ in range(2):
        given = first.next()
        assert given is not None
        first.finish(*given)
    (tmp_path / "optuna.db").unlink()
    second = Sweep(tmp_path, arms=[])
    assert len(second.run()) == 2, "two of the four are there"
    assert [one.state.name for one in second.told] == ["COMPLETE"] * 4


def test_what_comes_out_twice_is_drawn_anew_until_nothing_new_is_left(tmp_path: Path) -> None:
    space = {"variant": {"choice": ["cpggan"]}, "count": {"int": [4000, 12000], "step": 4000}}
    sweep = Sweep(tmp_path, arms=[], space=space, search={"method": "random", "trials": 4})
    names = sweep.run()
    assert sorted(name.split(" ", 1)[1] for name in names) == [f"cpggan {n} seed 0" for n in (1200, 400, 800)]
    twins = [one for one in sweep.told if TWIN_OF in one.user_attrs]
    assert {one.state.name for one in twins} == {"FAIL"}
    assert len(drawn_cells(sweep.search._optuna, sweep.study)) == 4, "the fourth is a twin: three is all there is"
    assert len(sweep.told) == 4 + len(twins)
    assert Sweep(tmp_path, arms=[], space=space, search={"method": "random", "trials": 4}).next() is None


def test_an_added_seed_is_run_for_cells_that_were_told(tmp_path: Path) -> None:
    Sweep(tmp_path).run()
    settings = settings_in(tmp_path)
    study = timed_study(tmp_path, **{**SEARCH, "seeds": [0, 1]})
    todo = _look(study, settings, StudyRecord(Store(tmp_path / "store"), study.name), make_timed_maker)
    assert [trial.name.split(" ", 1)[0] for trial in todo.waiting] == ["none", "t0", "t1", "t2", "t3"]
    assert {trial.seed for trial in todo.waiting} == {1}
    assert todo.to_draw == 0
    sweep = Sweep(tmp_path, seeds=[0, 1])
    sweep.search.wait_for(trial for trial in todo.waiting if trial.number is not None)
    assert len(sweep.run()) == 5
    assert [trial.state.name for trial in sweep.told] == ["COMPLETE"] * 4, "as they were"


def test_other_settings_that_all_cells_share_are_refused(tmp_path: Path) -> None:
    Sweep(tmp_path).run()
    uri = f"sqlite:///{tmp_path / 'optuna.db'}"

    def check(**changes: Any) -> None:
        study = timed_study(tmp_path, **{**SEARCH, **changes})
        check_optuna_study(study, make_timed_maker(study).slices.key, uri)

    check(seeds=[0, 1], search={**SEARCH["search"], "trials": 9})
    check(detector={**SEARCH["detector"], "learning_rate": 2e-3})  # it is drawn
    with pytest.raises(ConfigError, match=r"detector\.box_gain was .* give the study another name"):
        check(detector={**SEARCH["detector"], "box_gain": 5})
    with pytest.raises(ConfigError, match=r"objectives was .* cannot be compared"):
        check(objectives=[{"metric": "sensitivity", "iou": 0.25, "direction": "maximize"}])


def test_a_database_that_cannot_be_used_is_refused_before_ray_is_looked_for(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.db"
    damaged.write_text("not a database, but long enough to be looked at " * 10)
    for file, why in ((damaged, "not a database"), (tmp_path / "missing" / "optuna.db", "no file can be made in")):
        changed = {"optuna_storage": f"sqlite:///{file}", "ray_address": "nowhere"}
        settings = settings_in(tmp_path).model_copy(update=changed)
        with pytest.raises(TrackingError, match=why):
            launch(timed_study(tmp_path), settings, TextConsole(), write_report, maker=make_timed_maker)


def test_a_second_launch_is_refused_before_ray_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, settings = timed_study(tmp_path), settings_in(tmp_path)
    monkeypatch.setattr("sweep.engine.study_lease.LEASE_LAPSES_S", 0.0)
    monkeypatch.setattr("sweep.engine.launch.ray_cluster", lambda *_: pytest.fail("Ray was started"))
    with (
        only_process(study.name, Store(settings.store), print),
        pytest.raises(StoreError, match="Another command is launching study"),
    ):
        launch(study, settings, TextConsole(), write_report, maker=make_timed_maker)


def test_a_pruned_cell_keeps_its_last_value_and_its_other_seeds_are_not_begun(tmp_path: Path) -> None:
    search = {**SEARCH["search"], "pruning": "median", "startup_trials": 1, "grace": 0.1}
    sweep = Sweep(tmp_path, seeds=[0, 1], search=search)
    for value in (0.9, 0.1):
        given = sweep.next()
        while given is not None and given[1].number is None:
            sweep.finish(*given)
            given = sweep.next()
        assert given is not None
        step = sweep.study.detector.steps // 2
        sweep.search.on_trial_result(given[0], {"validated": value, "step": step})
        if value > 0.5:
            sweep.finish(*given)
            second = sweep.next()
            assert second is not None
            assert second[1].cell == given[1].cell
            sweep.finish(*second)
        else:
            assert (given[1].name, StopReason.PRUNED) in sweep.board.stopped
            sweep.search.on_trial_complete(given[0], {"state": "stopped", "reason": StopReason.PRUNED})
    pruned = sweep.told[1]
    assert (pruned.state.name, pruned.value) == ("PRUNED", 0.1)
    assert given_up(sweep.study, f"sqlite:///{tmp_path / 'optuna.db'}") == {1}
    following = sweep.next()
    assert following is not None
    assert following[1].number == 2, "seed 1 of the pruned cell is not handed out"


def test_an_objective_that_is_not_a_number_is_a_failure_that_says_so(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, arms=[])
    given = sweep.next()
    assert given is not None
    sweep.finish(*given, sensitivity=math.nan)
    failed = sweep.told[0]
    assert failed.state.name == "FAIL"
    assert "not a number" in failed.user_attrs[ERROR]
    assert sweep.next() is not None, "the others go on"


def test_an_arm_of_an_ablation_whose_objective_is_not_a_number_has_failed_too(tmp_path: Path) -> None:
    arms = [{"variant": "none"}, {"variant": "cpggan", "counts": [4000]}]
    sweep = Sweep(tmp_path, arms=arms, space={}, search={})
    given = sweep.next()
    assert given is not None
    sweep.finish(*given, sensitivity=math.nan)
    assert sweep.outcomes[given[1].name].state == "failed"
    sweep.run()
    assert [trial.state.name for trial in sweep.told] == ["FAIL", "COMPLETE"]
    assert "not a number" in sweep.told[0].user_attrs[ERROR]


def test_the_display_tells_what_is_yet_to_be_drawn(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    console = TextConsole(record=True, width=200)
    display = Display(sweep.search.plan, console, sweep.store, Capacity(({"CPU": 2},)))
    display.show({})
    for _ in range(2):
        given = sweep.next()
        assert given is not None
        sweep.finish(*given)
    display = Display(sweep.search.plan, console, sweep.store, Capacity(({"CPU": 2},)))
    display.show({})
    assert [line.split("  ")[0].removeprefix("[0:00] ") for line in console.export_text().splitlines()] == [
        "0 of 1 trial evaluated, 4 cells yet to be drawn",
        "2 of 2 trials evaluated, 3 cells yet to be drawn",
    ]


def test_failures_are_told_and_can_be_drawn_again(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, arms=[])
    given = sweep.next()
    assert given is not None
    sweep.search.on_trial_complete(given[0], {"state": "failed", "error": "out of memory"})
    assert sweep.outcomes[given[1].name] == Outcome(state="failed", error="out of memory")
    assert sweep.told[0].user_attrs[ERROR] == "out of memory"
    sweep.search.retry([given[1].name])
    again = sweep.next()
    assert again is not None
    assert again[1].number == 1
    assert dict(again[1].params) == dict(given[1].params)
    sweep.finish(*again)
    sweep.run()
    assert [trial.state.name for trial in sweep.told] == ["FAIL", *["COMPLETE"] * 4], "four cells in all"


def test_an_interrupted_cell_stays_open_and_one_stopped_by_hand_is_closed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, arms=[])
    for reason, state in ((StopReason.INTERRUPTED, "RUNNING"), (StopReason.STOPPED_BY_HAND, "FAIL")):
        given = sweep.next()
        assert given is not None
        sweep.search.on_trial_complete(given[0], {"state": "stopped", "reason": reason})
        assert sweep.told[given[1].number or 0].state.name == state
    assert given_up(sweep.study, f"sqlite:///{tmp_path / 'optuna.db'}") == {1}


def test_a_bounded_figure_that_is_not_a_number_is_a_failure_too(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, arms=[], constraints=[{"metric": "fps_per_slice", "iou": 0.5, "at_most": 1.5}])
    given = sweep.next()
    assert given is not None
    sweep.finish(*given, fps_per_slice=math.nan)
    assert sweep.told[0].state.name == "FAIL"
    assert sweep.told[0].user_attrs[ERROR] == "fps_per_slice at IoU 0.5 is not a number."


def test_constraints_and_several_objectives_reach_optuna(tmp_path: Path) -> None:
    objectives = [
        {"metric": "sensitivity", "iou": 0.5, "direction": "maximize"},
        {"metric": "fps_per_slice", "iou": 0.5, "direction": "minimize"},
    ]
    constraints = [{"metric": "fps_per_slice", "iou": 0.5, "at_most": 1.5}]
    sweep = Sweep(tmp_path, objectives=objectives, constraints=constraints)
    sweep.run()
    assert all(len(trial.values) == 2 for trial in sweep.told)
    assert all(trial.constraints == {"fps_per_slice at IoU 0.5 at most 1.5": 0.5} for trial in sweep.told)


def arms_of(sweep: Sweep) -> list[tuple[str, int]]:
    return [(trial.params["arm.variant"], trial.params["arm.count"]) for trial in sweep.told]


def test_arms_of_an_ablation_are_recorded_when_all_their_seeds_are_done(tmp_path: Path) -> None:
    arms = [{"variant": "none"}, {"variant": "cpggan", "counts": [4000]}]
    sweep = Sweep(tmp_path, arms=arms, space={}, search={}, seeds=[0, 1])
    given = sweep.next()
    assert given is not None
    sweep.finish(*given)
    assert sweep.told == []
    sweep.run()
    assert arms_of(sweep) == [("none", 0), ("cpggan", 400)]


def test_an_arm_is_recorded_once_whoever_made_it(tmp_path: Path) -> None:
    arms = [{"variant": "none"}, {"variant": "cpggan", "counts": [4000]}]
    Sweep(tmp_path, arms=arms, space={}, search={}).run()
    (tmp_path / "optuna.db").unlink()
    storage = open_storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    sweep = Sweep(tmp_path, arms=arms, space={}, search={})
    for _ in range(2):
        assert record_arms(sweep.search.plan, sweep.store, storage) == {}
        assert arms_of(sweep) == [("none", 0), ("cpggan", 400)]


def test_an_arm_of_a_variant_that_is_newer_than_the_database_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.studies.arms.VARIANTS", ("none", "image2image"))
    Sweep(tmp_path, space={}, search={}).run()
    monkeypatch.undo()
    later = Sweep(tmp_path, arms=[*SEARCH["arms"], {"variant": "cpggan", "counts": [4000]}], space={}, search={})
    later.run()
    assert [trial.params.get("arm.variant") for trial in later.told] == ["none", None]
    assert [trial.user_attrs[ARM] for trial in later.told] == ["none", "cpggan 400"]


def test_arms_and_a_search_can_be_added_to_an_ablation(tmp_path: Path) -> None:
    Sweep(tmp_path, space={}, search={}).run()
    more = [*SEARCH["arms"], {"variant": "image2image", "counts": [4000]}]
    sweep = Sweep(tmp_path, arms=more, space={}, search={})
    sweep.run()
    assert arms_of(sweep) == [("none", 0), ("image2image", 400)]
    search = Sweep(tmp_path, arms=more)
    assert len(search.run()) == 4, "four cells, whatever arms are recorded"


def test_other_choices_under_the_same_name_are_refused(tmp_path: Path) -> None:
    Sweep(tmp_path).run()
    other = {**SEARCH["space"], "variant": {"choice": ["cpggan"]}}
    with pytest.raises(ConfigError, match=r"space\.variant had .* give the study another name"):
        Sweep(tmp_path, space=other)


def test_choices_can_be_added_to_a_search_that_has_drawn(tmp_path: Path) -> None:
    search = {**SEARCH["search"], "method": "random"}
    before = Sweep(tmp_path, search=search)
    assert before.next() is not None
    given = before.next()
    assert given is not None
    before.finish(*given)
    variants = ["cpggan", "image2image", "none"]
    sweep = Sweep(tmp_path, search={**search, "trials": 30}, space={**SEARCH["space"], "variant": {"choice": variants}})
    sweep.run()
    assert {trial.params["variant"] for trial in sweep.told} == set(variants)
    first, same = sweep.told[0], before.search.plan.trials[-1]
    assert (first.params["variant"], first.params["detector.learning_rate"]) == (same.variant, *same.params.values())
    for choices in (["image2image", "cpggan", "none"], ["cpggan", "image2image"]):
        with pytest.raises(ConfigError, match=r"Restore the key, with new choices behind the former"):
            Sweep(tmp_path, space={**SEARCH["space"], "variant": {"choice": choices}})


def test_known_good_cells_are_drawn_first_and_once(tmp_path: Path) -> None:
    good = [
        {"variant": "image2image", "count": 8000, "detector.learning_rate": 1e-3},
        {"variant": "cpggan", "count": 4000},
    ]
    changes = {"search": {**SEARCH["search"], "first": good}}
    sweep = Sweep(tmp_path, **changes)
    names = [given[1].cell for given in (sweep.next() for _ in range(3)) if given is not None]
    assert names == ["none", "t0 image2image 800", "t1 cpggan 400"]
    assert sweep.search.plan.cells["t0 image2image 800"][0].params == {"detector.learning_rate": 1e-3}
    assert 1e-4 <= sweep.search.plan.cells["t1 cpggan 400"][0].params["detector.learning_rate"] <= 1e-2
    again = Sweep(tmp_path, **changes)
    assert sorted({name.split()[0] for name in again.run()}) == ["none", "t0", "t1", "t2", "t3"]


def test_a_search_begins_with_the_best_cells_of_another(tmp_path: Path) -> None:
    other = Sweep(tmp_path)
    other.run()
    best = sorted(other.told, key=lambda trial: -trial.values[0])[:2]
    search = {**SEARCH["search"], "first_from": {"study": "timed", "cells": 2}}
    sweep = Sweep(tmp_path, name="second", search=search)
    assert not {"t0", "t1"} & {name.split()[0] for name in sweep.run()}, "their results are in the store"
    drawn = read_drawn(sweep.study, f"sqlite:///{tmp_path / 'optuna.db'}")
    assert [cell.cell for cell in drawn[:2]] == [sweep.study.cell_of(trial.params) for trial in best]
    uri = f"sqlite:///{tmp_path / 'optuna.db'}"
    for changes, message in (
        ({"search": {**search, "first_from": {"study": "nowhere"}}}, "holds no study of that name. Allowed: timed"),
        ({"search": search, "space": {**SEARCH["space"], "count": {"int": [1000, 2000]}}}, "none of whose 4 complete"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_optuna_study(timed_study(tmp_path, **{**SEARCH, "name": "third", **changes}), "slices", uri)


def test_a_search_without_a_new_best_ends_and_a_late_one_lets_it_go_on(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, search={**SEARCH["search"], "trials": 20, "patience": 3})
    assert sweep.next() is not None  # none
    for sensitivity in (0.5, 0.6, 0.2, 0.6):
        given = sweep.next()
        assert given is not None
        sweep.finish(*given, sensitivity=sensitivity)
    worse, better = sweep.next(), sweep.next()
    assert worse is not None
    assert better is not None
    sweep.finish(*worse, sensitivity=0.4)
    assert sweep.search.suggest("late") is None, "three cells were no better than the second; one still runs"
    assert left_to_draw(sweep.study, sweep.drawn) == 0
    sweep.finish(*better, sensitivity=0.7)
    assert sweep.next() is not None
    assert left_to_draw(sweep.study, sweep.drawn) == 20 - 7


def test_a_cell_beyond_a_constraint_is_no_new_best(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, constraints=[{"metric": "fps_per_slice", "at_most": 5}],
                  search={**SEARCH["search"], "patience": 2})  # fmt: skip
    assert sweep.next() is not None
    for sensitivity, fps in ((0.5, 4), (0.8, 9), (0.9, 9)):
        given = sweep.next()
        assert given is not None
        sweep.finish(*given, sensitivity=sensitivity, fps_per_slice=fps)
    assert left_to_draw(sweep.study, sweep.drawn) == 0
