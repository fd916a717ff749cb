"""Two registered detectors on the same patients."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweep.registry.champion import champion_folder
from sweep.registry.versions import Version
from sweep.report.section import Line, Section, interval_values, measured_texts, signed
from sweep.settings import cache_folder
from sweep.stages import PrepareStage
from sweep.store import Store
from sweep.text import count_text
from sweep.tracking.tags import COHORT, EVALUATION, PREPARE, TRIAL, read_tag
from trainers.data.cohort import Cohort, open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_set import SliceSet, Split, open_slice_set
from trainers.data.strip_program import command_program
from trainers.data.volume_tasks import check_cohort, content_of
from trainers.detector.dataset import detector_rows
from trainers.detector.prediction import load_detector, predict
from trainers.distributed import OnProgress, Placement
from trainers.evaluation.arms import Arm
from trainers.evaluation.comparison import Comparison
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import truth_of
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.metrics import counts_by
from trainers.evaluation.outcome import Outcome, match_outcomes, name_of
from trainers.evaluation.summary import summarise
from trainers.exceptions import ConfigError, TrackingError

SPLITS: dict[str, tuple[Split, ...]] = {
    "test": ("test",),
    "validation": ("validation",),
    "all": ("train", "validation", "test"),
}
IOUS = (0.5, 0.25)


@dataclass(frozen=True)
class Side:
    """One of the two detectors with its outcomes."""

    version: Version
    config: EvaluationConfig
    """Of its study, at IOUS; each detector has its own confidence threshold."""
    outcomes: dict[float, Outcome]

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"version {self.version.number} ({', '.join((*self.version.aliases, self.version.tags[TRIAL]))})"

    def arm(self, iou: float) -> Arm:
        """Its outcome at one threshold."""
        return Arm({0: self.outcomes[iou]}, self.config)


@dataclass(frozen=True)
class Compared:
    """Both detectors on one cohort."""

    first: Side
    second: Side
    cohort: str
    notes: tuple[str, ...]

    def sections(self) -> Iterator[Section]:
        """One table per IoU threshold."""
        for iou in IOUS:
            lines = [Line([side.label, *measured_texts(side.arm(iou))]) for side in (self.first, self.second)]
            for name, gain in self.gains(iou).items():
                p = "interval unknown" if math.isnan(gain.p) else f"p {gain.p:.3f}"
                lines.append(Line([name, signed(gain), p]))
            title = f"{self.cohort}, IoU {iou:g}"
            yield Section(name_of(iou), title, ("detector", *(measure.title for measure in TABLE1)), lines)

    def gains(self, iou: float) -> dict[str, Comparison]:
        """Paired gains of the second over the first, over patients."""
        own, base = self.second.arm(iou), self.first.arm(iou)
        pairs = {"gain": own.gain(base), "gain at equal FPs": own.gain_at_equal_fps(base)}
        return {name: gain for name, gain in pairs.items() if gain is not None}

    def figures(self) -> dict[str, Any]:
        """Everything, for JSON."""
        sides = {
            name: {
                "version": side.version.number,
                "trial": side.version.tags[TRIAL],
                "confidence": side.config.confidence,
                "figures": summarise(side.outcomes, side.config),
            }
            for name, side in (("first", self.first), ("second", self.second))
        }
        gains = {name_of(iou): {name: asdict(gain) for name, gain in self.gains(iou).items()} for iou in IOUS}
        return {"cohort": self.cohort, "notes": self.notes, **sides, "gains_of_second": gains}

    def csv(self) -> str:
        """One line per IoU threshold and detector; the gain is in the second detector's."""
        rows = []
        for iou in IOUS:
            for side in (self.first, self.second):
                measured = {measure.name: measure.estimate(side.arm(iou)).mean for measure in TABLE1}
                rows.append({"iou": iou, "version": side.version.number, "trial": side.version.tags[TRIAL], **measured})
            gain = self.gains(iou)["gain"]
            rows[-1] |= {**interval_values("gain", gain.difference, gain.interval), "p": gain.p}
        return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def compare_versions(
    first: Version, second: Version, folder: Path, split: str, store: Store, on_progress: OnProgress, tracking_uri: str
) -> Compared:
    """Run two versions of the detector on the same patients.

    Args:
        folder: a cohort.
        split: a key of SPLITS.
        store: read for slices, if a study has prepared this cohort in the same way.

    Raises:
        ConfigError: an unknown split; one version twice; or all patients of the cohort that a version was trained on.
        CohortError, TrainingError: the cohort cannot be prepared, or has no lesion there.
        TrackingError: a version does not record how its slices are made, or the two see different patients or lesions.
    """
    if split not in SPLITS:
        raise ConfigError(f"--split is {split!r}; allowed: {', '.join(SPLITS)}.")
    if first.number == second.number:
        raise ConfigError(
            f"Both are version {first.number} of {first.name} ({', '.join(first.aliases) or 'no alias'}): a detector "
            "gains nothing over itself. Give two different versions; `metsweep registry` lists them."
        )
    cohort = open_cohort(folder)
    with tempfile.TemporaryDirectory(prefix="metsweep-") as scratch:
        prepared: dict[str, SliceSet] = {}
        sides = []
        for version in (first, second):
            config, divided = _divided(version, cohort, split)
            key = config.model_dump_json()
            if key not in prepared:
                prepared[key] = _prepared(divided, config, store, Path(scratch) / f"slices{len(prepared)}", on_progress)
            sides.append(_side(version, prepared[key], SPLITS[split], tracking_uri))
    truths = [counts_by(side.outcomes[IOUS[0]])[["lesions"]] for side in sides]
    if not truths[0].equals(truths[1]):
        raise TrackingError(
            f"Versions {first.number} and {second.number} of {first.name} see different patients or lesions in "
            f"{folder}: their slices are prepared differently (tag {PREPARE}), so they cannot be paired. Write the "
            'split of every patient into cohort.json, and train both with the same "prepare".'
        )
    lesions = truths[0]["lesions"]
    with_lesions = count_text(int((lesions > 0).sum()), "patient")
    notes = [
        f"{count_text(len(lesions), 'patient')}, {count_text(int(lesions.sum()), 'lesion')}. Gains: version "
        f"{second.number} over version {first.number}. In brackets: 95 % intervals over {with_lesions} with lesions "
        "(jackknife), for these two trained detectors alone."
    ]
    if split == "validation":
        notes.append("Both were chosen on the validation split of a study: expect lower figures elsewhere.")
    return Compared(sides[0], sides[1], f"{cohort.name}, {split}", tuple(notes))


