"""Launches a study: refuses what cannot work, runs what is missing, shows how far it is, and tells what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from rich.console import Console

from search_spaces.study import Study
from sweep.engine.cluster import describe_cluster, ray_cluster
from sweep.engine.costs import costs_table
from sweep.engine.display import Display
from sweep.engine.optuna_study import drawn_cells, find_optuna_study, open_storage
from sweep.engine.outcome import INTERRUPTED, STOPPED_BY_HAND
from sweep.engine.records import StudyRecord, changes
from sweep.engine.steering import Steering
from sweep.logs import log_to
from sweep.plan import Plan, Trial, TrialMaker
from sweep.plan.plan import make_trial_maker, plan_with
from sweep.settings import Settings
from sweep.store import DamagedArtifact, Store
from sweep.tracking.delivery import Delivery
from sweep.tracking.tracker import Tracker
from trainers.exceptions import StoreError

LEASE_LAPSES_S = 20.0
"""How long to wait for the lease of a launch that may have died on another machine."""


@dataclass(frozen=True)
class Launched:
    """How a launch ended."""

    failed: dict[str, str]
    """Trial name -> error of those that failed; the others are complete, logged and reported."""
    stopped: str | None
    """Why the launch ended before the study was done; None if it did not."""


def launch(
    study: Study,
    settings: Settings,
    console: Console,
    *,
    fail_fast: bool = False,
    maker: Callable[[Study], TrialMaker] = make_trial_maker,
) -> Launched:
    """Run a study to its end; the same call continues one that was stopped or killed.

    Args:
        study: what to run.
        settings: store, MLflow, Optuna's database and Ray cluster.
        console: for progress and the costs.
        fail_fast: stop everything when a trial fails; otherwise the others go on.
        maker: makes the study's trials.

    Raises:
        MetsweepError: before any work, when the study, its cohort, the store, MLflow, Optuna's database or Ray cannot
            be used, or another process is launching the study.
    """
    began = time.time()
    trials = maker(study)
    store = Store(settings.store)
    storage = open_storage(settings.optuna_storage)
    drawn = drawn_cells(find_optuna_study(study, storage), study)
    plan = plan_with(trials, study, [(one.number, one.cell) for one in drawn])
    missing = plan.missing(store)
    store.check_writable(plan.bytes_of(missing))
    record = StudyRecord(store, study.name)
    with ExitStack() as stack:
        _tell_changes(record, study, plan, console)
        stack.enter_context(only_launch(study, store))
        _set_aside_damaged(plan, store, console)
        unfinished = plan.unfinished(store)
        outcomes = record.outcomes()
        stopped = {name for name, one in outcomes.items() if one.reason == STOPPED_BY_HAND}
        kept = {trial.number for trial in plan.trials if trial.name in outcomes}
        again = {one.number for one in drawn if one.state == "FAIL"} - kept  # asked for by `metsweep retry`
        waiting = [trial for trial in unfinished if trial.number is None and trial.name not in stopped]
        open_cells = {one.number for one in drawn if one.state == "RUNNING"}
        to_draw = study.search.trials - len(drawn) if study.search.draws else 0
        works = bool(waiting or open_cells or again or to_draw > 0)
        if works:
            needs = [study.resources.gan, study.resources.detector, *(one.resources for one in plan.stages.values())]
            stack.enter_context(ray_cluster(settings.ray_address, needs))
        log_to(store.local / "logs")
        record.keep_study(study)
        record.keep_needs(plan)
        cluster = describe_cluster(settings.ray_address) if works else "local"
        tracker = Tracker(settings.tracking_uri, plan, store, cluster)
        delivery = stack.enter_context(Delivery(tracker, lambda line: console.print(line, soft_wrap=True)))
        there = len(plan.stages) - len(plan.missing(store))
        console.print(
            f"Study {study.name} at {study.fidelity} fidelity: {len(plan.trials)} trials, {len(plan.stages)} stages, "
            f"{there} of them in the store already, {plan.shared} saved by sharing."
            + (f" {to_draw} cells are yet to be drawn." if to_draw > 0 else ""),
            soft_wrap=True,
        )
        launched = Launched({}, None)
        if works:
            from sweep.engine.runner import run_trials, start_board
            from sweep.engine.search import StudySearch

            board = start_board()
            steering = Steering(record, board, Display(plan, console, store), tracker, fail_fast)
            search = StudySearch(plan, trials, storage, store, board, steering.trial_ended)
            search.take_up([trial for trial in plan.trials if trial.number in open_cells])
            for number in sorted(again):
                search.draw_again(number)
            search.wait_for(first_of_each_gan_first(waiting))
            with steering.of(search):
                run_trials(study, search, store, board)
            plan = search.plan
            record.keep_needs(plan)
            launched = Launched(steering.failed, steering.stopped)
        ended = "KILLED" if launched.stopped == INTERRUPTED else "FAILED" if launched.failed else "FINISHED"
        delivery.finish(ended)
    console.print(costs_table(plan, store))
    console.print("Start-up: from the request to the first line of the work.")
    console.print(f"This command took {time.time() - began:.0f} s.")
    return launched


@contextmanager
def only_launch(study: Study, store: Store) -> Iterator[None]:
    """Two launches of one study would run its trials twice."""
    lease = store.lease("study", study.name)
    given_up = time.monotonic() + LEASE_LAPSES_S
    if not lease.acquire(lambda: time.monotonic() > given_up):
        raise StoreError(
            f"Another command is launching study {study.name} with the store {store.uri}. Follow it with `metsweep "
            f"watch {study.name}`, wait for it, or stop it with Ctrl-C where it runs."
        )
    try:
        yield
    finally:
        lease.release()


def _tell_changes(record: StudyRecord, study: Study, plan: Plan, console: Console) -> None:
    """What differs from the study as it was launched last; what that means for its stages, the plan tells."""
    before = record.study()
    changed = changes(before, study.model_dump(mode="json", by_alias=True)) if before else {}
    for key, (old, new) in changed.items():
        console.print(f"Changed since the last launch: {key} was {old}, is {new}.", soft_wrap=True, markup=False)
    if changed:
        missing = plan.missing(record.store)
        reused = len(plan.stages) - len(missing)
        console.print(f"{reused} stages are reused as they are, {len(missing)} are to be made.", soft_wrap=True)


def _set_aside_damaged(plan: Plan, store: Store, console: Console) -> None:
    """Results are read by the report only: what became of them on disk would not be seen before."""
    goals = {goal.key: goal for trial in plan.trials for goal in trial.goals}
    there = {name: store.keys(name) for name in {goal.name for goal in goals.values()}}
    for key, goal in goals.items():
        artifact = store.find(goal.name, key) if key in there[goal.name] else None
        if artifact is None:
            continue
        try:
            _ = artifact.path
        except DamagedArtifact as error:
            store.set_aside(artifact, str(error))
            console.print(f"{error} It was set aside and is made again.", soft_wrap=True, markup=False)


def first_of_each_gan_first(trials: Sequence[Trial]) -> list[Trial]:
    """So that no worker idles while another trains the GAN that its trial needs."""
    first = {trial.gan.key: trial for trial in reversed(trials) if trial.gan}
    return sorted(trials, key=lambda trial: trial not in first.values())
