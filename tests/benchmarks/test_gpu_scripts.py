"""The scripts that train on a GPU for minutes, on a CPU and for seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import bench_gpu_shared, gpu_weave
from tests.benchmarks.gpu_work import discs


def test_a_weave_is_told_from_noise_and_from_what_it_looks_like_when_smoothed() -> None:
    coarse = np.random.default_rng(0).normal(100, 20, (64, 16, 16))
    woven = coarse.repeat(4, axis=1).repeat(4, axis=2)
    noise = np.random.default_rng(1).normal(100, 20, (64, 64, 64))
    assert max(near / far for near, far in gpu_weave.axis_energies(woven)) > 4
    assert all(0.7 < near / far < 1.4 for near, far in gpu_weave.axis_energies(noise))


@pytest.mark.slow
def test_gans_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ours = gpu_weave.settings
    monkeypatch.setattr(gpu_weave, "settings", lambda *given: ours(*given) | {"width": 1 / 32, "batch_size": 8})
    monkeypatch.setattr(gpu_weave, "SAMPLES", 4)
    slices = discs(tmp_path / "slices", 16, 40).path
    monkeypatch.setattr(
        "sys.argv", ["gpu_weave", str(slices), str(tmp_path / "out"), "--kimg", "0.2", "--device", "cpu"]
    )
    gpu_weave.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:6]] == ["real slices", *gpu_weave.KINDS]
    assert {path.parts[-3] for path in (tmp_path / "out").glob("*/figures/samples.png")} == set(gpu_weave.KINDS)


@pytest.mark.slow
def test_detectors_are_trained_beside_and_after_each_other() -> None:
    together, alone, _ = list(bench_gpu_shared.rows("cpu", runs=1, steps=2))[2:]
    assert float(together.split("|")[2]) > 0 < float(alone.split("|")[2])
