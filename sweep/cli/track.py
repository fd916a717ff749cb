"""`metsweep track`: MLflow brought up to what the store holds."""

from __future__ import annotations

from sweep.cli import talk
from sweep.cli.options import StudyOptions, spread


@spread
def track(chosen: StudyOptions) -> None:
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
    from sweep.tracking.tracker import Tracker

    opened = chosen.open()
    plan = opened.plan()
    missing = plan.missing(opened.store)
    with only_process(plan.study.name, opened.store, talk.say) as lease:
        cluster = "not noted: delivered by metsweep track"
        tracker = Tracker(opened.settings.tracking_uri, plan, opened.store, cluster, lease, write_report)
        tracker.open()
        finished = tracker.record()
        tracker.close("KILLED" if missing else "FINISHED")
    talk.say(f"{finished} runs were completed in MLflow at {without_secrets(tracker.tracking_uri)}.")
    if missing:
        talk.say(f"{len(missing)} stages are not in the store yet; `metsweep launch {chosen.study}` makes them.")
