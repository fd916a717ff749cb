"""Launches a study: refuses what cannot work, runs what is missing, shows the progress and what each stage cost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from search_spaces.study import Study
from sweep.console import TextConsole
from sweep.databases import DatabaseFile
from sweep.engine.board import BoardHandle
from sweep.engine.cluster import connected, describe_cluster, ray_cluster
from sweep.engine.display import MOST_NAMED, Display
from sweep.engine.local_ray import copy_logs
from sweep.engine.metrics import LaunchMetrics, serving
from sweep.engine.notify import Notifier, Watcher
from sweep.engine.steering import Observe, Steering
from sweep.engine.study_lease import only_process, wait_for_other_process
from sweep.plan import Plan, Trial, TrialMaker
from sweep.plan.plan import bytes_of, make_trial_maker
from sweep.settings import Settings
from sweep.stages import Stage
from sweep.store import DamagedArtifact, Lease, Store
from sweep.studies.arms import record_arms
from sweep.studies.continuing import check_optuna_study, check_race, take_up_choices
from sweep.studies.costs import LaunchCosts, costs_table
from sweep.studies.optuna_study import left_to_draw, plan_drawn, read_drawn
from sweep.studies.outcome import StopReason
from sweep.studies.records import StudyRecord, changes, lasting
from sweep.studies.study_logs import StudyLogs
from sweep.text import count_text
from sweep.tracking.delivery import Delivery
from sweep.tracking.tracker import Tracker, WriteReport
from trainers.distributed import WorkerResources

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class Launched:
    """How a launch ended."""

    failed: dict[str, str]
    """Trial name -> error of those that failed; the others are complete, logged and reported."""
    stopped: StopReason | None
    """Why the launch ended before the study was done; None if it did not."""
    undelivered: bool = False
    """Whether MLflow refused runs, or delivering them ended by an error; during an outage runs are only late."""


def launch(
    study: Study,
    settings: Settings,
    console: TextConsole,
    report: WriteReport,
    *,
    fail_fast: bool = False,
    maker: Callable[[Study], TrialMaker] = make_trial_maker,
    accepted: Callable[[], None] = lambda: None,
) -> Launched:
    """Run a study to its end; the same call continues one that was stopped or killed.

    Args:
        study: what to run.
        settings: store, MLflow, Optuna's database and Ray cluster.
        console: for progress and the costs.
        report: writes what MLflow keeps of the study as a whole.
        fail_fast: stop everything when a trial fails; otherwise the others go on.
        maker: makes the study's trials.
        accepted: called once the launch can no longer be refused, before any work.

    Raises:
        MetsweepError: before any work, when the study, its cohort, the store, MLflow, Optuna's database or Ray cannot
            be used, or another process is launching the study.
        LostLeaseError: another process took the study over while this one was suspended; it delivers and reports now.
    """
    from sweep.studies.patient_storage import open_patiently

    began = time.time()
    store = Store(settings.store)
    record = StudyRecord(store, study.name)
    todo = _look(study, settings, record, maker)
    check_optuna_study(study, todo.trials.slices.key, settings.optuna_storage)
    check_race(study, record)
    store.check_writable(bytes_of(todo.missing.values()))
    with ExitStack() as stack:
        connected = todo.any
        if connected:  # Ray may refuse: nothing is written before
            wait_for_other_process(study.name, store, console.say)
            stack.enter_context(ray_cluster(settings.ray_address, _resources_of(todo)))
        lease = stack.enter_context(only_process(study.name, store, console.say))
        _set_aside_damaged(todo.plan, store, console)
        # Damaged artifacts are to be made again, and another launch may have ended only now.
        todo = _look(study, settings, record, maker)
        if todo.any and not connected:
            stack.enter_context(ray_cluster(settings.ray_address, _resources_of(todo)))
        cluster = describe_cluster(settings.ray_address) if todo.any else "local"
        _say_changes(record, study, todo, console)
        logs = StudyLogs(store, study.name)
        logs.tidy()
        stack.enter_context(logs.written())
        tracker = Tracker(settings.tracking_uri, todo.plan, store, cluster, lease, report)
        metrics = LaunchMetrics(store, LaunchCosts(store, began), lambda: tracker.delivered)
        stack.enter_context(serving(metrics, settings.metrics_address))
        delivery = stack.enter_context(Delivery(tracker, console.say))
        record.keep_study(study)
        record.keep_needs(todo.plan)
        accepted()
        notifier = stack.enter_context(
            Notifier(study.name, settings.notify_command, settings.notify_webhook, console.say)
        )
        console.say(_headline(todo))
        take_up_choices(study, settings.optuna_storage)
        storage = open_patiently(settings.optuna_storage, console.say)
        plan, launched = todo.plan, Launched({}, None)
        if todo.any:
            observers = [metrics.observe, Watcher(notifier.send, settings.notify_stall_minutes).observe]
            plan, launched = _run(todo, settings, storage, record, tracker, lease, console, fail_fast, observers)
        if study.search.method == "ablation":
            undefined = record_arms(plan, store, storage)
            launched = replace(launched, failed=launched.failed | undefined)
        ended = "KILLED" if launched.stopped == StopReason.INTERRUPTED else "FAILED" if launched.failed else "FINISHED"
        undelivered = not delivery.finish(ended) and delivery.failed
        launched = replace(launched, undelivered=undelivered)
        lease.refuse_if_lost()
        notifier.send("failed" if launched.failed else "ended", _outcome(plan, launched))
    console.print(costs_table(plan, store))
    console.say("Start-up: from the request until the work begins.")
    console.say(f"This command took {time.time() - began:.0f} s.")
    return launched


@dataclass(frozen=True)
class _Todo:
    """The work of a launch."""

    plan: Plan
    trials: TrialMaker
    """Makes the trials of cells yet to be drawn."""
    missing: Mapping[str, Stage]
    """Stage key -> stage whose artifact is not in the store."""
    waiting: Sequence[Trial]
    """Trials of arms and of cells that Optuna holds as complete, whose artifacts are missing; none stopped by hand."""
    running: Sequence[Trial]
    """Trials of drawn cells that a former launch left running."""
    again: Sequence[int]
    """Numbers of drawn cells that failed and are to be drawn once more."""
    to_draw: int
    """Cells that the search has yet to draw."""
    stopped: Collection[str]
    """Names of trials that were stopped by hand."""

    @property
    def any(self) -> bool:
        """Whether anything is to be run."""
        return bool(self.waiting or self.running or self.again or self.to_draw)


def _look(study: Study, settings: Settings, record: StudyRecord, maker: Callable[[Study], TrialMaker]) -> _Todo:
    trials = maker(study)
    drawn = read_drawn(study, settings.optuna_storage)
    plan = plan_drawn(trials, study, drawn)
    outcomes = record.outcomes()
    stopped = {name for name, outcome in outcomes.items() if outcome.reason == StopReason.STOPPED_BY_HAND}
    if study.search.races:
        from sweep.plan.racing import race

        plan = race(plan, record.store, stopped)
    ended = {trial.number for trial in plan.trials if trial.name in outcomes}
    running = {cell.number for cell in drawn if cell.state == "RUNNING"}
    # A complete cell still needs its artifacts: they may be damaged, or a seed may be added.
    wanted = {None, *(cell.number for cell in drawn if cell.state == "COMPLETE")}
    return _Todo(
        plan,
        trials,
        missing=plan.missing(record.store),
        waiting=[
            trial for trial in plan.unfinished(record.store) if trial.number in wanted and trial.name not in stopped
        ],
        running=[trial for trial in plan.trials if trial.number in running],
        # `metsweep retry` forgets how they ended.
        again=[cell.number for cell in drawn if cell.state == "FAIL" and cell.number not in ended],
        to_draw=left_to_draw(study, drawn),
        stopped=stopped,
    )


def _resources_of(todo: _Todo) -> list[WorkerResources]:
    study = todo.plan.study
    return [study.resources.gan, study.resources.detector, *(stage.resources for stage in todo.plan.stages.values())]


def beginning_of_headline(study: str) -> str:
    """How the first line begins that a launch says once it can no longer be refused."""
    return f"Study {study} at "


def _headline(todo: _Todo) -> str:
    plan = todo.plan
    reused = len(plan.stages) - len(todo.missing)
    text = (
        f"{beginning_of_headline(plan.study.name)}{plan.study.fidelity} fidelity: "
        f"{count_text(len(plan.trials), 'trial')}, {count_text(len(plan.stages), 'stage')}, {reused:,} already cached, "
        f"{plan.shared:,} saved by sharing."
    )
    return f"{text} Yet to be drawn: {count_text(todo.to_draw, 'cell')}." if todo.to_draw else text


def _outcome(plan: Plan, launched: Launched) -> str:
    text = f"the launch of {count_text(len(plan.trials), 'trial')} has ended"
    if launched.stopped:
        text += f" early ({launched.stopped.text})"
    if launched.failed:
        names = list(launched.failed)
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        text += f"; failed: {', '.join(names[:MOST_NAMED])}{more}"
    return f"{text}; MLflow lacks some of its runs" if launched.undelivered else text


def _run(
    todo: _Todo,
    settings: Settings,
    storage: BaseStorage,
    record: StudyRecord,
    tracker: Tracker,
    lease: Lease,
    console: TextConsole,
    fail_fast: bool,
    observers: Sequence[Observe],
) -> tuple[Plan, Launched]:
    """Do the work on the connected cluster; returns the plan with all cells that were drawn."""
    from sweep.engine.runner import run_trials
    from sweep.engine.search import StudySearch

    store, study = record.store, todo.plan.study
    board = BoardHandle.start(study.name)
    database = DatabaseFile("Optuna", settings.optuna_storage, "it lacks cells that the search of this study has drawn")
    display = Display(todo.plan, console, store, connected())
    steering = Steering(record, board, display, tracker, database, lease, fail_fast, observers)
    # What a search draws is spared by `metsweep store gc` from its first artifact on.
    search = StudySearch(
        todo.plan, todo.trials, storage, store, board, steering.trial_ended, record.keep_needs, lease.check
    )
    search.give_up(todo.stopped)
    search.take_up(todo.running)
    for number in todo.again:
        search.draw_again(number)
    search.wait_for(first_of_each_source_first(todo.waiting))
    try:
        with steering.of(search):
            run_trials(study, search, store, board)
    except Exception:
        database.check()  # whose loss may be the cause
        raise
    finally:
        lease.refuse_if_lost()
        if settings.ray_address is None and (steering.failed or isinstance(sys.exception(), Exception)):
            console.say(f"Ray's own logs of this launch are kept in {copy_logs(store.local / 'logs')}.")
    return search.plan, Launched(steering.failed, steering.stopped)


def _say_changes(record: StudyRecord, study: Study, todo: _Todo, console: TextConsole) -> None:
    """Say what differs from the study as it was launched last, and how many stages are reused."""
    before = record.study()
    changed = changes(before, lasting(study)) if before else {}
    for key, (old, new) in changed.items():
        console.say(f"Changed since the last launch: {key} was {old}, is {new}.")
    if changed:
        reused = count_text(len(todo.plan.stages) - len(todo.missing), "stage")
        console.say(f"Reused: {reused}; to be made: {count_text(len(todo.missing), 'stage')}.")


def _set_aside_damaged(plan: Plan, store: Store, console: TextConsole) -> None:
    """Set aside damaged results: only the report reads them, and would find the damage too late."""
    goals = {goal.key: goal for trial in plan.trials for goal in trial.goals}
    done_keys = {name: store.keys(name) for name in {goal.name for goal in goals.values()}}
    for key, goal in goals.items():
        artifact = store.find(goal.name, key) if key in done_keys[goal.name] else None
        if artifact is None:
            continue
        try:
            _ = artifact.path
        except DamagedArtifact as error:
            store.set_aside(artifact, str(error))
            console.say(f"{error} The artifact was quarantined and is made again.")


def first_of_each_source_first(trials: Sequence[Trial]) -> list[Trial]:
    """So that no worker idles while another trains the GAN that its trial needs."""
    first = {trial.source.key: trial for trial in reversed(trials) if trial.source}
    return sorted(trials, key=lambda trial: trial not in first.values())
