"""Speed of the detector in images a second: training against plain Ultralytics, two workers against one, prediction.

    python -m tests.benchmarks.bench_detector_training

Ours runs in Ray Train and reads the memory-mapped slice set; the peer is `YOLO("....yaml").train` on the same slices as
PNG files, with the same network, batch, resolution, augmentation, optimiser and threads. Every run is a process of its
own, the runs take turns, and a run's speed is that of its steps after the first WARM: starting, compiling of kernels
and the final validation do not count. `predict`, at a confidence that every box of the untrained network reaches, is
set beside the network alone on the same batches, already enlarged, by CPU time on one thread.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from tests.benchmarks.machine import machine

ROOT = Path(__file__).parents[2]
ROUNDS, STEPS, WARM = 3, 10, 2
BATCH, SIZE, THREADS = 16, 256, 1
PREDICTED = 32
"""Slices of one forward pass in prediction."""
NETWORK = {"width": 0.25, "depth": 0.34, "train_size": 256}
LAPTOP_SLICE = 64
LAPTOP = {"width": 0.125, "depth": 0.125, "validation_size": 96}
"""The network of `laptop` fidelity."""
CONFIDENCE = 1e-5
NEEDED = {
    "one worker / peer": 1.0, "two workers / one worker": 1.6, "predict / network alone": 0.85,
    "predict, laptop / network alone, laptop": 0.85,
}  # fmt: skip


def write_slices(folder: Path) -> None:
    """One slice for every slot of a run, each with one bright disc: as a slice set, and as PNG and label files."""
    from trainers.data.slice_set import write_slice_set

    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    count = STEPS * BATCH
    images = draw.integers(0, 90, (count, SIZE, SIZE), dtype=np.uint8)
    slices, boxes = [], []
    for part in ("images", "labels"):
        (folder / "png" / part).mkdir(parents=True)
    for i in range(count):
        radius = int(draw.integers(4, 20))
        x, y = draw.integers(radius + 1, SIZE - radius - 1, 2)
        images[i][(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = 200
        split = "validation" if i < 2 else "train"
        slices.append((f"{i:05}", f"patient-{split}", split, "scanner", "tumour", "volume", i))
        boxes.append((f"{i:05}", x - radius, y - radius, x + radius, y + radius))
        cv2.imwrite(str(folder / "png" / "images" / f"{i:05}.png"), images[i])
        label = f"0 {x / SIZE} {y / SIZE} {2 * radius / SIZE} {2 * radius / SIZE}\n"
        (folder / "png" / "labels" / f"{i:05}.txt").write_text(label)
    table = pd.DataFrame(slices, columns=["slice_id", "patient_id", "split", "scanner", "kind", "volume", "z"])
    write_slice_set(
        folder / "set", images, table, pd.DataFrame(boxes, columns=["slice_id", "x0", "y0", "x1", "y1"]), {}
    )


def speed(ends: list[float]) -> float:
    """Images a second of the steps after WARM, from the times at which all steps ended."""
    return (len(ends) - WARM) * BATCH / (ends[-1] - ends[WARM - 1])


def run_ours(folder: Path, workers: int) -> None:
    """Train within Ray Train; the speed goes to the file `speed`."""
    from sweep.engine.cluster import ray_cluster
    from trainers.checkpoints import FolderCheckpoints
    from trainers.data.slice_set import open_slice_set
    from trainers.detector.config import DetectorConfig
    from trainers.detector.training import train_detector
    from trainers.distributed import Context, Placement, WorkerResources, train_on_ray

    config = DetectorConfig(batch=BATCH, steps=STEPS, evaluate_every=STEPS, intensity=0.0, warmup_steps=0,
                            validation_size=NETWORK["train_size"], **NETWORK)  # fmt: skip

    def loop(placement: Placement) -> None:
        ends: list[float] = []

        def on_progress(_done: int, _total: int, metrics: Mapping[str, float]) -> None:
            if "detector/loss" in metrics:
                ends.append(time.perf_counter())

        with tempfile.TemporaryDirectory() as scratch:
            context = Context(placement, FolderCheckpoints(Path(scratch) / "checkpoints"), on_progress)
            train_detector(config, open_slice_set(folder / "set"), [], 0, Path(scratch) / "out", context)
        if placement.rank == 0:
            (folder / "speed").write_text(str(speed(ends)))

    resources = WorkerResources(workers=workers, cpus_per_worker=THREADS)
    with ray_cluster(None, [resources]):
        train_on_ray(loop, name=f"bench-{workers}", storage=str(folder / "ray"), resources=resources)


def run_peer(folder: Path) -> None:
    """Train with the library's own command; the speed goes to the file `speed`."""
    os.environ.update(
        YOLO_OFFLINE="1", YOLO_AUTOINSTALL="0", YOLO_CONFIG_DIR=str(folder / "settings"), YOLO_VERBOSE="False"
    )
    import torch
    from ultralytics import YOLO
    from ultralytics.utils import ROOT as LIBRARY
    from ultralytics.utils import SETTINGS, YAML

    dict.update(SETTINGS, dict.fromkeys(("sync", "mlflow", "raytune", "tensorboard", "wandb", "comet"), False))
    topology: dict[str, Any] = YAML.load(str(LIBRARY / "cfg/models/v3/yolov3.yaml"))
    topology.update(width_multiple=NETWORK["width"], depth_multiple=NETWORK["depth"], nc=1)
    YAML.save(str(folder / "yolov3.yaml"), topology)
    images = str(folder / "png" / "images")
    YAML.save(str(folder / "data.yaml"), {"train": images, "val": images, "names": {0: "tumour"}, "channels": 1})

    ends: list[float] = []
    model = YOLO(str(folder / "yolov3.yaml"))
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(THREADS))
    model.add_callback("on_train_batch_end", lambda _: ends.append(time.perf_counter()))
    model.train(
        data=str(folder / "data.yaml"), epochs=1, batch=BATCH, imgsz=NETWORK["train_size"], device="cpu", amp=False,
        optimizer="Adam", lr0=1e-3, warmup_epochs=0.0, nbs=BATCH, mosaic=0.0, hsv_h=0.0, hsv_s=0.0, hsv_v=0.0,
        close_mosaic=0, pretrained=False, plots=False, save=False, val=False, verbose=False, workers=0,
        project=str(folder / "peer"), exist_ok=True,
    )  # fmt: skip
    (folder / "speed").write_text(str(speed(ends)))


