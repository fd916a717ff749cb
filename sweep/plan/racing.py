"""A race: which arms are decided, and which seeds are to be trained next, read from the store alone.

A race keeps no state. Its looks are repeated, from the first on, in the evaluations that the store holds: whoever asks,
at whatever time and after whatever interruption, sees the same decisions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np

from sweep.plan.looks import ArmAtLook, Look, last_looks
from sweep.plan.plan import Plan
from sweep.plan.trial import Trial
from sweep.stages.evaluate import EvaluateStage, read_metrics
from sweep.store import Artifact, Store
from trainers.evaluation.bootstrap import leave_one_out_weights, ratios
from trainers.evaluation.collapse import collapse
from trainers.evaluation.comparison import Comparison, compare
from trainers.evaluation.metrics import counts_by
from trainers.evaluation.sequential import Decision, Differences, Looks, decide
from trainers.variants import REAL_ONLY

SPLIT = "test"
"""A race selects nothing; it finds how many seeds a comparison on these patients needs."""


def race(whole: Plan, store: Store, given_up: Collection[str] = ()) -> Plan:
    """The trials of a race up to its next look, with the looks for which the store has the evaluations.

    Args:
        whole: all trials that the race may take.
        given_up: names of trials that failed or were stopped: their arms stay undecided, the others go on; where one is
            of the base, no further look is taken.

    Raises:
        DamagedArtifact: an evaluation is damaged.
    """
    search, seeds = whole.study.search, len(whole.study.seeds)
    rules = Looks(first=seeds, most=search.most_seeds, gain=search.gain)
    done = store.keys(EvaluateStage.name)
    arms = [arm for arm in whole.cells if arm != REAL_ONLY]
    decisions = np.zeros((1, len(arms)), np.int64)
    needed = dict.fromkeys(whole.cells, seeds)
    looks: list[Look] = []
    held_up_by: list[Trial] = []
    left = set(arms)

    def lacking(arm: str) -> list[Trial]:
        return [trial for trial in whole.cells[arm][:seeds] if trial.evaluate.key not in done]

    while left and seeds <= search.most_seeds:
        needed |= dict.fromkeys((REAL_ONLY, *left), seeds)
        racing = (REAL_ONLY, *(arm for arm in arms if arm in left))
        ended = [trial for arm in racing for trial in lacking(arm) if trial.name in given_up]
        held_up_by += ended
        left -= {trial.cell for trial in ended}
        if not left or any(lacking(arm) for arm in (REAL_ONLY, *left)):
            break
        compared = {arm: _compared(whole, arm, seeds, store) for arm in left}
        decisions, reach = decide(_differences(compared, arms, seeds), decisions, rules)
        seen = {
            arm: ArmAtLook(compared[arm], float(reach[0, i]), Decision(decisions[0, i]))
            for i, arm in enumerate(arms)
            if arm in left
        }
        judged = (trial for arm in (REAL_ONLY, *seen) for trial in whole.cells[arm][:seeds])
        looks.append(Look(seeds, seen, tuple(one.name for one in judged if _collapsed(store, one.evaluate.key))))
        left = {arm for arm in left if seen[arm].decision == Decision.OPEN}
        seeds += 1
    names = {trial.name for arm, trials in whole.cells.items() for trial in trials[: needed[arm]]}
    trials = tuple(trial for trial in whole.trials if trial.name in names)
    return Plan(whole.study, trials, tuple(looks), tuple(held_up_by))


def rest_of_race(whole: Plan, raced: Plan) -> list[list[Trial]]:
    """For each look after the next, the trials that it needs if no arm is decided before.

    Args:
        whole: all trials that the race may take.
        raced: those up to the next look.
    """
    last, base = last_looks(raced.looks), len(raced.cells[REAL_ONLY])
    racing = [
        arm
        for arm, trials in raced.cells.items()
        if arm != REAL_ONLY and len(trials) == base and (arm not in last or last[arm][1].decision == Decision.OPEN)
    ]
    if not racing:
        return []
    most = raced.study.search.most_seeds
    return [[whole.cells[arm][seeds] for arm in (REAL_ONLY, *racing)] for seeds in range(base, most)]


def _compared(whole: Plan, arm: str, seeds: int, store: Store) -> Comparison:
    pairs = zip(whole.cells[arm][:seeds], whole.cells[REAL_ONLY][:seeds], strict=True)
    config = whole.study.evaluation

    def sensitivity(trial: Trial) -> np.ndarray:
        return _sensitivity(store, trial.evaluate.key, config.ious[0], config.confidence)

    return compare(np.array([sensitivity(trial) - sensitivity(base) for trial, base in pairs]))


@lru_cache(maxsize=4096)
def _sensitivity(store: Store, key: str, iou: float, confidence: float) -> np.ndarray:
    """On all patients, then without each in turn, as `compare` wants it."""
    from trainers.evaluation.outcome_files import read_outcomes  # pandas, which a plan without looks does not need

    artifact = _evaluation(store, key)
    counts = counts_by(read_outcomes(artifact.path, SPLIT, (iou,), confidence)[iou])
    lesions = counts["lesions"].to_numpy()
    return ratios(leave_one_out_weights(lesions), counts["true_positives"].to_numpy(), lesions)


@lru_cache(maxsize=4096)
def _collapsed(store: Store, key: str) -> bool:
    return collapse(read_metrics(_evaluation(store, key))) is not None


def _evaluation(store: Store, key: str) -> Artifact:
    artifact = store.find(EvaluateStage.name, key)
    assert artifact is not None, "a look waits for all evaluations"
    return artifact


def _differences(compared: Mapping[str, Comparison], arms: Sequence[str], seeds: int) -> Differences:
    """Of one study; unknown for arms that are not looked at."""

    def of_arms(name: str) -> np.ndarray:
        return np.array([[getattr(compared[arm], name) if arm in compared else np.nan for arm in arms]])

    return Differences(
        mean=of_arms("difference"),
        seed_variance=of_arms("seed_variance"),
        patient_variance=of_arms("patient_variance"),
        seeds=seeds,
        patients=next(iter(compared.values())).patients,
    )
