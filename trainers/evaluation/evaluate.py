"""Evaluates a trained detector on the validation and the test split."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from trainers.data.slice_set import BOX_COLUMNS, SliceSet, Split
from trainers.detector.dataset import detector_rows
from trainers.detector.prediction import Detector, load_detector, predict
from trainers.detector.selection import trained_slice_size
from trainers.distributed import OnProgress
from trainers.evaluation.coco import detections_json, truth_json
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.metrics_file import METRICS_FILE, Metrics
from trainers.evaluation.outcome import (
    LESION_COLUMNS,
    SLICE_COLUMNS,
    Outcome,
    Truth,
    match_outcomes,
    name_of,
    outcome_tables,
)
from trainers.evaluation.outcome_files import TABLES
from trainers.evaluation.summary import summarise
from trainers.exceptions import TrainingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS: tuple[Split, ...] = ("validation", "test")
SHOWN = 12
"""Slices in the figure of detections."""


def evaluate(
    detector_dir: Path,
    slices: SliceSet,
    config: EvaluationConfig,
    out: Path,
    on_progress: OnProgress,
    device: torch.device,
) -> None:
    """Measure a trained detector (paper section 3.2, Table 1, and beyond it) into the folder `out`.

    Writes `metrics.json` (split -> `iou50`... -> the figures of `summary.summarise`); `slices.parquet`,
    `lesions.parquet` and `detections.parquet` (`outcome_files.read_outcomes` reads them); `coco/SPLIT.truth.json` and
    `coco/SPLIT.detections.json` for other tools; and figures of the test split in `figures/`.

    Args:
        detector_dir: what `train_detector` wrote.
        on_progress: called with slices done, slices in all, and once known the validation split's sensitivity.

    Raises:
        TrainingError: `detector_dir` is no detector or was trained on slices of another size, or a split has no lesion.
    """
    check_size(detector_dir, slices)
    detector = load_detector(detector_dir, device)
    rows = {split: detector_rows(slices, split) for split in SPLITS}
    truths = {split: truth_of(slices, split, rows[split]) for split in SPLITS}
    (out / "figures").mkdir(parents=True, exist_ok=True)
    (out / "coco").mkdir(exist_ok=True)

    total = sum(map(len, rows.values()))
    headline: dict[str, float] = {}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    metrics: Metrics = {}
    for number, split in enumerate(SPLITS):
        before = sum(len(rows[earlier]) for earlier in SPLITS[:number])
        detections = _detect(
            detector,
            slices.images,
            rows[split],
            config,
            lambda n, before=before: on_progress(before + n, total, headline),
        )
        outcomes = match_outcomes(detections, truths[split], config.ious)
        metrics[split] = summarise(outcomes, config)
        first = name_of(config.ious[0])
        headline[f"validation/sensitivity_{first}"] = metrics["validation"][first]["sensitivity"]
        for name, table in outcome_tables(outcomes).items():
            tables[name].append(table.assign(split=split))
        (out / "coco" / f"{split}.truth.json").write_text(json.dumps(truth_json(truths[split], slices.size)))
        (out / "coco" / f"{split}.detections.json").write_text(json.dumps(detections_json(detections)))

    for name, parts in tables.items():
        pd.concat(parts, ignore_index=True).to_parquet(out / f"{name}.parquet", index=False)
    (out / METRICS_FILE).write_text(json.dumps(metrics, indent=2))
    for name, figure in _figures(outcomes, config, slices, rows["test"]).items():
        figure.savefig(out / "figures" / f"{name}.png", dpi=120)
    on_progress(total, total, headline)


def truth_of(slices: SliceSet, split: Split, rows: np.ndarray) -> Truth:
    """Some slices of a slice set with their boxes; TrainingError if they have none."""
    table = slices.slices.iloc[rows].reset_index(drop=True)
    position = pd.Series(np.arange(len(table)), index=table["slice_id"])
    boxes = slices.boxes[slices.boxes["slice_id"].isin(table["slice_id"])]
    if boxes.empty:
        raise TrainingError(
            f"{slices.path}: no lesion in the {split} split ({len(rows)} slices of tumour patients), so sensitivity is "
            "not defined; needed: at least one. Add patients to the cohort or change its split."
        )
    lesions = boxes.reindex(columns=[*BOX_COLUMNS, "lesion", "diameter_mm"])
    lesions = lesions.assign(slice=position[boxes["slice_id"]].to_numpy()).sort_values("slice", kind="stable")
    return Truth(
        table[list(SLICE_COLUMNS)].reset_index(drop=True), lesions[list(LESION_COLUMNS)].reset_index(drop=True)
    )


def check_size(detector_dir: Path, slices: SliceSet) -> None:
    """Raise TrainingError for slices of another size than those that a detector was trained on."""
    trained = trained_slice_size(detector_dir)
    if trained not in (None, slices.size):
        raise TrainingError(
            f"{slices.path}: slices are {slices.size} x {slices.size} pixels, but the detector in {detector_dir} was "
            f"trained on {trained} x {trained}; allowed: equal. Evaluate it on slices of that size (`metsweep prepare "
            f"--size {trained}`) or train one on these."
        )


def _detect(
    detector: Detector, images: np.ndarray, rows: np.ndarray, config: EvaluationConfig, on_slices: Callable[[int], None]
) -> pd.DataFrame:
    parts = []
    for start in range(0, len(rows), config.batch):
        detections = predict(detector, images[rows[start : start + config.batch]], config.froc_confidence, config.batch)
        parts.append(detections.assign(slice=detections["slice"] + start))
        on_slices(min(start + config.batch, len(rows)))
    return pd.concat(parts, ignore_index=True)


def _figures(
    outcomes: Mapping[float, Outcome], config: EvaluationConfig, slices: SliceSet, rows: np.ndarray
) -> dict[str, Figure]:
    """Figures of the test split."""
    from trainers.evaluation.figures import detections_figure, figures_of_boxes

    loosest = outcomes[min(outcomes)].at(config.confidence)
    shown = detections_figure(slices.images, rows, loosest, _spread(loosest.truth))
    return {"detections": shown, **figures_of_boxes(outcomes, config)}


def _spread(truth: Truth) -> np.ndarray:
    """Positions of slices spread evenly over those with lesions."""
    with_lesions = np.unique(truth.lesions["slice"].to_numpy())
    return with_lesions[np.unique(np.linspace(0, len(with_lesions) - 1, SHOWN).round().astype(int))]
