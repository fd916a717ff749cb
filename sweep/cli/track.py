"""`metsweep track`: uploads the store's results to MLflow."""

from __future__ import annotations

from sweep.cli import talk
from sweep.cli.options import StudyOptions, spread
from sweep.text import count_text


@spread
def track(chosen: StudyOptions) -> None:
    """Upload runs missing in MLflow, each exactly once.

    Use this after a launch whose MLflow server was unreachable. Runs are uploaded from the store, in order; no stage
    runs, and Ray is not needed.

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
    talk.say(f"{count_text(finished, 'run')} completed in MLflow at {without_secrets(tracker.tracking_uri)}.")
    if missing:
        talk.say(f"{count_text(len(missing), 'stage')} not in the store yet. Next: metsweep launch {chosen.study}")
