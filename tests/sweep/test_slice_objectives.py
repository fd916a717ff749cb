"""Searches for good synthetic slices: what is planned, run, told to Optuna, shown and promoted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from search_spaces.cell import Cell
from sweep.cli.status_tables import headline, states_table
from sweep.objectives import measured_seeds, read_measured, violations
from sweep.plan import Plan, Trial, TrialMaker
from sweep.plan.estimate import Estimator
from sweep.plan.schedule import Jobs
from sweep.plan.undrawn import add_undrawn
from sweep.registry.judging import _picked
from sweep.registry.selection import ranking
from sweep.report.evidence import _chosen
from sweep.report.gan_table import gan_section
from sweep.report.results import read_results
from sweep.report.sections.best import best_section
from sweep.stages import PrepareStage
from sweep.store import Store
from sweep.studies.arms import record_arms
from sweep.studies.continuing import check_optuna_study
from sweep.studies.optuna_study import ERROR, open_storage, plan_drawn
from sweep.studies.overview import Observer, best_of
from tests.sweep.evaluated import put
from tests.sweep.fixed_time import make_timed_maker, timed_study, wasserstein
from tests.sweep.publishing import publishing
from tests.sweep.small_study import plan_of, small_study
from tests.sweep.summaries import realism_report
from tests.sweep.without_ray import SEARCH, Sweep
from trainers.exceptions import ConfigError, StoreError

CLOSE = {"metric": "sliced_wasserstein", "direction": "minimize"}
FAITHFUL = {"metric": "box_fidelity", "iou": 0.25}
BY_SLICES: dict[str, Any] = {
    **SEARCH,
    "space": {
        "variant": {"choice": ["cpggan", "image2image"]},
        "count": {"choice": [4000]},
        "gan.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    },
    "objectives": [CLOSE, FAITHFUL],
    "constraints": [{"metric": "sliced_wasserstein", "at_most": 15}],
}


def judge(store: Store, trial: Trial, distance: float, recall: float = 0.8, on_real: float = 0.9) -> None:
    """Publish what is told of a trial's slices."""
    assert trial.realism
    if store.find("realism", trial.realism.key) is None:
        report = realism_report(trial.variant, distance, recall, on_real)
        with publishing(store, trial.realism) as folder:
            (folder / "realism.json").write_text(json.dumps(report))


def test_each_trial_has_the_realism_of_its_own_slices_judged_by_a_detector_that_taught_nothing() -> None:
    arms = [{"variant": "none"}, {"variant": "cpggan+detector", "counts": [4, 8]}]
    plan = plan_of(small_study(seeds=(0, 1), arms=arms, objectives=[CLOSE]))
    real, synthetic = plan.trials[:2], plan.trials[2:]
    assert not any(trial.realism for trial in real)
    (stage,) = {trial.realism.key: trial.realism for trial in synthetic if trial.realism}.values()
    assert all(trial.realism for trial in synthetic)
    assert stage.detector.key == real[0].evaluate.detector.key
    assert synthetic[0].gan
    assert synthetic[0].gan.detector
    assert synthetic[0].gan.detector.key != stage.detector.key
    assert [one.name for one in plan.stages.values()].count("realism") == 1


def test_the_realism_of_every_cell_is_planned(tmp_path: Path) -> None:
    def bound(**changes: Any) -> Mapping[str, int]:
        study = timed_study(tmp_path, **{**BY_SLICES, "arms": [], **changes})
        maker, store = make_timed_maker(study), Store(tmp_path / "store")
        plan = plan_drawn(maker, study, ())
        estimator = Estimator(plan, store, count_flops=False)
        return add_undrawn(plan, maker, 4, estimator, Jobs({}, estimator), store).stages

    assert (bound()["gan"], bound()["realism"]) == (4, 4)
    assert bound()["detector"] == 5, "one judges"
    shared = {key: form for key, form in BY_SLICES["space"].items() if not key.startswith("gan.")}
    assert bound(space=shared)["realism"] == 2, "one of each variant"
    drawn_anew = shared | {"synthesis.max_shift": {"float": [0.0, 0.1]}}
    assert bound(space=drawn_anew)["realism"] == 2 + 4
    assert bound(objectives=[{}], constraints=[])["realism"] == 0


