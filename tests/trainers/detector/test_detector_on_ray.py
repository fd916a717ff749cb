"""What `train_on_ray` says when workers fail; the workers themselves are in tests/integration."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from trainers.distributed import WorkerResources, train_on_ray
from trainers.exceptions import SliceSetError, TrainingError


def fail_on_ray(failures: dict[int, Exception], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray Train run whose workers fail so; the error is the one that Ray's controller makes of them."""
    import ray.train.torch
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback
    from ray.train.v2._internal.execution.worker_group.poll import WorkerGroupPollStatus, WorkerStatus

    def fit(_: object) -> NoReturn:
        wrapped = {rank: UserExceptionWithTraceback(error, "Traceback (most ...)") for rank, error in failures.items()}
        statuses = {rank: WorkerStatus(running=False, error=error) for rank, error in wrapped.items()}
        raise WorkerGroupPollStatus(statuses).get_worker_group_error()

    monkeypatch.setattr(ray.train.torch.TorchTrainer, "fit", fit)
    train_on_ray(lambda _: None, name="run", storage=str(folder), resources=WorkerResources(workers=2))


def test_a_worker_s_own_refusal_is_raised_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = {1: SliceSetError("too few slices"), 0: RuntimeError("connection closed by peer")}
    with pytest.raises(SliceSetError) as raised:
        fail_on_ray(failures, tmp_path, monkeypatch)
    assert str(raised.value) == "too few slices"


def test_any_other_failure_keeps_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"Ray Train run run failed: (.|\n)*Traceback"):
        fail_on_ray({0: RuntimeError("a bug")}, tmp_path, monkeypatch)
