"""The MLflow runs of stages."""

from __future__ import annotations

from sweep.databases import will_be_made
from sweep.tracking.mlflow_client import connect, every_page, explained
from sweep.tracking.tags import STAGE_KEY


def runs_by_stage_key(tracking_uri: str) -> dict[str, str] | None:
    """Stage key -> id of the newest run that holds it, over all experiments: studies may share stages.

    Returns:
        None if MLflow's database is a missing file: a query would create it.

    Raises:
        TrackingError: MLflow does not answer.
    """
    if will_be_made(tracking_uri):
        return None
    client = connect(tracking_uri)
    runs: dict[str, str] = {}
    with explained(tracking_uri):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        keyed = f"tags.`{STAGE_KEY}` LIKE '%'"
        newest_first = every_page(
            lambda token: client.search_runs(experiments, keyed, max_results=1000, page_token=token)
        )
        for run in newest_first if experiments else ():
            runs.setdefault(run.data.tags[STAGE_KEY], run.info.run_id)
    return runs
