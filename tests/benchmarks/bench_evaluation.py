"""How fast detections are matched and resampled, beside the field's tools in the same run.

    python -m tests.benchmarks.bench_evaluation

1,000 slices of 300 detections each are matched at IoU 0.5 and 0.25 by us, pycocotools and faster-coco-eval; all must
count the same. Then 10,000 resamples of the patients are drawn for every figure of the paper's Table 1 (ten arms, three
seeds, two IoUs, 36 patients) by matrix product and by a loop over resamples and patients.
"""

from __future__ import annotations

import contextlib
import io
import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from faster_coco_eval import COCO as FASTER_COCO
from faster_coco_eval import COCOeval_faster
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.benchmarks.machine import machine
from trainers.evaluation.bootstrap import bootstrap_weights, interval, ratios
from trainers.evaluation.coco import detections_json, truth_json
from trainers.evaluation.metrics import counts_by
from trainers.evaluation.outcome import LESION_COLUMNS, SLICE_COLUMNS, Truth, match_outcomes
from trainers.matching import DETECTION_COLUMNS

SLICES, DETECTIONS, SIZE = 1000, 300, 256
IOUS = (0.25, 0.5)
ROUNDS = 5
PATIENTS, FIGURES, DRAWS = 36, 60, 10_000


def main() -> None:
    """Print both tables."""
    print(f"{machine()}, Python {platform.python_version()}, numpy {np.__version__}\n")
    truth, detections = draw_case(np.random.default_rng(0))
    contestants: dict[str, Callable[[], list[int]]] = {
        "ours": lambda: ours(truth, detections),
        "faster-coco-eval": coco_run(FASTER_COCO, COCOeval_faster, truth, detections),
        "pycocotools": coco_run(COCO, COCOeval, truth, detections),
    }
    seconds, counts = timed(contestants)
    assert len({tuple(found) for found in counts.values()}) == 1, f"counts differ: {counts}"
    print(
        f"{SLICES:,} slices x {DETECTIONS} detections, {len(truth.lesions):,} lesions, both IoUs: {counts['ours']} hits"
    )
    show(seconds, "ours")
    seconds, _ = timed(resamplings(np.random.default_rng(0)))
    print(f"\n{DRAWS:,} resamples of {PATIENTS} patients, {2 * FIGURES} figures")
    show(seconds, "ours")


def draw_case(draw: np.random.Generator) -> tuple[Truth, pd.DataFrame]:
    """3.2 lesions a slice as in the paper's test split; a fifth of the detections lie about lesions."""
    lesions, rows = [], []
    for where in range(SLICES):
        boxes = _boxes(draw, draw.poisson(3.2), (20, 236))
        lesions += [(where, *box, None, np.nan) for box in boxes]
        near = boxes[draw.integers(0, len(boxes), DETECTIONS // 5)] if len(boxes) else boxes
        near = near + draw.normal(0, 2, near.shape)
        found = np.concatenate([near, _boxes(draw, DETECTIONS - len(near), (10, 246))])
        found = np.hstack([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])])
        rows += [(where, *box, score) for box, score in zip(found, draw.random(DETECTIONS).round(3), strict=True)]
    slices = pd.DataFrame(
        [(f"s{i}", f"p{i % PATIENTS}", "scanner", None, None) for i in range(SLICES)], columns=list(SLICE_COLUMNS)
    )
    table = pd.DataFrame(rows, columns=list(DETECTION_COLUMNS)).astype({"slice": np.int64})
    return Truth(slices, pd.DataFrame(lesions, columns=list(LESION_COLUMNS))), table


def ours(truth: Truth, detections: pd.DataFrame) -> list[int]:
    """Hits at IOUS, with counts by patient as every evaluation has them."""
    outcomes = match_outcomes(detections, truth, IOUS)
    return [int(counts_by(outcome)["true_positives"].sum()) for outcome in outcomes.values()]


def coco_run(coco: Any, evaluator: Any, truth: Truth, detections: pd.DataFrame) -> Callable[[], list[int]]:
    """The same by a COCO tool, its input loaded beforehand: only its evaluation is timed."""
    with contextlib.redirect_stdout(io.StringIO()):
        loaded = coco()
        loaded.dataset = truth_json(truth, SIZE)
        loaded.createIndex()
        results = loaded.loadRes(detections_json(detections))

    def run() -> list[int]:
        with contextlib.redirect_stdout(io.StringIO()):
            one = evaluator(loaded, results, "bbox")
            one.params.iouThrs, one.params.maxDets = np.array(IOUS), [100_000]
            one.params.areaRng, one.params.areaRngLbl = [[0, 1e10]], ["all"]
            one.evaluate()
            one.accumulate()
        recall = np.asarray(one.eval["recall"]).reshape(len(IOUS))
        return np.rint(recall * len(truth.lesions)).astype(int).tolist()

    return run


def resamplings(draw: np.random.Generator) -> dict[str, Callable[[], object]]:
    """Intervals of all figures from counts of every patient and detector."""
    lesions, slices = draw.integers(10, 200, PATIENTS), draw.integers(10, 50, PATIENTS)
    hits, false = draw.binomial(lesions, 0.7, (FIGURES, PATIENTS)).T, draw.poisson(120, (PATIENTS, FIGURES))

    def product() -> object:
        weights = bootstrap_weights(PATIENTS, DRAWS, 0)
        values = ratios(weights, hits, lesions), ratios(weights, false, slices)
        return [interval(column) for table in values for column in table.T]

    def loop() -> object:
        generator = np.random.default_rng(0)
        values = np.empty((DRAWS, 2, FIGURES))
        for row in values:
            sums = np.zeros((2, FIGURES))
            below = np.zeros(2)
            for patient in generator.integers(0, PATIENTS, PATIENTS):
                sums[0] += hits[patient]
                sums[1] += false[patient]
                below += lesions[patient], slices[patient]
            row[:] = sums / below[:, None]
        return [np.percentile(values[:, i, j], [2.5, 97.5]) for i in range(2) for j in range(FIGURES)]

    return {"ours": product, "loop over patients": loop}


def timed(contestants: dict[str, Callable[[], Any]]) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Seconds of ROUNDS runs of each, taking turns, and what they gave."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    results: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            started = time.perf_counter()
            results[name] = run()
            seconds[name].append(time.perf_counter() - started)
    return seconds, results


def show(seconds: dict[str, list[float]], first: str) -> None:
    """Minimum, median and maximum of each, and how many times longer than `first` its median is."""
    print("| | min s | median s | max s | ratio |\n|---|---|---|---|---|")
    for name, runs in seconds.items():
        ratio = median(runs) / median(seconds[first])
        print(f"| {name} | {min(runs):.3f} | {median(runs):.3f} | {max(runs):.3f} | {ratio:.1f} |")


def _boxes(draw: np.random.Generator, count: int, within: tuple[int, int]) -> np.ndarray:
    centre, side = draw.uniform(*within, (count, 2)), draw.lognormal(2.3, 0.5, (count, 2))
    return np.hstack([centre - side / 2, centre + side / 2])


if __name__ == "__main__":
    main()
