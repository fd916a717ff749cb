"""`metsweep score`: the figures of a study for any detector's boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import AsJson

if TYPE_CHECKING:
    import pandas as pd

    from trainers.evaluation.comparison import Comparison
    from trainers.evaluation.config import EvaluationConfig
    from trainers.evaluation.metrics_file import GainFigures, Summary
    from trainers.evaluation.outcome import Outcome


def score(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH.json", help="COCO file with images and annotations.")],
    detections: Annotated[Path, typer.Argument(metavar="DETECTIONS.json", help="COCO list of boxes with scores.")],
    iou: Annotated[
        list[float] | None, typer.Option(help="IoU threshold; may be repeated; default: 0.5 and 0.25.")
    ] = None,
    confidence: Annotated[float, typer.Option(help="Count detections with at least this score.")] = 0.001,
    patients: Annotated[
        Path | None, typer.Option(help="CSV: image, patient_id, and if known volume, z, scanner, mm_per_pixel.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another detector's DETECTIONS.json, to compare with on the same patients.")
    ] = None,
    as_json: AsJson = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for metrics.json and pictures; must be empty or new.")
    ] = None,
) -> None:
    """Score any detector's boxes as a study scores its own.

    Sensitivity and false positives (FPs) per slice with intervals over patients, sensitivity at 1, 2, 4 and 8 FPs per
    slice, by lesion diameter and scanner, for 3D lesions (found if hit on any slice), by chance (with the true boxes
    shuffled between slices), and calibration; with --against the gain over another detector, also at equal FPs per
    slice. Matching is greedy by score, one detection per lesion; every other detection is a false positive. Figures
    that need data the files lack (patients, volumes, millimetres) are left out; without patients each volume, or else
    each image, counts as a patient.

    \b
    Example:
      metsweep score truth.json detections.json --iou 0.5 --iou 0.25 --patients patients.csv
    """
    from pydantic import ValidationError

    from search_spaces.problems import explain
    from trainers.evaluation.coco import read_detections, read_truth
    from trainers.evaluation.config import EvaluationConfig
    from trainers.evaluation.outcome import match_outcomes, name_of
    from trainers.evaluation.summary import summarise
    from trainers.exceptions import ConfigError

    try:
        # The file holds all detections: the curve goes down to the least confident.
        config = EvaluationConfig(ious=tuple(iou or (0.5, 0.25)), confidence=confidence, froc_confidence=0)
    except ValidationError as error:
        raise ConfigError(explain("The command line", error)) from None
    read, reference = read_truth(truth, patients)
    boxes = read_detections(detections, reference)
    outcomes = match_outcomes(boxes, read, config.ious)
    metrics = summarise(outcomes, config)
    notes = [_left_out("detections", boxes, confidence)]
    if against is not None:
        other = read_detections(against, reference)
        others = match_outcomes(other, read, config.ious)
        notes.append(_left_out(f"detections of {against}", other, confidence))
        for threshold, outcome in outcomes.items():
            _add_gains(metrics[name_of(threshold)], outcome, others[threshold], config)
    if out is not None:
        _write(out, metrics, outcomes, config)
    if as_json:
        talk.say_json(metrics)
        return
    from sweep.cli.console import output
    from sweep.cli.metric_tables import show_metrics

    show_metrics(metrics, output())
    for note in filter(None, notes):
        talk.say(note)
    if out is not None:
        talk.note(f"Written: {out}")


def _add_gains(summary: Summary, outcome: Outcome, other: Outcome, config: EvaluationConfig) -> None:
    """Gain in sensitivity over another detector, as counted and at equal false positives per slice."""
    from trainers.evaluation.arms import Arm

    own, base = (Arm({0: detector}, config) for detector in (outcome, other))
    if (gain := own.gain(base)) is not None:
        summary["gain"] = _gain_figures(gain)
    if (gain := own.gain_at_equal_fps(base)) is not None:
        summary["gain_at_equal_fps"] = _gain_figures(gain)


def _gain_figures(gain: Comparison) -> GainFigures:
    return {
        "difference": gain.difference,
        "interval": None if any(map(math.isnan, gain.interval)) else list(gain.interval),
        "p": None if math.isnan(gain.p) else gain.p,
        "patients": gain.patients,
    }


def _left_out(what: str, boxes: pd.DataFrame, confidence: float) -> str | None:
    """A sentence on the detections that are not counted; None if all are counted."""
    below = int((boxes["confidence"] < confidence).sum())
    if not below:
        return None
    return f"{below:,} of {len(boxes):,} {what} score below --confidence {confidence:g} and are not counted."


def _write(
    out: Path, metrics: Mapping[str, object], outcomes: Mapping[float, Outcome], config: EvaluationConfig
) -> None:
    from sweep.cli.result import result_folder
    from trainers.evaluation.figures import figures_of_boxes

    with result_folder(out) as unfinished:
        (unfinished.result / "metrics.json").write_text(talk.json_text(metrics))
        for name, figure in figures_of_boxes(outcomes, config).items():
            figure.savefig(unfinished.result / f"{name}.png", dpi=120)
