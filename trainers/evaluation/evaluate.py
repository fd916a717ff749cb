"""Evaluates a trained detector on the validation and the test split."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from trainers.data.slice_set import SliceSet, Split
from trainers.detector.dataset import Slices, open_slices
from trainers.detector.prediction import load_detector, predict
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.froc import froc_points
from trainers.evaluation.matching import FREE_OF_LESION, match
from trainers.evaluation.metrics import Figures, count_by_patient, figures

OnProgress = Callable[[int, int, Mapping[str, float]], None]
SPLITS: tuple[Split, ...] = ("validation", "test")
SHOWN = 12
"""Slices in the figure of detections."""


def name_of(iou: float) -> str:
    """Key of an IoU threshold in figures: 0.5 is `iou50`."""
    return f"iou{round(100 * iou)}"


def evaluate(
    detector_dir: Path,
    slices: SliceSet,
    config: EvaluationConfig,
    out: Path,
    on_progress: OnProgress,
    device: torch.device | str = "cpu",
) -> None:
    """Count hits and false positives of a trained detector (paper section 3.2, Table 1) into the folder `out`.

    Writes `metrics.json` (split -> `iou50`... -> Figures), `detections.parquet` (split, slice_id, patient_id, x0, y0,
    x1, y1 in slice pixels, confidence), `patients.parquet` (split, iou, patient_id and counts), `figures/froc.png` and
    `figures/detections.png`.

    Args:
        detector_dir: what `train_detector` wrote.
        on_progress: called with splits done, splits in all, and the newest sensitivity.

    Raises:
        TrainingError: `detector_dir` is no detector, or a split has no lesion.
    """
    from trainers.evaluation.figures import froc_figure

    detector = load_detector(detector_dir, device)
    opened = {split: open_slices(slices, split) for split in SPLITS}
    (out / "figures").mkdir(parents=True, exist_ok=True)

    metrics: dict[str, dict[str, Figures]] = {}
    tables, counted, curves = [], [], {}
    for done, (split, part) in enumerate(opened.items(), start=1):
        rows = slices.slices.iloc[part.rows].reset_index(drop=True)
        found = predict(detector, part.real[part.rows], config.confidence, config.batch)
        tables.append(_named(found, rows, split))
        metrics[split] = {}
        for iou in config.ious:
            counts = count_by_patient(found, part.boxes, rows["patient_id"].tolist(), iou)
            counted.append(counts.assign(split=split, iou=iou))
            metrics[split][name_of(iou)] = found_figures = figures(counts)
            hit = match(found, part.boxes, iou) != FREE_OF_LESION
            curves[f"{split}, IoU {iou}"] = froc_points(
                found["confidence"].to_numpy(), hit, found_figures["lesions"], found_figures["slices"]
            )
        _draw(part, rows, found, min(config.ious), out / "figures" / "detections.png")
        first = name_of(config.ious[0])
        on_progress(done, len(opened), {f"{split}/sensitivity_{first}": metrics[split][first]["sensitivity"]})

    pd.concat(tables, ignore_index=True).to_parquet(out / "detections.parquet", index=False)
    pd.concat(counted, ignore_index=True).to_parquet(out / "patients.parquet", index=False)
    froc_figure(curves).savefig(out / "figures" / "froc.png", dpi=120)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2))


def _named(found: pd.DataFrame, rows: pd.DataFrame, split: str) -> pd.DataFrame:
    where = rows.iloc[found["slice"].to_numpy()]
    names = {"split": split, "slice_id": where["slice_id"].to_numpy(), "patient_id": where["patient_id"].to_numpy()}
    return pd.DataFrame({**names, **{name: found[name].to_numpy() for name in found.columns if name != "slice"}})


def _draw(part: Slices, rows: pd.DataFrame, found: pd.DataFrame, iou: float, path: Path) -> None:
    """Draw detections on slices spread evenly over those with lesions; the last split evaluated stays."""
    from trainers.evaluation.figures import detections_figure

    with_lesions = np.array([i for i, lesions in enumerate(part.boxes) if len(lesions)])
    shown = with_lesions[np.unique(np.linspace(0, len(with_lesions) - 1, SHOWN).round().astype(int))]
    hit = match(found, part.boxes, iou) != FREE_OF_LESION
    detections = []
    for i in shown:
        here = (found["slice"] == i).to_numpy()
        boxes = found.loc[here, ["x0", "y0", "x1", "y1"]].to_numpy()
        detections.append((boxes, found.loc[here, "confidence"].to_numpy(), hit[here]))
    figure = detections_figure(
        part.real[part.rows[shown]],
        [part.boxes[i] for i in shown],
        detections,
        [f"{rows['slice_id'][i]}" for i in shown],
    )
    figure.savefig(path, dpi=130)
