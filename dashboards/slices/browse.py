"""What the page of slices shows: the slices of a view, and the open one under its arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dashboards.slices.detections import Detections, Found
from dashboards.slices.listing import lesion_sizes, listed, rows_of
from dashboards.slices.panels import Mark, Picture, arm_picture, outlines, truth_picture
from dashboards.slices.sets import Indexed, Sets, Synthetic, synthetic_of
from dashboards.slices.studied import Studied
from dashboards.slices.view import MOST_ARMS, OF_ARMS, REAL, SHOWN, View
from dashboards.web.pages import shown
from sweep.report.results import Results
from sweep.stages.synthesize import SynthesizeStage
from sweep.text import count_text
from trainers.data.conditions import choose_annotation
from trainers.data.slice_set import Split
from trainers.exceptions import ConfigError, MetsweepError

PER_PAGE = 48
EMPTY: Mapping[str, Any] = {"arms": [], "lacking": "", "count": None, "cards": [], "scanners": [], "patients": [],
                            "unit": "", "open": None}  # fmt: skip
"""What the template names of the slices themselves."""
LABELS: Mapping[str, str] = {"test": "real, test", "validation": "real, validation", "train": "real, training"}


@dataclass(frozen=True)
class Arm:
    """What one detector of an arm found, or why that is unknown."""

    name: str
    found: Found | None
    problem: str = ""


@dataclass(frozen=True)
class Card:
    """A slice in the list."""

    number: int
    """Of the slice in the address."""
    name: str
    pictures: Sequence[tuple[Picture, Sequence[Mark]]]
    lines: Sequence[str]


class Browser:
    """Makes the content of pages; keeps what was opened last."""

    def __init__(self, sets: Sets) -> None:
        self._sets = sets
        self._detections = Detections()

    def content(self, state: Studied, view: View) -> dict[str, Any]:
        """As EMPTY, of a view.

        Raises:
            ConfigError: the study has no such source.
            MetsweepError: the view's slices cannot be read.
        """
        synthetic = synthetic_of(state.plan)
        if view.source not in (*REAL, *synthetic):
            raise ConfigError(f"source is {view.source!r}; allowed: {', '.join((*REAL, *synthetic))}.")
        return self._real(state, view) if view.source in REAL else self._synthetic(state, view, synthetic[view.source])

    def _real(self, state: Studied, view: View) -> dict[str, Any]:
        slices = self._sets.real(state.store, state.plan)
        arms = [] if view.source == "train" else [*self._arms(state, view, slices)]
        found = [arm.found for arm in arms if arm.found is not None]
        rows = listed(view, slices, found)
        page = rows[view.begin : view.begin + PER_PAGE].tolist()
        table = slices.slices.slices.iloc[rows_of(slices.slices, view.source)]
        content = {
            **EMPTY,
            "arms": arms,
            "lacking": "None of the arms is evaluated." if view.show in OF_ARMS and not found else "",
            "count": len(rows),
            "cards": [_real_card(slices, row, arms) for row in page],
            "scanners": sorted({str(scanner) for scanner in table["scanner"].unique()}),
            "patients": sorted({str(patient) for patient in table["patient_id"].unique()}),
            "unit": lesion_sizes(slices.slices.boxes)[1],
        }
        if view.slice is None:
            return content
        if view.slice >= len(slices.slices.slices):
            raise ConfigError(f"slice is {view.slice}; allowed: 0 to {len(slices.slices.slices) - 1}.")
        pictures = [truth_picture(slices, view.slice, "truth")]
        pictures += [arm_picture(slices, view.slice, arm.name, arm.found, arm.problem) for arm in arms]
        named = {"patient": "patient_id", "scanner": "scanner", "z": "z"}
        facts = {name: slices.value(view.slice, column) for name, column in named.items()}
        title = slices.value(view.slice, "slice_id")
        return {**content, "open": {"title": title, "facts": facts, "pictures": pictures, **_around(view, rows)}}

    def _synthetic(self, state: Studied, view: View, made: Synthetic) -> dict[str, Any]:
        count = self._sets.drawn(state.store, made)
        numbers = np.arange(count)
        page = numbers[view.begin : view.begin + PER_PAGE].tolist()
        cards = [self._synthetic_card(state, made, number) for number in page]
        lacking = "" if count else "None is made yet: a launch makes them."
        content = {**EMPTY, "count": count, "cards": cards, "lacking": lacking}
        if view.slice is None:
            return content
        if view.slice >= count:
            raise ConfigError(f"slice is {view.slice}; allowed: 0 to {count - 1}.")
        pictures = self._beside(state, made, view.slice)
        _, shard, row = self._sets.place(state.store, made, view.slice)
        facts = {"visibility of its least visible drawn tumour": shard.value(row, "visibility")[:5]}
        opened = {"title": shard.value(row, "slice_id"), "facts": facts, "pictures": pictures}
        return {**content, "open": {**opened, **_around(view, numbers)}}

    def _beside(self, state: Studied, made: Synthetic, number: int) -> list[Picture]:
        """A synthetic slice, and the real one whose annotation its boxes were drawn from, if that is known."""
        stage, shard, row = self._sets.place(state.store, made, number)
        pictures = [truth_picture(shard, row, made.name)]
        if isinstance(stage, SynthesizeStage):
            real = self._sets.real(state.store, state.plan)
            image, attempt = (int(shard.value(row, column)) for column in ("image_index", "attempt"))
            annotation, _ = choose_annotation(stage.config.seed, image, attempt, len(real.annotated))
            pictures.append(truth_picture(real, int(real.annotated[annotation]), "real"))
        return pictures

    def _synthetic_card(self, state: Studied, made: Synthetic, number: int) -> Card:
        pictures = self._beside(state, made, number)
        name = pictures[0].slices.value(pictures[0].row, "slice_id")
        return Card(number, name, [(picture, picture.marks) for picture in pictures], [])

    def _arms(self, state: Studied, view: View, slices: Indexed) -> Iterator[Arm]:
        """The view's arms, each with the detections of one seed."""
        study = state.plan.study
        seed = study.seeds[0] if view.seed is None else view.seed
        iou = study.evaluation.ious[0] if view.iou is None else view.iou
        rows = {row.name: row for row in state.results.rows}
        split: Split = "validation" if view.source == "validation" else "test"
        for name in view.arm or opening(state.results, seed):
            row = rows.get(name)
            if row is None:
                yield Arm(name, None, "The study has no such arm.")
                continue
            (artifact,) = row.artifacts.get(seed, (None,))
            if artifact is None:
                (key,) = [trial.evaluate.key for trial in row.trials if trial.seed == seed]
                yield Arm(name, None, state.damage.get(key, f"Seed {seed} is not evaluated yet."))
                continue
            try:
                found = self._detections.read(artifact, slices, split, iou, study.evaluation)
                yield Arm(name, found.at(view.confidence))
            except MetsweepError as error:
                yield Arm(name, None, shown(error))


