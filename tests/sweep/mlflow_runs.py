"""What MLflow holds of a study, and a client that ends in the middle."""

from __future__ import annotations

from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Run


def runs_of(uri: str, name: str = "small") -> dict[str, Run]:
    """Run name -> run."""
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    assert len({run.info.run_name for run in found}) == len(found)
    return {str(run.info.run_name): run for run in found}


def outputs_of(run: Run) -> list[LoggedModelOutput]:
    return run.outputs.model_outputs if run.outputs else []


class DyingClient:
    """MLflow's client until its last call; then the driver is gone."""

    def __init__(self, client: MlflowClient, calls: int) -> None:
        self._client, self.left = client, calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            return method(*args, **kwargs)

        return call
