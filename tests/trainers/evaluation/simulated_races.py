"""Races of simulated studies: how often they are wrong, how often they find a gain, what they cost.

    python -m tests.trainers.evaluation.simulated_races

prints the tables of `trainers/evaluation/README.md` in five minutes.
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
FIXED = (10, 20)
"""Seeds of the studies without looks that races are compared with."""
SHAPES = ((1, Looks(first=2, most=8, gain=0.05)), (4, LOOKS), (11, Looks(first=3, most=8, gain=0.05)))
"""Arms and looks of races; the last are those of the study `evidence`."""
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


def simulate(
    draw: np.random.Generator, gains: Sequence[float], patients: int, studies: int, looks: Looks = LOOKS, **sd: float
) -> Races:
    """Race studies whose arms have these true gains over the base; `sd` as in `differences_of`."""
    parts = [
        race(differences_of(draw, gains, patients, min(AT_ONCE, studies - begin), looks.most, **sd), looks)
        for begin in range(0, studies, AT_ONCE)
    ]
    return Races(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("decisions", "detectors")))


def differences_of(
    draw: np.random.Generator,
    gains: Sequence[float],
    patients: int,
    studies: int,
    seeds: int = LOOKS.most,
    taste_sd: float = TASTE,
    skill_sd: float = SKILL,
) -> np.ndarray:
    """R x K x seeds x patients: differences in sensitivity from the base, whose detectors all arms share."""
    shape = (studies, len(gains), seeds, patients)
    base = (studies, 1, *shape[2:])
    skill = draw.normal(0, skill_sd, shape[:3]) - draw.normal(0, skill_sd, base[:3])
    taste = draw.normal(0, taste_sd, (*shape[:2], 1, patients))
    noise = draw.normal(0, NOISE, shape) - draw.normal(0, NOISE, base)
    return np.asarray(gains)[:, None, None] + taste + skill[..., None] + noise


def race(drawn: np.ndarray, looks: Looks = LOOKS) -> Races:
    """Look after every seed until every arm is decided or has the most seeds."""
    decisions = np.zeros(drawn.shape[:2], np.int64)
    seeds_of = np.zeros(drawn.shape[:2], np.int64)
    for differences in looks_at(drawn, looks):
        seeds_of[decisions == Decision.OPEN] = differences.seeds
        decisions, _ = decide(differences, decisions, looks)
    return Races(decisions, seeds_of.sum(axis=1) + seeds_of.max(axis=1))


def tested_once(drawn: np.ndarray, seeds: int) -> np.ndarray:
    """Decisions, R x K, of studies of so many seeds that are looked at once: Holm's procedure on ordinary t tests."""
    once = Looks(first=seeds, most=seeds, gain=LOOKS.gain)
    return decide(next(looks_at(drawn, once)), np.zeros(drawn.shape[:2], np.int64), once)[0]


def looks_at(drawn: np.ndarray, looks: Looks = LOOKS) -> Iterator[Differences]:
    """What `comparison.compare` makes of the first seeds, of all studies and arms at once, at every look."""
    patients = drawn.shape[-1]
    by_seed = drawn.mean(axis=-1)
    sums = np.cumsum(drawn, axis=2).var(axis=-1, ddof=1)
    own = np.cumsum(drawn.var(axis=-1, ddof=1), axis=2)
    for seeds in range(looks.first, looks.most + 1):
        shared = (sums[:, :, seeds - 1] - own[:, :, seeds - 1]) / (seeds * (seeds - 1)) / patients
        yield Differences(
            mean=by_seed[:, :, :seeds].mean(axis=-1),
            seed_variance=by_seed[:, :, :seeds].var(axis=-1, ddof=1),
            patient_variance=np.maximum(0, shared),
            seeds=seeds,
            patients=patients,
        )


def main(studies: int = 2000) -> None:
    """Print both tables, line by line."""
    print("| arms | seeds | test patients | SD of gains | SD of seeds | better or worse |")
    print("|" + "---|" * 6)
    for arms, looks in SHAPES:
        for patients, taste, skill in ((18, TASTE, 0.02), (18, 0.05, 0.06), (40, TASTE, 0.02), (40, TASTE, 0.06)):
            draw, none = np.random.default_rng(0), [0.0] * arms
            races = simulate(draw, none, patients, studies, looks, taste_sd=taste, skill_sd=skill)
            shown = f"{races.shown.any(axis=1).mean():.3f}"
            print(f"| {arms} | {looks.first}-{looks.most} | {patients} | {taste} | {skill} | {shown} |", flush=True)
    fixed = " | ".join(f"{seeds} seeds" for seeds in FIXED)
    print(f"| test patients | SD of gains | SD of seeds | true gain | race | {fixed} | within | detectors |")
    print("|" + "---|" * 9)
    for patients, taste, skill in ((18, TASTE, 0.02), (18, TASTE, 0.06), (40, TASTE, 0.02), (40, 0.05, 0.06)):
        for gain in (0.05, 0.1):
            draw = np.random.default_rng(0)
            gains = [gain] * ARMS
            races = simulate(draw, gains, patients, studies, taste_sd=taste, skill_sd=skill)
            drawn = [
                differences_of(draw, gains, patients, AT_ONCE, taste_sd=taste, skill_sd=skill)
                for _ in range(studies // AT_ONCE)
            ]
            once = [np.isin([tested_once(part, seeds) for part in drawn], SHOWN).mean() for seeds in FIXED]
            shares = (races.shown.mean(), *once, (races.decisions == Decision.WITHIN).mean())
            figures = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {patients} | {taste} | {skill} | {gain} | {figures} | {races.detectors.mean():.0f} |", flush=True)


if __name__ == "__main__":
    main()
