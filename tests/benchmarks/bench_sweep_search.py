"""How good a cell each search finds for the GPU-seconds that 60 whole trials of random search cost.

The searches are ours (`make_sampler`, `make_pruner`, `Study.draw`), in plain ask-and-tell loops on a synthetic surface:

- the space: variant, count (400-12,000), and the detector's learning rate, box gain, zoom and intensity change;
- true sensitivity: 0.60 + the variant's gain x (c e^(1 - c), c = count / 4000) - a parabola of each knob about its best
  value; the best of all is 0.70 (`cpggan 4000`);
- a trial's own luck: normal, standard deviation 0.015, as another seed of a detector would have;
- its learning curve: (1 - e^(-t/tau)) / (1 - e^(-1/tau)) at the share t of its steps, so that all cells end at what is
  true of them; slow where the learning rate is low or slices are many (tau 0.15-0.5), so that curves cross; every
  validation is off by 0.01 more. A detector validates as the paper's does: from 40 % of its 240,000 steps on, every
  4,000. Its cost is 1,000 GPU-seconds in all, and as much of it as it trained if it is pruned. GANs are shared by all
  cells of a variant, and cost every search the same: they are left out.

A search picks the whole trial that validated best. Simple regret = 0.70 - the true sensitivity of its pick; beside it
stands the regret of the truly best of its whole trials, whether it was picked or not.

    PYTHONPATH=. python -m tests.benchmarks.bench_sweep_search --repeats 20
"""

from __future__ import annotations

import argparse
import math
from typing import NamedTuple

import numpy as np
import optuna

from search_spaces.cell import Cell
from search_spaces.search import SearchConfig
from search_spaces.study import Study
from sweep.studies.optuna_study import make_pruner, make_sampler
from tests.benchmarks.machine import machine

WHOLE_TRIALS, GPU_SECONDS_EACH = 60, 1000.0
BUDGET = WHOLE_TRIALS * GPU_SECONDS_EACH
BEST = 0.70
GAINS = {"none": 0.0, "cpggan": 0.10, "cpggan+normal": 0.07, "image2image": 0.04}
BEST_COUNT = 4000
LUCK, BLUR = 0.015, 0.01
SEARCHES = {
    "random": SearchConfig(method="random"),
    "random + asha": SearchConfig(method="random", pruning="asha"),
    "tpe": SearchConfig(method="tpe"),
    "tpe + asha": SearchConfig(method="tpe", pruning="asha"),
    "tpe + median": SearchConfig(method="tpe", pruning="median"),
}

STUDY = Study.model_validate(
    {
        "name": "surface",
        "cohort": "none",
        "fidelity": "paper",
        "space": {
            "variant": {"choice": list(GAINS)},
            "count": {"int": [400, 12000], "step": 400},
            "detector.learning_rate": {"float": [1e-3, 3e-2], "log": True},
            "detector.box_gain": {"float": [2.5, 10.0]},
            "detector.scale": {"float": [0.0, 0.9]},
            "detector.intensity": {"float": [0.0, 0.9]},
        },
        "search": {"method": "tpe"},
    }
)


class Found(NamedTuple):
    regret: float
    regret_of_best_whole: float
    trials: int


def true_sensitivity(cell: Cell) -> float:
    knobs = dict(cell.params)
    count = cell.paper_count / BEST_COUNT
    return (
        0.60
        + GAINS[cell.variant] * count * math.exp(1 - count)
        - 0.08 * (math.log10(knobs["detector.learning_rate"]) + 2.3) ** 2
        - 0.05 * ((knobs["detector.box_gain"] - 7.5) / 5) ** 2
        - 0.05 * ((knobs["detector.scale"] - 0.5) / 0.5) ** 2
        - 0.04 * ((knobs["detector.intensity"] - 0.3) / 0.5) ** 2
    )


def reached(cell: Cell, share: float) -> float:
    """Of what the cell ends at, after a share of the steps."""
    slow = (math.log10(3e-2) - math.log10(dict(cell.params)["detector.learning_rate"])) / math.log10(30)
    tau = 0.15 + 0.2 * slow + 0.15 * cell.paper_count / 12_000
    return (1 - math.exp(-share / tau)) / (1 - math.exp(-1 / tau))


def search(config: SearchConfig) -> Found:
    """Draw, train and end trials until the GPU-seconds are used; the last one may be cut short, and then counts for
    nothing."""
    detector = STUDY.detector
    study = optuna.create_study(direction="maximize", pruner=make_pruner(config, detector.steps))
    noise = np.random.default_rng(config.seed)
    first = math.ceil(detector.select_from * detector.steps / detector.evaluate_every) * detector.evaluate_every
    spent, drawn = 0.0, 0
    whole: list[tuple[float, float]] = []
    while spent < BUDGET:
        study.sampler = make_sampler(config, drawn)
        trial = study.ask()
        cell = STUDY.draw(trial)
        drawn += 1
        true, luck = true_sensitivity(cell), noise.normal(0, LUCK)
        best, step = 0.0, 0
        for step in range(first, detector.steps + 1, detector.evaluate_every):
            validated = (true + luck) * reached(cell, step / detector.steps) + noise.normal(0, BLUR)
            best = max(best, validated)
            trial.report(validated, step)
            if step < detector.steps and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, best)
            if spent + GPU_SECONDS_EACH <= BUDGET:
                whole.append((best, true))
        spent += GPU_SECONDS_EACH * step / detector.steps
    return Found(BEST - max(whole)[1], BEST - max(true for _, true in whole), drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print("| search | simple regret: median (quartiles) | regret of the best whole trial | trials begun | wins |")
    print("|---|---|---|---|---|")
    found: dict[str, list[Found]] = {}
    for name, config in SEARCHES.items():
        found[name] = [search(config.model_copy(update={"seed": seed})) for seed in range(asked.repeats)]
        against = [one.regret < other.regret for one, other in zip(found[name], found["random"], strict=True)]
        regret, of_whole = (
            "{1:.4f} ({0:.4f}-{2:.4f})".format(*np.quantile(column, [0.25, 0.5, 0.75]))
            for column in list(zip(*found[name], strict=True))[:2]
        )
        begun = np.median([one.trials for one in found[name]])
        wins = "-" if name == "random" else f"{sum(against)} of {asked.repeats}"
        print(f"| {name} | {regret} | {of_whole} | {begun:.0f} | {wins} |", flush=True)
    print(
        f"\n{BUDGET:,.0f} GPU-seconds each = {WHOLE_TRIALS} whole trials; {asked.repeats} repeats. "
        f"Wins: repeats with less regret than random search. {machine()}."
    )


if __name__ == "__main__":
    main()
