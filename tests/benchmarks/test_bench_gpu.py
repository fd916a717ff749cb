"""What `make bench-gpu` measures, on a CPU with tiny networks."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks import bench_gpu
from tests.benchmarks.bench_gpu import GAN_ROWS, SYNTHESIS_BATCHES, matmul_rate, measure_training, rows
from tests.benchmarks.gan_contenders import iteration
from tests.conftest import pytest_collection_modifyitems
from trainers.flops import count_flops
from trainers.gan.config import GANConfig

CPU = torch.device("cpu")
SOME = (GAN_ROWS[1], GAN_ROWS[-2], GAN_ROWS[-1])
TINY = {"resolution": 16, "width": 1 / 32, "latent_size": 16, "batch_size": 4}


def test_every_row_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "WARM", 1)
    monkeypatch.setattr(bench_gpu, "GAN_ROWS", SOME)
    monkeypatch.setattr(bench_gpu, "PREDICT_BATCH", 2)
    lines = "\n".join(rows(CPU, TINY, size=32, seconds=0.0)).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    measured = [row for row in cells if "sec/kimg" not in row and "slices a second" not in row]
    assert len(measured) == len(SOME) + 5
    assert all(float(row[1]) > 0 for row in measured)
    verdicts = {row[0]: row[-1] for row in measured if row[-2]}
    assert len(verdicts) == 1 + len(SYNTHESIS_BATCHES) + 1
    assert set(verdicts.values()) <= {"met", "missed"}


def test_speed_and_operations_belong_together() -> None:
    config = GANConfig.model_validate(TINY)
    figures = measure_training(config, CPU, seconds=0.0)
    per_update = figures.flop_per_second * figures.sec_per_kimg * config.batch_size / 1000
    assert per_update == pytest.approx(count_flops(iteration("ours", config, CPU)))
    assert figures.peak_gib == 0.0
    assert matmul_rate(CPU, side=64) > 0.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_is_told_so(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"No GPU: torch .* nothing was measured"):
        bench_gpu.main()
    monkeypatch.setattr(request.config.option, "markexpr", "gpu")
    with pytest.raises(pytest.UsageError, match=r"No GPU: torch .* nothing was tested"):
        pytest_collection_modifyitems(request.config, [])
