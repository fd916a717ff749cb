"""What the plots and tables of a study's page are drawn from, as values for JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from dashboards.study.live import State
from search_spaces.search import Objective
from sweep.cli.status_tables import headline, reasons
from sweep.objectives import mean
from sweep.plan.looks import held_up_text, race_text
from sweep.report.evidence import Gain
from sweep.report.report import header_of
from sweep.report.results import Row
from sweep.report.section import sample_text
from sweep.report.sections.gains import SOUGHT
from sweep.report.sections.pareto import arm_of, front
from sweep.report.sections.response import response_of
from sweep.report.table1 import means_of
from sweep.report.verdict import verdict
from sweep.studies.overview import Overview, TrialState, best_of
from trainers.evaluation.arms import Arm
from trainers.evaluation.froc_curve import froc_curve
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.outcome import name_of
from trainers.exceptions import ConfigError
from trainers.variants import REAL_ONLY

MOST_CURVES = 8
"""FROC curves that one plot shows."""
HISTORY_POINTS = 300
"""Points of a GAN's history that a plot shows."""
SHOWN_OF_GANS = ("images", "gan/distance", "gan/overfitting")
"""Figures of that history."""


def trials_now(overview: Overview, state: State, study: str) -> dict[str, Any]:
    """Every trial's state; words on the launch, and on damaged artifacts."""
    damage = state.damage
    sound = _without(damage, overview, state) if damage else overview
    return {
        "version": state.version,
        "launch": overview.launch,
        "headline": list(headline(sound, study)),
        "reasons": list(reasons(sound)),
        "damage": [*damage.values()],
        "objective": overview.study.objectives[0].column,
        "trials": [_trial(trial, damage) for trial in sound.trials],
    }


def _without(damage: Mapping[str, str], overview: Overview, state: State) -> Overview:
    """The overview in which trials whose evaluation is damaged are to be run again."""
    trials = [TrialState(at.trial, "waiting") if at.trial.evaluate.key in damage else at for at in overview.trials]
    whole = {row.name: [*row.all_measured.values()] for row in state.results.rows if row.complete}
    return replace(overview, trials=trials, best=best_of(overview.study, whole))


def figures(state: State) -> dict[str, Any]:
    """Means of every arm and drawn cell: what needs no statistics, and so appears first."""
    study, results = state.plan.study, state.results
    objective = study.objectives[0]
    return {
        "ious": list(study.evaluation.ious),
        "draws": study.search.draws,
        "objective": {"better": objective.direction},
        "mark": results.mark,
        "rows": [_row(row, study.evaluation.ious) | {"objective": _value(row, objective)} for row in results.rows],
    }


def evidence(state: State, base: str) -> dict[str, Any]:
    """The verdict, intervals of every arm with figures, and gains over `base`, or over none if that has no figures."""
    found = state.evidence
    if found is None or base not in found.arms:
        base = REAL_ONLY
    plan = state.plan
    shown = (
        race_text(plan.study, plan.looks)
        if plan.looks
        else state.once("verdict", lambda: verdict(found, SOUGHT, plan.study.name))
    )
    answer: dict[str, Any] = {
        "verdict": shown + held_up_text(plan.held_up_by),
        "header": list(header_of(state.results)),
        "arms": [] if found is None else list(found.arms),
        "base": base,
        "intervals": {},
        "gains": {},
    }
    if found is None:
        return answer
    answer["intervals"] = state.once(
        "intervals",
        lambda: {
            name_of(iou): {name: _intervals(arm) for name, arm in arms.items()} for iou, arms in found.by_iou.items()
        },
    )
    if base in found.arms:
        gains = state.once(f"gains over {base}", lambda: found.gains_over(base))
        answer["gains"] = {
            name_of(iou): {arm: _gain(gain) for arm, gain in by_arm.items()} for iou, by_arm in gains.items()
        }
    return answer


def pareto(state: State, iou: float) -> list[str]:
    """Names of the arms and cells that no other dominates on the validation split."""
    return [row.name for row in front(state.results.measured, name_of(iou))]


