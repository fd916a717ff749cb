"""A stage's use of its machine: peak memory of every stage, and samples during those that train."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from sweep.repeating import repeating

SYSTEM_FILE = "system.jsonl"
"""In the artifact of a stage that trains: one sample per line, `time` (unix seconds) and figures."""
MEMORY_EVERY_SECONDS = 0.5
MOST_SAMPLES = 720
"""An hour at one sample per 5 s; samples of longer stages are further apart."""


class PeakMemory:
    """Highest resident memory seen of this process and its children, bytes."""

    def __init__(self) -> None:
        self.highest = 0

    def measure(self) -> None:
        """Measure now."""
        self.highest = max(self.highest, family_memory())


@contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Watches the memory of this process and its children within the block."""
    memory = PeakMemory()
    with repeating(memory.measure, lambda: MEMORY_EVERY_SECONDS):
        yield memory


@contextmanager
def system_samples(folder: Path, every_seconds: float = 5.0) -> Iterator[None]:
    """Samples the machine within the block, and writes `system.jsonl` into `folder` at its end.

    The figures have the names and units of MLflow's own system metrics (`mlflow.system_metrics`), plus the resident
    memory of this process and its children. GPUs are sampled if NVIDIA's library finds any.
    """
    samples = _Samples(folder, every_seconds)
    with repeating(samples.take, lambda: samples.every_seconds):
        yield
    samples.take()
    (folder / SYSTEM_FILE).write_text("".join(json.dumps(sample) + "\n" for sample in samples.taken))


def read_system_samples(folder: Path) -> list[dict[str, float]]:
    """The samples that `system_samples` wrote into an artifact's folder; none in artifacts of older versions."""
    path = folder / SYSTEM_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


class _Samples:
    """Evenly spaced samples, at most `MOST_SAMPLES`: when full, every second one is dropped and the rate is halved."""

    def __init__(self, folder: Path, every_seconds: float) -> None:
        self.every_seconds = every_seconds
        self.taken: list[dict[str, float]] = []
        self._folder = folder
        self._gpus = _gpu_handles()
        psutil.cpu_percent()  # the first call has no earlier one to compare with

    def take(self) -> None:
        self.taken.append({"time": time.time(), **self._machine(), **self._gpu_figures()})
        if len(self.taken) >= MOST_SAMPLES:
            self.taken = self.taken[::2]
            self.every_seconds *= 2

    def _machine(self) -> dict[str, float]:
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.fspath(self._folder))
        figures = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": memory.used / memory.total * 100,
            "process_memory_usage_megabytes": family_memory() / 1e6,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / 1e6,
            "disk_available_megabytes": disk.free / 1e6,
        }
        return {name: round(value, 1) for name, value in figures.items()}

    def _gpu_figures(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        if not self._gpus:
            return figures
        import pynvml

        for number, handle in enumerate(self._gpus):
            with suppress(pynvml.NVMLError):  # a figure that this GPU does not provide is left out
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                figures[f"gpu_{number}_memory_usage_megabytes"] = round(int(memory.used) / 1e6, 1)
                figures[f"gpu_{number}_memory_usage_percentage"] = round(int(memory.used) / int(memory.total) * 100, 1)
            with suppress(pynvml.NVMLError):
                figures[f"gpu_{number}_utilization_percentage"] = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            with suppress(pynvml.NVMLError):
                figures[f"gpu_{number}_power_usage_watts"] = round(pynvml.nvmlDeviceGetPowerUsage(handle) / 1000, 1)
        return figures


def family_memory() -> int:
    """Resident memory of this process and its children, bytes."""
    process = psutil.Process()
    return sum(_resident(member) for member in (process, *process.children(recursive=True)))


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def usable_gpus() -> int:
    """GPUs of this machine that torch can use; without NVIDIA's none, which is known before torch is loaded."""
    if not _gpu_handles():
        return 0
    import torch

    return torch.cuda.device_count()


def _gpu_handles() -> list[object]:
    """NVIDIA's GPUs of this machine; none without NVIDIA's library or driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
