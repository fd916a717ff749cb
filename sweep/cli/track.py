"""`metsweep track`: MLflow brought up to what the store holds."""

from __future__ import annotations

from sweep.cli import talk
from sweep.cli.loading import load_plan
from sweep.cli.options import Overrides, StoreUri, StudyCohort, StudyFidelity, StudyName


def track(
    study: StudyName,
    fidelity: StudyFidelity = None,
    cohort: StudyCohort = None,
    overrides: Overrides = None,
    store: StoreUri = None,
) -> None:
    """Deliver to MLflow what the store holds.

    For after a launch whose MLflow server was away: writes the runs that are missing there, in order and once, without
    Ray and without running anything.

    \b
    Example:
      metsweep track quickstart
    """
    from sweep.engine.study_lease import only_process
    from sweep.redaction import without_secrets
    from sweep.report.report import write_report
    from sweep.settings import Settings
    from sweep.store import Store
    from sweep.tracking.tracker import Tracker

    settings = Settings.from_environment(store)
    opened = Store(settings.store)
    plan, settings = load_plan(study, fidelity, cohort, overrides, opened, settings)
    missing = plan.missing(opened)
    with only_process(plan.study.name, opened, talk.say) as lease:
        cluster = "not noted: delivered by metsweep track"
        tracker = Tracker(settings.tracking_uri, plan, opened, cluster, lease, write_report)
        tracker.open()
        finished = tracker.record()
        tracker.close("KILLED" if missing else "FINISHED")
    talk.say(f"{finished} runs were completed in MLflow at {without_secrets(tracker.tracking_uri)}.")
    if missing:
        talk.say(f"{len(missing)} stages are not in the store yet; `metsweep launch {study}` makes them.")
