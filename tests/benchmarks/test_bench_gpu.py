"""What `make bench-gpu` measures, on a CPU with tiny networks."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.benchmarks import bench_gpu, gpu_work
from tests.benchmarks.bench_gpu import MATRIX_ROW, ROWS, Row, table
from tests.benchmarks.gan_contenders import iteration
from tests.benchmarks.gpu_work import Figures, Size, training
from tests.benchmarks.guarded import FailedError
from tests.conftest import pytest_collection_modifyitems
from trainers.flops import count_flops
from trainers.gan.config import GANConfig

CPU = torch.device("cpu")
TINY = {"resolution": 16, "width": 1 / 32, "latent_size": 16, "batch_size": 4}
DETECTOR = {"width": 0.05, "depth": 0.1, "box_bins": 4, "train_size": 64, "validation_size": 64, "batch": 4}
SIZE = Size(0.0, 32, tuple(TINY.items()), tuple(DETECTOR.items()), matrix=64, shard=20, steps=6)
KINDS = [*{row.measure: row for row in ROWS}.values(), MATRIX_ROW]


@pytest.fixture(autouse=True)
def hardly_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_work, "WARM", 1)


@pytest.mark.parametrize("row", KINDS, ids=lambda row: row.name)
def test_every_kind_of_row_is_measured(row: Row) -> None:
    assert row.measure(row.changes, SIZE, CPU).speed > 0


def test_rows_are_of_valid_gans_and_those_with_a_target_come_first() -> None:
    for row in ROWS:
        if row.measure is training:
            assert GANConfig.model_validate(row.changes).batch_size == row.changes["batch_size"]
    targets = [row.target is not None for row in ROWS]
    assert targets == sorted(targets, reverse=True)


def test_a_row_that_fails_costs_itself_alone() -> None:
    figures = iter([Figures(0.7, 0.0, 7e11), Figures(2.0, 1.25, 1.4e11), Figures(300.0)])

    def guarded(run: Callable[..., Any], *_: Any) -> Figures:
        if run is operator.truediv:
            raise FailedError("CUDA error")
        return next(figures)

    seconds, faulty, slices = ROWS[1], ROWS[2]._replace(measure=operator.truediv), ROWS[5]
    _, matrix, first, failed, last = table([seconds, faulty, slices], SIZE, CPU, guarded)
    assert "| 0.7 | TFLOP/s |" in matrix
    assert "| 2 | sec/kimg | 3.0 | met | 1.2 | 0.14 | 20% |" in first
    assert "| failed: CUDA error | sec/kimg | 1.9 |" in failed
    assert "| 300 | slices/s | 300.0 | met |" in last
    assert (seconds.met(3.1), slices.met(299.0)) == ("missed", "missed")


def test_speed_and_operations_belong_together() -> None:
    config = GANConfig.model_validate(TINY)
    figures = training({}, SIZE, CPU)
    per_update = figures.flop_per_second * figures.speed * config.batch_size / 1000
    assert per_update == pytest.approx(count_flops(iteration("ours", config, CPU)))
    assert figures.peak_gib == 0.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_so(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"No GPU: torch .* nothing was measured"):
        bench_gpu.main()
    monkeypatch.setattr(request.config.option, "markexpr", "gpu")
    with pytest.raises(pytest.UsageError, match=r"No GPU: torch .* nothing was tested"):
        pytest_collection_modifyitems(request.config, [])