def run_prediction(folder: Path, whole: bool, laptop: bool) -> None:
    """Predict on every slice, or run the network alone; the speed goes to the file `speed`."""
    import torch
    from torch.nn import functional as F

    from trainers.data.slice_set import open_slice_set
    from trainers.detector.config import DetectorConfig
    from trainers.detector.model import build_model
    from trainers.detector.prediction import Detector, predict

    config = DetectorConfig.model_validate(LAPTOP if laptop else NETWORK | {"validation_size": NETWORK["train_size"]})
    detector = Detector(build_model(config).eval(), config, torch.device("cpu"))
    images = np.array(open_slice_set(folder / "set").images)
    if laptop:
        images = np.ascontiguousarray(images[:, :LAPTOP_SLICE, :LAPTOP_SLICE])
    pixels = F.interpolate(torch.from_numpy(images)[:, None].float().div(255), config.validation_size, mode="bilinear")
    batches = [one.contiguous(memory_format=torch.channels_last) for one in pixels.split(PREDICTED)]

    def once() -> None:
        if whole:
            predict(detector, images, CONFIDENCE, PREDICTED)
        else:
            for one in batches:
                detector.model(one)

    with torch.no_grad():
        once()
        began = time.process_time()
        once()
    (folder / "speed").write_text(str(len(images) / (time.process_time() - began)))


def measure(folder: Path, name: str) -> float:
    """Speed of one run in a process of its own."""
    (folder / "speed").unlink(missing_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, "-m", __spec__.name, name, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stdout}\n{done.stderr}")
    found = float((folder / "speed").read_text())
    print(f"  {name}: {found:.2f} images/s", file=sys.stderr)
    return found


def compare() -> dict[str, Any]:
    """Run everything ROUNDS times in turns, print the table and return its figures."""
    names = dict.fromkeys(name for pair in NEEDED for name in pair.split(" / "))
    runs: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="metsweep-bench-") as scratch:
        write_slices(Path(scratch))
        for _ in range(ROUNDS):
            for name, found in runs.items():
                found.append(measure(Path(scratch), name))
    print(f"\n{machine()}, load {os.getloadavg()[0]:.1f} at the end; {THREADS} thread a worker")
    print(f"batch {BATCH}, {SIZE}-pixel slices trained at {NETWORK['train_size']}, width {NETWORK['width']}, depth "
          f"{NETWORK['depth']}; {STEPS - WARM} steps a run, {ROUNDS} runs in turns\n")  # fmt: skip
    print("| images/s | min | median | max |\n|---|---|---|---|")
    for name, found in runs.items():
        print(f"| {name} | {min(found):.2f} | {statistics.median(found):.2f} | {max(found):.2f} |")
    ratios = {}
    print("\n| ratio of medians | measured | needed |\n|---|---|---|")
    for name, needed in NEEDED.items():
        upper, lower = (statistics.median(runs[part]) for part in name.split(" / "))
        ratios[name] = upper / lower
        print(f"| {name} | {ratios[name]:.2f} | {needed} |")
    return {"runs": runs, "ratios": ratios}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["one worker", folder]:
            run_ours(Path(folder), 1)
        case ["two workers", folder]:
            run_ours(Path(folder), 2)
        case ["peer", folder]:
            run_peer(Path(folder))
        case ["predict" | "network alone" | "predict, laptop" | "network alone, laptop" as name, folder]:
            run_prediction(Path(folder), whole=name.startswith("predict"), laptop=name.endswith("laptop"))
        case _:
            print(json.dumps(compare()))
