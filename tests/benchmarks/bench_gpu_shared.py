"""Small detectors that share a GPU, one after the other and beside each other: `make bench-gpu-shared`.

    python -m tests.benchmarks.bench_gpu_shared [--device cpu] [--runs 6] [--steps 200]

They have the settings of `laptop` fidelity, and each is a process of its own, as with `gpus_per_worker: 0.25`: its
start counts. Beside each other all are to be done in less than half the time of one after the other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml

from tests.benchmarks.gpu_work import discs
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import open_slice_set
from trainers.detector.config import DetectorConfig
from trainers.detector.training import train_detector
from trainers.distributed import Context, Placement

ROOT = Path(__file__).parents[2]
MOST_SECONDS, LEAST_GAIN = 240.0, 2.0
SLICES, SIDE, THREADS = 256, 64, 2
ASKED = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]


def train(slices: Path, out: Path, device: str, steps: int) -> None:
    """One detector."""
    torch.set_num_threads(1 if device == "cpu" else THREADS)
    settings = yaml.safe_load((ROOT / "search_spaces/fidelities/laptop.yaml").read_text())["detector"]
    config = DetectorConfig.model_validate(settings | {"steps": steps, "evaluate_every": max(1, steps // 2)})
    context = Context(Placement(0, 1, torch.device(device)), FolderCheckpoints(out / "kept"), lambda *_: None)
    train_detector(config, open_slice_set(slices), [], 0, out, context)


class Card:
    """Asks the GPU every half second how busy it is, until it is left."""

    def __enter__(self) -> Card:
        self.busy: list[float] = []
        self.mib: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            try:
                answer = subprocess.run(ASKED, capture_output=True, text=True, check=True, timeout=10).stdout
            except (OSError, subprocess.SubprocessError):
                return  # no GPU, or one that does not tell
            busy, mib = answer.splitlines()[0].split(",")
            self.busy.append(float(busy))
            self.mib.append(float(mib))


def seconds_of(slices: Path, scratch: Path, device: str, runs: int, steps: int, *, together: bool) -> float:
    """Wall seconds until all detectors are trained."""
    started = time.perf_counter()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for run in range(runs):
            out = scratch / f"{together}-{run}"
            out.mkdir()
            command = [sys.executable, "-m", __spec__.name, "--train", slices, out, "--device", device]
            processes.append(subprocess.Popen([*map(str, command), "--steps", str(steps)]))
            if not together:
                _finish(processes[-1], started)
        for process in processes:
            _finish(process, started)
    finally:
        for process in processes:
            process.kill()
    return time.perf_counter() - started


def _finish(process: subprocess.Popen[bytes], started: float) -> None:
    left = MOST_SECONDS - (time.perf_counter() - started)
    if process.wait(max(1.0, left)):
        raise subprocess.CalledProcessError(process.returncode, process.args)


def rows(device: str, runs: int, steps: int) -> Iterator[str]:
    """The table, line by line."""
    yield f"| {runs} detectors of laptop fidelity, {steps} steps each | s | GPU busy, % | most memory, MiB |"
    yield "|---|---|---|---|"
    found = []
    with tempfile.TemporaryDirectory(prefix="metsweep-bench-") as scratch:
        slices = discs(Path(scratch) / "slices", SIDE, SLICES).path
        for together in (True, False):  # the shorter one first
            with Card() as card:
                found.append(seconds_of(slices, Path(scratch), device, runs, steps, together=together))
            busy = f"{sum(card.busy) / len(card.busy):.0f}" if card.busy else "not told"
            name = "beside each other" if together else "one after the other"
            yield f"| {name} | {found[-1]:.1f} | {busy} | {max(card.mib, default=0):.0f} |"
    gain = found[1] / found[0]
    yield f"\ngain {gain:.2f}, target more than {LEAST_GAIN:g}: {'met' if gain > LEAST_GAIN else 'missed'}"


def main() -> None:
    """Print the table, or train one of the detectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--train", nargs=2, type=Path, metavar=("SLICES", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.device != "cpu" and not torch.cuda.is_available():
        sys.exit(f"No GPU: torch {torch.__version__} sees no CUDA device, so nothing was measured.")
    if given.train:
        slices, out = given.train
        train(slices, out, given.device, given.steps)
        return
    for line in rows(given.device, given.runs, given.steps):
        print(line, flush=True)


if __name__ == "__main__":
    main()