def response(state: State, iou: float) -> dict[str, Any]:
    """Variant -> gain over the real-only arm by synthetic count: of arms, of drawn cells, and their smooth."""
    found, base = state.evidence, state.results.baseline
    if found is None or base is None:
        return {}
    shown = state.once(f"response {iou:g}", lambda: response_of(state.results, found, iou, base))
    return {
        variant: {
            "arms": [[count, gain.difference, *gain.interval] for count, (_, gain) in sorted(arms.items())],
            "cells": [] if points is None else [[*map(float, pair)] for pair in zip(*points, strict=True)],
            "smooth": []
            if smooth is None
            else [
                [float(count), float(gain), float(gain - reach), float(gain + reach)]
                for count, gain, reach in zip(smooth.counts, smooth.gain, smooth.reach, strict=True)
            ],
        }
        for variant in dict.fromkeys([*shown.enumerated, *shown.points])
        for arms, points, smooth in [
            (shown.enumerated.get(variant, {}), shown.points.get(variant), shown.smooths.get(variant))
        ]
    }


def froc(state: State, iou: float, names: Sequence[str]) -> dict[str, Any]:
    """Name -> FROC curve of an arm or cell on the test split, with its band and the table's point.

    Raises:
        ConfigError: more than MOST_CURVES are asked for.
    """
    if len(names) > MOST_CURVES:
        raise ConfigError(f"{len(names)} FROC curves are asked for; allowed: at most {MOST_CURVES}. Choose fewer arms.")
    found = state.evidence
    rows = {row.name: row for row in state.results.measured}
    if found is None:
        return {}

    def curve(name: str) -> dict[str, Any]:
        outcomes = arm_of(rows[name], "test", iou, found).outcomes
        band, dot = froc_curve(list(outcomes.values()), found.config)
        return {**{str(column): band[column].tolist() for column in band}, "dot": dot}

    return {name: state.once(f"froc {iou:g} {name}", partial(curve, name)) for name in names if name in rows}


def histories(state: State) -> dict[str, Any]:
    """GAN -> its stage key, and its figures during training at HISTORY_POINTS images at most."""
    curves: dict[str, Any] = {}
    store = state.store
    for stage in state.plan.gans.values():
        artifact = store.find(stage.name, stage.key)
        if artifact is None:
            continue
        lines = artifact.text("history.jsonl").splitlines()
        kept = [json.loads(line) for line in lines[:: math.ceil(len(lines) / HISTORY_POINTS) or 1]]
        figures = {name: [report.get(name) for report in kept] for name in SHOWN_OF_GANS}
        curves[f"{stage.label} {stage.key[:6]}"] = {"key": stage.key, **figures}
    return curves


def _trial(at: TrialState, damage: Mapping[str, str]) -> dict[str, Any]:
    trial = at.trial
    return {
        "trial": trial.name,
        "row": trial.cell,
        "state": "damaged" if trial.evaluate.key in damage else at.state,
        "stage": f"{at.stage}, made by {at.maker}" if at.maker else at.stage,
        "share": at.share,
        "left": at.seconds_left,
        "best": at.value,
        "last": at.last,
        "reason": at.reason,
        "key": trial.evaluate.key,
    }


def _value(row: Row, objective: Objective) -> float | None:
    value = mean(objective, row.searched) if row.measured else math.nan
    return None if math.isnan(value) else value


def _row(row: Row, ious: Sequence[float]) -> dict[str, Any]:
    first = row.trials[0]
    return {
        "name": row.name,
        "arm": row.arm,
        "number": row.number,
        "seeds": row.seeds,
        "settings": {"variant": first.variant, "count": first.count, **first.params},
        "values": {name: value for name, value in means_of(row, ious).items() if value is not None},
    }


def _intervals(arm: Arm) -> dict[str, list[float]]:
    return {measure.name: [*measure.estimate(arm).interval] for measure in TABLE1}


def _gain(gain: Gain) -> dict[str, Any]:
    plain, equal = gain.plain, gain.equal
    return {
        "difference": plain.difference,
        "interval": [*plain.interval],
        "p": gain.p,
        "at_equal_fps": equal.difference,
        "interval_at_equal_fps": [*equal.interval],
        "p_at_equal_fps": gain.equal_p,
        "minimum_detectable": plain.minimum_detectable,
        "sample": sample_text(plain),
    }