def opening(results: Results, seed: int) -> tuple[str, ...]:
    """The arms that the page begins with: of each variant the last one of the study that is evaluated."""
    evaluated = [row for row in results.arms if seed in row.artifacts]
    return tuple({row.trials[0].variant: row.name for row in evaluated}.values())[:MOST_ARMS]


def choices(state: Studied) -> dict[str, Any]:
    """What can be chosen, whether or not any slices can be read."""
    study = state.plan.study
    return {
        "sources": {**LABELS, **{name: f"synthetic, {name}" for name in synthetic_of(state.plan)}},
        "shown": SHOWN,
        "cells": {row.name: bool(row.artifacts) for row in state.results.rows},
        "seeds": study.seeds,
        "ious": study.evaluation.ious,
        "least_confidence": study.evaluation.confidence,
        "most_arms": MOST_ARMS,
        "per_page": PER_PAGE,
        "splits": REAL,
    }


def _real_card(slices: Indexed, row: int, arms: Sequence[Arm]) -> Card:
    """A slice with its lesions, and in a line each what the arms find."""
    lines = []
    for arm in arms:
        position = None if arm.found is None else arm.found.position_of.get(row)
        if arm.found is not None and position is not None:
            found, missed, fps = (int(each[position]) for each in (arm.found.found, arm.found.missed, arm.found.fps))
            lines.append(f"{arm.name}: {found}/{found + missed}, {count_text(fps, 'FP')}")
    picture = Picture("", slices, row, ())
    return Card(row, slices.value(row, "slice_id"), [(picture, outlines(slices.boxes(row)))], lines)


def _around(view: View, rows: np.ndarray) -> dict[str, Any]:
    """The slices before and behind the open one in the list, and its place there."""
    at = np.flatnonzero(rows == view.slice)
    if not len(at):
        return {"place": None, "previous": None, "next": None}
    place = int(at[0])
    previous, following = rows[place - 1] if place else None, rows[place + 1] if place + 1 < len(rows) else None
    return {
        "place": place + 1,
        "previous": None if previous is None else view.query(slice=int(previous), begin=_begin(place - 1)),
        "next": None if following is None else view.query(slice=int(following), begin=_begin(place + 1)),
    }


def _begin(place: int) -> int:
    """Where the page of the list begins that holds a place."""
    return place // PER_PAGE * PER_PAGE