def test_cells_yet_to_be_drawn_are_bounded_by_the_values_that_cost_most(tmp_path: Path) -> None:
    prepared = PrepareStage(small_study().prepare, cohort=Path("discs"), fingerprint="discs")

    def cpu_seconds(**keys: list[Any]) -> float:
        space = {"variant": {"choice": ["cpggan"]}, "count": {"choice": [4]}}
        space |= {f"gan.{key}": {"choice": choices} for key, choices in keys.items()}
        study = small_study(arms=[{"variant": "none"}], space=space, search={"method": "random"})
        maker, store = TrialMaker(study, prepared), Store(tmp_path)
        plan = plan_drawn(maker, study, ())
        estimator = Estimator(plan, store)
        return add_undrawn(plan, maker, 2, estimator, Jobs({}, estimator), store).usage.cpu_seconds

    dearest = cpu_seconds(penalty_interval=[1], loss=["relativistic"])
    assert cpu_seconds(penalty_interval=[1, 16], loss=["r1", "relativistic"]) == dearest


def test_a_search_learns_what_realism_tells_of_each_cell(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, **BY_SLICES, seeds=[0, 1])
    sweep.run()
    cells = {number: trials for trials in sweep.search.plan.cells.values() if (number := trials[0].number) is not None}
    assert len(sweep.told) == 4
    for told in sweep.told:
        stage = cells[told.number][0].realism
        assert stage
        assert told.values == [pytest.approx(wasserstein(stage)), pytest.approx(0.9)]
        assert told.constraints == {"sliced_wasserstein at most 15": pytest.approx(wasserstein(stage) - 15)}
    assert {trial.state.name for trial in sweep.told} == {"COMPLETE"}
    assert {outcome.state for outcome in sweep.outcomes.values()} == {"done"}


@pytest.mark.parametrize("on_real", [0.0, 0.1])
def test_a_collapsed_detector_judges_nothing(tmp_path: Path, on_real: float) -> None:
    sweep = Sweep(tmp_path, **{**BY_SLICES, "arms": []})
    given = sweep.next()
    assert given
    judge(sweep.store, given[1], 10.0, 0.0, on_real)
    sweep.finish(*given)
    (told,) = sweep.told
    why = (
        "box_fidelity at IoU 0.25 is not a number: the detector that judges slices finds lesions of held-out patients "
        "no more often than boxes at random places."
    )
    assert (told.state.name, told.user_attrs[ERROR]) == ("FAIL", why)
    assert sweep.outcomes[given[1].name].error == why


def test_a_cell_ends_once_its_slices_are_judged(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, **{**BY_SLICES, "arms": []})
    given = sweep.next()
    assert given
    name, trial = given
    put(sweep.store, trial, 0.5)
    assert trial in sweep.search.plan.unfinished(sweep.store)
    assert not read_measured([trial], sweep.study, sweep.store)
    sweep.finish(name, trial)
    assert trial not in sweep.search.plan.unfinished(sweep.store)
    assert sweep.told[0].state.name == "COMPLETE"


def test_an_arm_without_synthetic_slices_is_no_failure_and_never_the_best(tmp_path: Path) -> None:
    arms = [{"variant": "none"}, {"variant": "cpggan", "counts": [4000]}, {"variant": "image2image", "counts": [4000]}]
    sweep = Sweep(tmp_path, arms=arms, space={}, search={}, objectives=[CLOSE])
    sweep.run()
    assert [trial.params["arm.variant"] for trial in sweep.told] == ["cpggan", "image2image"]
    assert {outcome.state for outcome in sweep.outcomes.values()} == {"done"}
    storage = open_storage(f"sqlite:///{tmp_path / 'optuna.db'}")
    assert record_arms(sweep.search.plan, sweep.store, storage) == {}
    assert len(sweep.told) == 2

    overview = Observer(sweep.study, sweep.store).look(sweep.search.plan)
    assert overview.best
    assert overview.best[0] == "cpggan 400"
    assert [state.value is None for state in overview.trials] == [True, False, False]
    assert f"Best so far: cell cpggan 400, sliced_wasserstein {overview.best[1]:.3f}." in list(headline(overview, "x"))
    assert states_table(overview, None).columns[-1].header == "sliced_wasserstein"


def test_cells_that_were_judged_otherwise_cannot_be_compared(tmp_path: Path) -> None:
    Sweep(tmp_path, **BY_SLICES).run()

    def check(**changes: Any) -> None:
        study = timed_study(tmp_path, **{**BY_SLICES, **changes})
        check_optuna_study(study, make_timed_maker(study).slices.key, f"sqlite:///{tmp_path / 'optuna.db'}")

    check(seeds=[0, 1])
    for changes, told in (
        ({"realism": {"patches": 64}}, r"realism\.patches was 128"),
        ({"seeds": [1, 0]}, "seeds was"),
    ):
        with pytest.raises(ConfigError, match=told):
            check(**changes)


