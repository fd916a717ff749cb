"""Races of simulated studies: how often they are wrong, how often they find a gain, what they cost.

    python -m tests.trainers.evaluation.simulated_races

prints the table of `trainers/evaluation/README.md` in three minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trainers.evaluation.sequential import SHOWN, Decision, Differences, Looks, decide

ARMS = 4
AT_ONCE = 250
"""Studies held in memory together."""
LOOKS = Looks(first=3, most=20, gain=0.05)
FIXED = 10
"""Seeds of the studies without looks that races are compared with."""
TASTE = 0.15
"""Standard deviation of the gain from patient to patient."""
SKILL = 0.02
"""Standard deviation of a detector's sensitivity from seed to seed, alike on all patients."""
NOISE = 0.25
"""Standard deviation of a detector's sensitivity on a patient, around both."""


@dataclass(frozen=True)
class Races:
    """How the races of many studies ended."""

    decisions: np.ndarray
    """R x K of `Decision`."""
    detectors: np.ndarray
    """R, trained in all, the base's included."""

    @property
    def shown(self) -> np.ndarray:
        """R x K, whether an arm was called better or worse."""
        return np.isin(self.decisions, SHOWN)


def simulate(draw: np.random.Generator, gains: Sequence[float], patients: int, studies: int, **sd: float) -> Races:
    """Race studies whose arms have these true gains over the base; `sd` as in `differences_of`."""
    parts = [
        race(differences_of(draw, gains, patients, min(AT_ONCE, studies - begin), **sd))
        for begin in range(0, studies, AT_ONCE)
    ]
    return Races(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("decisions", "detectors")))


def differences_of(
    draw: np.random.Generator,
    gains: Sequence[float],
    patients: int,
    studies: int,
    taste_sd: float = TASTE,
    skill_sd: float = SKILL,
) -> np.ndarray:
    """R x K x seeds x patients: differences in sensitivity from the base, whose detectors all arms share."""
    shape = (studies, len(gains), LOOKS.most, patients)
    base = (studies, 1, *shape[2:])
    skill = draw.normal(0, skill_sd, shape[:3]) - draw.normal(0, skill_sd, base[:3])
    taste = draw.normal(0, taste_sd, (*shape[:2], 1, patients))
    noise = draw.normal(0, NOISE, shape) - draw.normal(0, NOISE, base)
    return np.asarray(gains)[:, None, None] + taste + skill[..., None] + noise


def race(drawn: np.ndarray) -> Races:
    """Look after every seed until every arm is decided or has the most seeds."""
    decisions = np.zeros(drawn.shape[:2], np.int64)
    seeds_of = np.zeros(drawn.shape[:2], np.int64)
    for differences in looks_at(drawn):
        seeds_of[decisions == Decision.OPEN] = differences.seeds
        decisions, _ = decide(differences, decisions, LOOKS)
    return Races(decisions, seeds_of.sum(axis=1) + seeds_of.max(axis=1))


def tested_once(drawn: np.ndarray) -> np.ndarray:
    """Decisions, R x K, of studies of FIXED seeds that are looked at once: Holm's procedure on ordinary t tests."""
    differences = next(differences for differences in looks_at(drawn) if differences.seeds == FIXED)
    once = Looks(first=FIXED, most=FIXED, gain=LOOKS.gain)
    return decide(differences, np.zeros(drawn.shape[:2], np.int64), once)[0]


def looks_at(drawn: np.ndarray) -> Iterator[Differences]:
    """What `comparison.compare` makes of the first seeds, of all studies and arms at once, at every look."""
    patients = drawn.shape[-1]
    by_seed = drawn.mean(axis=-1)
    sums = np.cumsum(drawn, axis=2).var(axis=-1, ddof=1)
    own = np.cumsum(drawn.var(axis=-1, ddof=1), axis=2)
    for seeds in range(LOOKS.first, LOOKS.most + 1):
        shared = (sums[:, :, seeds - 1] - own[:, :, seeds - 1]) / (seeds * (seeds - 1)) / patients
        yield Differences(
            mean=by_seed[:, :, :seeds].mean(axis=-1),
            seed_variance=by_seed[:, :, :seeds].var(axis=-1, ddof=1),
            patient_variance=np.maximum(0, shared),
            seeds=seeds,
            patients=patients,
        )


def main(studies: int = 2000) -> None:
    """Print the table, line by line."""
    fixed = f"{FIXED} seeds"
    print(f"| test patients | SD of gains | SD of seeds | true gain | better or worse | {fixed} | within | detectors |")
    print("|" + "---|" * 8)
    for patients, taste, skill in ((18, TASTE, 0.02), (18, TASTE, 0.06), (40, TASTE, 0.02), (40, 0.05, 0.06)):
        for gain in (0.0, 0.05, 0.1):
            draw = np.random.default_rng(0)
            gains, sd = [gain] * ARMS, {"taste_sd": taste, "skill_sd": skill}
            races = simulate(draw, gains, patients, studies, **sd)
            once = np.concatenate(
                [tested_once(differences_of(draw, gains, patients, AT_ONCE, **sd)) for _ in range(studies // AT_ONCE)]
            )
            shares = [
                shown.any(axis=1).mean() if gain == 0 else shown.mean() for shown in (races.shown, np.isin(once, SHOWN))
            ]
            figures = [f"{share:.3f}" for share in (*shares, (races.decisions == Decision.WITHIN).mean())]
            print(
                f"| {patients} | {taste} | {skill} | {gain} | {' | '.join(figures)} | {races.detectors.mean():.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