def _divided(version: Version, cohort: Cohort, split: str) -> tuple[PrepareConfig, Cohort]:
    """How a version's slices are prepared, and the cohort with the splits that this gives."""
    if PREPARE not in version.tags or EVALUATION not in version.tags:
        raise TrackingError(
            f"{version.name} version {version.number} does not record how its slices are made (tag {PREPARE}); "
            "`metsweep promote` of its study adds the tag."
        )
    config = read_tag(version.tags, PREPARE, PrepareConfig)
    divided = check_cohort(cohort, config)
    if split == "all" and content_of(divided, config) == version.tags[COHORT]:
        raise ConfigError(
            f"--split all: version {version.number} was trained on patients of {cohort.folder}. Allowed there: test, "
            "validation."
        )
    return config, divided


def _prepared(cohort: Cohort, config: PrepareConfig, store: Store, folder: Path, on_progress: OnProgress) -> SliceSet:
    """A cohort's slices, from the store if it has them, else made in `folder`."""
    fingerprint, program = content_of(cohort, config), command_program(config.strip)
    stage = PrepareStage(config, cohort=cohort.folder.absolute(), fingerprint=fingerprint, strip_program=program)
    artifact = store.find(stage.name, stage.key)
    if artifact is None:
        prepare(cohort, config, folder, on_progress, cache=CohortCache(cache_folder()))
    return open_slice_set(folder if artifact is None else artifact.path)


def _side(version: Version, slices: SliceSet, splits: Sequence[Split], tracking_uri: str) -> Side:
    config = read_tag(version.tags, EVALUATION, EvaluationConfig).model_copy(update={"ious": IOUS})
    detector = load_detector(champion_folder(version.uri, tracking_uri), Placement.alone().device)
    rows = np.sort(np.concatenate([detector_rows(slices, split) for split in splits]))
    truth = truth_of(slices, splits[-1], rows)
    detections = predict(detector, slices.images[rows], config.froc_confidence, config.batch)
    return Side(version, config, match_outcomes(detections, truth, IOUS))