@pytest.fixture
def by_slices() -> Plan:
    """Arms without and with synthetic slices; two of them are of one GAN."""
    return plan_of(small_study(objectives=[CLOSE], constraints=[{"metric": "box_fidelity", "at_least": 0.5}]))


def test_the_trial_with_the_best_slices_is_promoted_and_its_best_detector(by_slices: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for trial, validation in zip(by_slices.trials, (0.9, 0.4, 0.6, 0.8), strict=True):
        put(store, trial, 0.5, validation)
    with pytest.raises(StoreError, match="lacks 3 of 4 trials"):
        ranking(by_slices, store)
    for trial, distance in zip(by_slices.trials[1:], (10.0, 10.0, 20.0), strict=True):
        judge(store, trial, distance)
    ranked = ranking(by_slices, store)
    assert [one.trial.name for one in ranked] == ["cpggan 8 seed 0", "cpggan 4 seed 0", "image2image 4 seed 0"]
    by = "by sliced_wasserstein, sensitivity at IoU 0.5 on validation"
    assert (
        _picked(ranked[0], ranked, 4).why == f"The best of 3 trials {by}; 1 more ended early, failed, or lack a figure."
    )
    assert _picked(ranked[0], ranked, 4).figure == 10.0
    assert ranked[0].slices_text == "sliced_wasserstein 10, "


def test_slices_beyond_a_bound_are_not_the_best(by_slices: Plan, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for trial in by_slices.trials:
        put(store, trial, 0.5)
        if trial.realism:
            judge(store, trial, *((20.0, 0.8) if trial.variant == "image2image" else (10.0, 0.3)))
    assert ranking(by_slices, store)[0].trial.variant == "image2image"
    overview = Observer(by_slices.study, store).look(by_slices)
    assert overview.best == ("image2image 4", 20.0)


def test_two_bounds_of_one_figure_both_hold(tmp_path: Path) -> None:
    bounds = [{"metric": "sliced_wasserstein", **bound} for bound in ({"at_most": 40}, {"at_least": 10})]
    plan = plan_of(small_study(objectives=[CLOSE], constraints=bounds))
    store = Store(tmp_path)
    for trial in plan.trials:
        put(store, trial, 0.5)
        if trial.realism:
            judge(store, trial, 99.0 if trial.variant == "image2image" else 5.0)
    cells = {cell: measured_seeds(trials, plan.study, store) for cell, trials in plan.cells.items()}
    assert violations(plan.study, cells["image2image 4"]) == {
        "sliced_wasserstein at most 40": 59.0, "sliced_wasserstein at least 10": -89.0,
    }  # fmt: skip
    assert best_of(plan.study, cells) is None


def test_the_report_orders_drawn_cells_by_their_slices(tmp_path: Path) -> None:
    study = small_study(objectives=[CLOSE, FAITHFUL], **{key: BY_SLICES[key] for key in ("space", "search")})
    rates = enumerate((1e-4, 1e-3, 1e-2))
    plan = plan_of(study, [(number, Cell("cpggan", 4, (("gan.learning_rate", rate),))) for number, rate in rates])
    store = Store(tmp_path)
    distances = {"cpggan 4": 50.0, "image2image 4": 40.0, "t0 cpggan 4": 30.0, "t1 cpggan 4": 20.0}
    for trial in plan.trials:
        put(store, trial, 0.5)
        if trial.cell in distances:
            judge(store, trial, distances[trial.cell], 0.6)
    results = read_results(plan, store)
    section = best_section(results)
    assert section
    assert section.columns[:3] == ("cell", "sliced_wasserstein", "box_fidelity @ 0.25")
    assert [row[:3] for row in section.rows] == [["t1 cpggan 4", "20.000", "0.700"], ["t0 cpggan 4", "30.000", "0.700"]]
    assert section.lines[0].values["sliced_wasserstein"] == 20.0
    assert "ordered by sliced_wasserstein (minimize), the first objective, within the bounds; bounds" in section.note
    overview = Observer(study, store).look(plan)
    rule = "sliced_wasserstein 20.000 (by the first objective, within the constraints)."
    assert f"Best so far: cell t1 cpggan 4, {rule}" in list(headline(overview, "x"))
    assert _chosen(results.arms, study) == "image2image 4", "whose slices are shown"
    gans = gan_section(results)
    assert gans
    assert [row[0] for row in gans.rows[1:]] == ["cpggan", "image2image", "t0 cpggan", "t1 cpggan"], "each once"
