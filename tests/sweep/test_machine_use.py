"""Samples of the machine have MLflow's own names, and never grow without end."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor

from sweep.machine_use import SYSTEM_FILE, peak_memory, read_system_samples, system_samples


def test_samples_have_the_names_and_units_of_mlflow(tmp_path: Path) -> None:
    with system_samples(tmp_path, every_seconds=0.05):
        time.sleep(0.5)
    samples = read_system_samples(tmp_path)
    assert len(samples) > 2
    assert sorted(sample["time"] for sample in samples) == [sample["time"] for sample in samples]
    for monitor in (CPUMonitor(), DiskMonitor()):
        monitor.collect_metrics()
        for name, values in monitor.metrics.items():
            assert name in samples[-1]
            if name.startswith("system_memory"):
                assert samples[-1][name] == pytest.approx(values[0], rel=0.5)
    # Of the disk that the artifact is on, where MLflow looks at the system's.
    assert samples[-1]["disk_available_megabytes"] == pytest.approx(
        psutil.disk_usage(str(tmp_path)).free / 1e6, rel=0.1
    )
    assert samples[-1]["process_memory_usage_megabytes"] > 10


def test_a_long_stage_is_sampled_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.machine_use.MOST_SAMPLES", 8)
    with system_samples(tmp_path, every_seconds=0.01):
        time.sleep(1.5)
    assert 3 < len(read_system_samples(tmp_path)) <= 8


def test_a_stage_that_fails_leaves_no_thread_and_its_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), system_samples(tmp_path), peak_memory() as memory:
        raise ZeroDivisionError
    assert memory.highest == 0
    assert not (tmp_path / SYSTEM_FILE).exists()
