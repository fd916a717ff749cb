"""Judges a study's best trial from the store: the gates that need no model to be loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_spaces.search import Constraint
from sweep.objectives import tried_in_turn
from sweep.plan import Plan, Trial
from sweep.registry.gates import (
    FPS_CAP,
    PICKED,
    Gate,
    Verdict,
    box_gate,
    chance_gate,
    constraint_gate,
    fps_gate,
    gain_gate,
    memorisation_gate,
    unknown_gain,
)
from sweep.registry.lineage import cell_keys, evaluations
from sweep.registry.selection import Ranked
from sweep.registry.versions import Version
from sweep.stages import EvaluateStage
from sweep.store import Store
from sweep.text import count_text
from sweep.tracking.tags import IOU, PREPARE_KEY, TRIAL
from trainers.evaluation.arms import Arm
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.measures import FPS
from trainers.evaluation.outcome_files import read_outcomes
from trainers.evaluation.realism.report import SyntheticFigures, read_realism
from trainers.variants import REAL_ONLY


@dataclass(frozen=True)
class Limits:
    """What a detector's figures are compared with."""

    margin: float = 0.0
    """The lower end of the paired gain's interval must be above it."""
    fps_cap: float | None = None
    """Most false positives per validation slice at IoU 0.5; None: the study's constraint, else FPS_CAP."""


def detector_gates(
    ranked: Ranked, among: Sequence[Ranked], plan: Plan, store: Store, champion: Version | None, limits: Limits
) -> tuple[Gate, ...]:
    """Those of a trial's detector.

    Args:
        among: the trials that it was picked from (`selection.ranking`).
        champion: the registry's present detector, which a real-only arm has to beat.
    """
    cap, others = _bounds(plan, limits)
    return (
        _picked(ranked, among, len(plan.trials)),
        _gain(ranked.trial, plan, store, champion, limits.margin),
        chance_gate(ranked.measured.sensitivity, ranked.measured.patients_with_lesions, ranked.by_chance, IOU),
        fps_gate(ranked.fps_per_slice, ranked.detections, cap, IOU),
        *(_kept(ranked, constraint) for constraint in others),
    )


def generator_gates(ranked: Ranked, among: Sequence[Ranked], plan: Plan, store: Store) -> tuple[Gate, ...]:
    """Those of the GAN behind a trial; `among` as in `detector_gates`."""
    realism = _realism(ranked.trial, plan, store)
    with_gan = [trial for trial in among if trial.trial.gan]
    planned = sum(trial.gan is not None for trial in plan.trials)
    return _picked(ranked, with_gan, planned), memorisation_gate(realism), box_gate(realism)


def _picked(ranked: Ranked, among: Sequence[Ranked], planned: int) -> Gate:
    """Was the trial picked by validation figures, or by a person? `planned`: how many trials the study has."""
    first, best = ranked.study.objectives[0], among[0]
    named = ", ".join(f"{aim.metric}{aim.place}" for aim in tried_in_turn(ranked.study))
    by = f"of {count_text(len(among), 'trial')} by {named}"
    left_out = planned - len(among)
    others = f"; {left_out} more ended early, failed, or lack a figure" if left_out else ""
    verdict, why = Verdict.PASS, f"The best {by}{others}."
    if ranked.order != best.order:
        verdict, why = Verdict.FAIL, f"Named by hand, though another is better {by}: the test table may have picked it."
    return Gate(PICKED, ranked.value(first), best.value(first), verdict, why)


def _bounds(plan: Plan, limits: Limits) -> tuple[float, list[Constraint]]:
    """The cap on false positives per slice at IoU 0.5, and the study's other constraints."""
    caps, others = [], []
    for bound in plan.study.constraints:
        if (bound.metric, bound.iou) == (FPS.name, IOU) and bound.at_most is not None:
            caps.append(bound.at_most)
        else:
            others.append(bound)
    return (limits.fps_cap if limits.fps_cap is not None else min(caps, default=FPS_CAP)), others


def _kept(ranked: Ranked, constraint: Constraint) -> Gate:
    value = ranked.value(constraint)
    side, bound = ("<=", constraint.at_most) if constraint.at_most is not None else (">=", constraint.at_least or 0.0)
    figure = f"{constraint.metric} @ {constraint.iou:g}" if constraint.has_iou else constraint.metric
    name = f"{figure} {side} {bound:g}"
    return constraint_gate(name, value, bound, constraint.violation(value) <= 0)


def _gain(trial: Trial, plan: Plan, store: Store, champion: Version | None, margin: float) -> Gate:
    # Cells that the search gave up count as well: pruned cells lost on the same validation split.
    keys = {cell: evaluations(trials) for cell, trials in plan.cells.items()}
    config = plan.study.evaluation
    own = _arm(keys[trial.cell], store, config)
    assert own is not None, "every seed of what may be promoted is evaluated"
    if trial.cell != REAL_ONLY:
        base = _arm(keys[REAL_ONLY], store, config) if REAL_ONLY in keys else None
        if base is None:
            return unknown_gain(margin, f"The study has no arm {REAL_ONLY} to compare with.")
        return gain_gate(own, base, f"the arm {REAL_ONLY}", len(keys) - 1, margin)
    if champion is None:
        return unknown_gain(
            margin, "Nothing to compare with: this is the real-only arm, and the registry has no champion."
        )
    name = f"the champion, version {champion.number} ({champion.tags.get(TRIAL, 'of an unknown trial')})"
    if champion.tags.get(PREPARE_KEY) != trial.evaluate.detector.slices.key:
        why = f"Nothing to compare with: this is the real-only arm, and {name} was judged on other slices."
        return unknown_gain(margin, why)
    held = cell_keys(champion.tags)
    if trial.evaluate.key in held.values():
        return unknown_gain(margin, f"Nothing to compare with: this is the arm of {name}.")
    base = _arm(held, store, config)
    if base is None:
        return unknown_gain(margin, f"The store {store.local} does not hold the evaluations of {name}.")
    return gain_gate(own, base, name, len(keys), margin)


def _arm(keys: Mapping[int, str], store: Store, config: EvaluationConfig) -> Arm | None:
    """A cell on the validation split; None if the store lacks an evaluation of it."""
    held = {seed: artifact for seed, key in keys.items() if (artifact := store.find(EvaluateStage.name, key))}
    if len(held) < len(keys):
        return None
    return Arm(
        {seed: read_outcomes(artifact.path, "validation", (IOU,))[IOU] for seed, artifact in held.items()}, config
    )


def _realism(trial: Trial, plan: Plan, store: Store) -> SyntheticFigures | None:
    """The realism of a trial's GAN, of its own slices if they are judged; None if the store does not hold it."""
    gan = trial.gan
    assert gan is not None, "only trials with a GAN have a generator"
    for stage in (trial.realism, *(planned.realism for planned in plan.trials)):
        if stage is not None and stage.source.key == gan.key:
            artifact = store.find(stage.name, stage.key)
            if artifact is not None:
                return read_realism(artifact.path).synthetic[gan.config.variant]
    return None
