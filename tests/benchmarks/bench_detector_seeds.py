"""How much a detector depends on its seed at `laptop` fidelity, and whether it collapses.

    python -m tests.benchmarks.bench_detector_seeds SLICES SEED... [--set detector.KEY=VALUE]...

Trains one detector a seed on the real slices of the slice set in the folder SLICES, one thread each, and prints its
sensitivity on validation and test (IoU 0.5) and the class loss by sevenths of the run: a run that learns nothing for a
while shows it there. About a minute of CPU a seed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from search_spaces.study import section_config
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import SliceSet, Split, open_slice_set
from trainers.detector.config import DetectorConfig
from trainers.detector.dataset import detector_rows
from trainers.detector.prediction import Detector, load_detector, predict
from trainers.detector.training import train_detector
from trainers.distributed import Context, Placement
from trainers.evaluation.chance import chance
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import truth_of
from trainers.evaluation.outcome import Outcome, match_outcomes

IOU = 0.5


def outcome(detector: Detector, slices: SliceSet, split: Split) -> Outcome:
    """The detector's outcome on a split at the fidelity's confidence."""
    confidence = section_config("evaluation", EvaluationConfig, fidelity="laptop").confidence
    rows = detector_rows(slices, split)
    return match_outcomes(predict(detector, slices.images[rows], confidence), truth_of(slices, split, rows), [IOU])[IOU]


def sensitivity_of_test(slices: SliceSet, seed: int, overrides: list[str]) -> float:
    """Train the detector of a seed, print its line, and return its sensitivity on the test split."""
    config = section_config(
        "detector", DetectorConfig, fidelity="laptop", overrides=[*overrides, f"detector.seed={seed}"]
    )
    started = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        placement, out = Placement(0, 1, torch.device("cpu")), Path(scratch) / "out"
        context = Context(placement, FolderCheckpoints(Path(scratch) / "checkpoints"), lambda *_: None)
        train_detector(config, slices, [], 0, out, context)
        seconds, detector = time.process_time() - started, load_detector(out)
        history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    losses = np.array_split([line["detector/cls_loss"] for line in history if "detector/cls_loss" in line], 7)
    validation, test = outcome(detector, slices, "validation"), outcome(detector, slices, "test")
    by_chance = chance(validation)
    collapsed = not len(validation.detections) or (by_chance and validation.found.mean() <= by_chance["interval"][1])
    print(
        f"seed {seed}: validation {validation.found.mean():.3f}, test {test.found.mean():.3f} with "
        f"{test.fps_per_slice:.2f} FPs a slice, class loss {' '.join(f'{part.mean():.2f}' for part in losses)}, "
        f"{seconds:.0f} s of CPU{', COLLAPSED' if collapsed else ''}",
        flush=True,
    )
    return float(test.found.mean())


def main() -> None:
    """Print a line a seed, then mean and SD of test sensitivity."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    slices = open_slice_set(arguments.slices)
    found = [sensitivity_of_test(slices, seed, arguments.overrides) for seed in arguments.seeds]
    spread = f", SD {statistics.stdev(found):.3f}" if len(found) > 1 else ""
    print(f"test sensitivity, IoU {IOU}: {statistics.mean(found):.3f}{spread} over {len(found)} seeds")


if __name__ == "__main__":
    main()
