"""Where MLflow shows the runs of a study."""

from __future__ import annotations

from typing import Any

from dashboards.study.live import State
from dashboards.web.pages import shown
from sweep.report.runs import runs_by_stage_key
from trainers.exceptions import TrackingError


def runs_of(state: State, tracking_uri: str) -> dict[str, Any]:
    """Key of an evaluation, or of a source of synthetic slices -> MLflow's run id; and the address before
    `/#/runs/<id>` if a server shows them."""
    keys = {trial.evaluate.key for trial in state.plan.trials} | state.plan.sources.keys()
    try:
        own = runs_by_stage_key(tracking_uri, state.plan.study.name, keys & state.results.made.keys())
    except TrackingError as error:
        return {"runs": {}, "server": None, "note": f"MLflow's runs are not shown: {shown(error)}"}
    if own is None:
        return {"runs": {}, "server": None, "note": "MLflow's runs are not shown: its database does not exist."}
    if tracking_uri.startswith(("http://", "https://")):
        return {"runs": own, "server": _without_login(tracking_uri).rstrip("/"), "note": ""}
    note = "MLflow has no server here: `metsweep ui` shows its database, and finds a run by the id in the table."
    return {"runs": own, "server": None, "note": note if own else "MLflow holds no run of this study yet."}


def _without_login(uri: str) -> str:
    """An address without user and password, which stay on this machine."""
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
