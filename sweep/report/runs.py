"""The MLflow runs of stages."""

from __future__ import annotations

from collections.abc import Set

from sweep.databases import will_be_made
from sweep.tracking.mlflow_client import connect, every_page, explained
from sweep.tracking.tags import STAGE_KEY

RUNS_PER_PAGE = 1000


def runs_by_stage_key(tracking_uri: str, study: str, keys: Set[str]) -> dict[str, str] | None:
    """Stage key -> id of the newest run that holds it, of these keys as far as MLflow has them.

    Looks in the study's own experiment first, and in all others only for what that lacks: studies may share stages.

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
        experiments = {experiment.experiment_id: experiment.name for experiment in client.search_experiments()}
        own = [number for number, name in experiments.items() if name == study]
        for searched in (own, [number for number in experiments if number not in own]):
            if not searched or runs.keys() >= keys:
                continue
            newest_first = every_page(
                lambda token, searched=searched: client.search_runs(
                    searched, f"tags.`{STAGE_KEY}` LIKE '%'", max_results=RUNS_PER_PAGE, page_token=token
                )
            )
            for run in newest_first:
                if (key := run.data.tags[STAGE_KEY]) in keys:
                    runs.setdefault(key, run.info.run_id)
                if len(runs) == len(keys):
                    break
    return runs
