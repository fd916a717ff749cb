"""A study's results as pandas data frames: the Python API for statistics and plots of one's own.

`open_study("quickstart").outcomes()` and its relatives read the store alone, as `metsweep report` does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from search_spaces.study import Study
from sweep.plan import Plan, Trial
from sweep.report.report import Report, build_report
from sweep.report.results import Row
from sweep.settings import Settings
from sweep.store import Store
from sweep.studies import opened
from sweep.studies.records import LaunchOptions
from trainers.data.slice_set import SliceSet, Split, open_slice_set
from trainers.evaluation.evaluate import SPLITS
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.metrics_file import rate
from trainers.evaluation.outcome import NEVER, Outcome, iou_text
from trainers.evaluation.outcome_files import read_outcomes
from trainers.exceptions import ConfigError, StoreError

OF_SLICES = ["slice_id", "patient_id", "scanner", "volume", "z"]


def open_study(name: str | Path, store: str | Path | None = None, cohort: str | Path | None = None) -> StudyFrames:
    """A study that was launched with a store.

    Args:
        name: of the study, or its YAML file.
        store: folder or `s3://bucket/prefix`; by default METSWEEP_STORE, else `metsweep-store` in this folder.
        cohort: its folder, if it has moved since the launch.

    Raises:
        MetsweepError: the store does not exist, the study was not launched with it, or what it keeps is damaged.
    """
    settings = Settings.from_environment(None if store is None else str(store))
    given = LaunchOptions(cohort=None if cohort is None else str(cohort))
    study = opened.open_study(str(name), given, settings, logging.getLogger(__name__).info)
    return StudyFrames(study.plan(), study.store)


class StudyFrames:
    """The results of a study so far; made by `open_study`. Every frame is read when it is asked for."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self.plan = plan
        self.store = store

    @property
    def study(self) -> Study:
        """The study file's values, e.g. `study.evaluation.ious`."""
        return self.plan.study

    @cached_property
    def report(self) -> Report:
        """What `metsweep report` shows, e.g. `report.verdict`."""
        return build_report(self.plan, self.store)

    def arms(self) -> pd.DataFrame:
        """Table 1, unrounded: a row per arm, with means, intervals, gains and p values on the test split."""
        return pd.DataFrame([{"arm": line.cells[0], **line.values} for line in self.report.table1.section().lines])

    def table(self, name: str) -> pd.DataFrame:
        """A table of the report by the name of its CSV file, e.g. `gain_iou50`."""
        tables = {section.name: section for section in self.report.sections if section.lines}
        if name not in tables:
            raise ConfigError(f"{name!r} is not a table of study {self.study.name}; allowed: {', '.join(tables)}.")
        return pd.DataFrame([line.values for line in tables[name].lines])

    def trials(self) -> pd.DataFrame:
        """A row per evaluated trial, split and IoU threshold, with the figures of Table 1 and the hyperparameters."""
        return pd.DataFrame(
            [
                {
                    "arm": row.name,
                    "variant": row.trials[0].variant,
                    "count": row.trials[0].count,
                    "seed": trial.seed,
                    **({} if self.study.folds is None else {"fold": trial.fold}),
                    **dict(row.trials[0].params),
                    "split": split,
                    "iou": float(iou_text(iou)),
                    **{measure.name: rate(figures, measure.name) for measure in TABLE1},
                }
                for row in self.report.results.rows
                for trial, metrics in row.of_trials.items()
                for split, ious in metrics.items()
                for iou, figures in ious.items()
            ]
        )

    def outcomes(self, split: Split = "test", iou: float | None = None, arms: Sequence[str] = ()) -> pd.DataFrame:
        """A row per lesion box and evaluated trial: whether its detector found the lesion.

        Args:
            split: `test` or `validation`.
            iou: one of the study's thresholds; its first by default.
            arms: names; all by default.

        Returns:
            `arm`, `seed`, `fold` in a study with folds, `slice_id`, `patient_id`, `scanner`, `volume`, `z`, the box
            `x0 y0 x1 y1` in pixels, `lesion`, `diameter_mm`, `confidence` (of the detection that hits the box; NaN
            without one), and `found` (with at least the confidence that the study evaluates at).

        Raises:
            ConfigError: an unknown split, IoU threshold or arm.
            StoreError: none of these trials is evaluated.
        """
        return self._rows(split, iou, arms, self._lesions)

    def detections(self, split: Split = "test", iou: float | None = None, arms: Sequence[str] = ()) -> pd.DataFrame:
        """A row per detection of every evaluated trial, down to the confidence of the FROC curve.

        Args and errors are those of `outcomes`.

        Returns:
            `arm`, `seed`, `fold` in a study with folds, `slice_id`, `patient_id`, `scanner`, `volume`, `z`, the box,
            `confidence`, `hit` (of a lesion) and `shown` (with at least the confidence that the study evaluates at).
        """
        return self._rows(split, iou, arms, self._detections)

    def slices(self, fold: int = 1) -> SliceSet:
        """The slice set of the study: `images` (N x S x S uint8), and the frames `slices` and `boxes`.

        Figures per slice count every slice of a split's tumour patients, with lesions or without: the rows that
        `trainers.detector.dataset.detector_rows` names.

        Args:
            fold: of a study with folds, which differ in their splits.

        Raises:
            StoreError: it is not made yet.
            ConfigError: the study has no such fold.
        """
        _check("fold", fold, range(1, len(self.study.splits) + 1))
        stage = self.plan.trials[fold - 1].evaluate.detector.slices
        prepared = self.store.find(stage.name, stage.key)
        if prepared is None:
            raise StoreError(
                f"Study {self.study.name} has no slices yet; `metsweep launch {self.study.name}` makes them."
            )
        return open_slice_set(prepared.path)

    def _rows(
        self, split: Split, iou: float | None, arms: Sequence[str], frame_of: Callable[[Outcome], pd.DataFrame]
    ) -> pd.DataFrame:
        ious = self.study.evaluation.ious
        threshold = ious[0] if iou is None else iou
        _check("split", split, SPLITS)
        _check("iou", threshold, ious)
        rows = self.report.results.rows
        for arm in arms:
            _check("arm", arm, [row.name for row in rows])
        chosen = [row for row in rows if not arms or row.name in arms]
        named = ["arm", "seed", *(["fold"] if self.study.folds else [])]
        frames = [
            frame_of(outcome).assign(arm=row.name, seed=trial.seed, fold=trial.fold)
            for row in chosen
            for trial, outcome in _read(row, split, threshold)
        ]
        if not frames:
            raise StoreError(f"No trial of study {self.study.name} is evaluated: {', '.join(arms) or 'all arms'}.")
        whole = pd.concat(frames, ignore_index=True)
        return whole[[*named, *whole.columns.drop(["arm", "seed", "fold"])]]

    def _lesions(self, outcome: Outcome) -> pd.DataFrame:
        at = outcome.found_at
        return _named(outcome, outcome.truth.lesions).assign(
            confidence=np.where(at == NEVER, np.nan, at), found=at >= self.study.evaluation.confidence
        )

    def _detections(self, outcome: Outcome) -> pd.DataFrame:
        shown = outcome.detections["confidence"] >= self.study.evaluation.confidence
        return _named(outcome, outcome.detections.drop(columns="lesion_row").assign(hit=outcome.hit, shown=shown))


def _read(row: Row, split: Split, iou: float) -> Iterator[tuple[Trial, Outcome]]:
    """Each evaluated trial of an arm with its outcome."""
    for trial, artifact in row.evaluated:
        yield trial, read_outcomes(artifact.path, split, (iou,))[iou]


def _named(outcome: Outcome, table: pd.DataFrame) -> pd.DataFrame:
    """A table with the names of its slices in place of their positions."""
    named = outcome.truth.slices[OF_SLICES].iloc[table["slice"].to_numpy()].reset_index(drop=True)
    return pd.concat([named, table.drop(columns="slice").reset_index(drop=True)], axis=1)


def _check(what: str, value: object, allowed: Sequence[object]) -> None:
    if value not in allowed:
        raise ConfigError(f"{what}: {value!r} is not in the study; allowed: {', '.join(map(repr, allowed))}.")
