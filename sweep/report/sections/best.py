"""The best cells that a search drew, and which hyperparameters mattered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from search_spaces.search import Constraint, Objective
from search_spaces.study import Study
from sweep import objectives
from sweep.report.results import Results, Row
from sweep.report.section import Line, Section, Value
from trainers.evaluation.measures import TABLE1
from trainers.evaluation.outcome import name_of
from trainers.palette import COLOURS, PAGE, hatch

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

SHOWN = 10
FEWEST = 10
"""Complete drawn cells that importances need."""


def best_section(results: Results) -> Section | None:
    """The best drawn cells on the validation split, feasible ones first; None if none is complete."""
    study = results.plan.study
    complete = _complete(results)
    if not complete:
        return None
    first = study.objectives[0]
    towards = -1 if first.direction == "maximize" else 1
    tested_at = first.iou if first.has_iou else study.evaluation.ious[0]
    ordered = sorted(complete, key=lambda row: (bool(_broken(row, study)), towards * value_of(row, first)))
    iou = name_of(tested_at)
    lines = []
    for row in ordered[:SHOWN]:
        params, broken = dict(row.trials[0].params), _broken(row, study)
        values: dict[str, Value] = {"cell": row.name, "number": row.number}
        values |= {_column(objective): value_of(row, objective) for objective in study.objectives}
        tested = {measure: row.mean("test", iou, measure.name) for measure in TABLE1}
        values |= {f"test_{measure.name}_{iou}": value for measure, value in tested.items()}
        values |= {"feasible": int(not broken), "params": json.dumps(params, sort_keys=True)}
        cells = [row.name, *(f"{value_of(row, objective):.3f}" for objective in study.objectives), broken or "yes"]
        cells += [*(f"{value:.{measure.digits}f}" for measure, value in tested.items()), row.seeds]
        short = {key: f"{value:.4g}" if isinstance(value, float) else value for key, value in params.items()}
        cells.append(", ".join(f"{key}={value}" for key, value in short.items()))
        lines.append(Line(cells, values, row.keys))
    bounds = ", ".join(f"{_name(bounded)} {bounded.bound}" for bounded in study.constraints) or "none"
    rule = ", the first objective, within the bounds" if len(study.objectives) > 1 else ""
    return Section(
        "best",
        "Best drawn cells",
        (
            "cell",
            *map(_heading, study.objectives),
            "keeps to bounds",
            *(f"{measure.title}, test, IoU {tested_at:g}" for measure in TABLE1),
            "seeds",
            "hyperparameters",
        ),
        lines,
        f"{len(lines)} of {len(complete)} complete cells ({len(results.drawn)} drawn), ordered by {_heading(first)} "
        f"({first.direction}){rule}; bounds: {bounds}. These figures of the best of many cells are optimistic; test "
        "figures had no part in the choice.",
    )


def importance_section(results: Results) -> Section | None:
    """How much each hyperparameter decides the objectives; None if nothing is drawn."""
    study = results.plan.study
    if not study.search.draws:
        return None
    complete = _complete(results)
    title = "Importance of hyperparameters"
    if len(complete) < FEWEST:
        reason = f"Needs {FEWEST} or more complete drawn cells; the study has {len(complete)}."
        return Section("importance", title, (), (), reason)
    by_objective = {_name(objective): importances(complete, study, objective) for objective in study.objectives}
    names = list(dict.fromkeys(name for shares in by_objective.values() for name in shares))
    lines = [
        Line(
            [name, *(f"{shares.get(name, 0.0):.3f}" for shares in by_objective.values())],
            {"hyperparameter": name, **{objective: shares.get(name) for objective, shares in by_objective.items()}},
        )
        for name in names
    ]
    return Section(
        "importance",
        title,
        ("hyperparameter", *(f"for {objective}" for objective in by_objective)),
        lines,
        f"How much each hyperparameter separates the best tenth of {len(complete)} complete drawn cells from the "
        "others; the shares add up to 1. Optuna's PED-ANOVA (Watanabe et al., IJCAI 2023). "
        "The shares have no direction, and from few cells they are rough.",
        partial(_draw, by_objective),
    )


def importances(rows: Sequence[Row], study: Study, objective: Objective) -> dict[str, float]:
    """Hyperparameter -> importance by PED-ANOVA, highest first."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        replayed = optuna.create_study(direction=objective.direction)
        replayed.add_trials([_replayed(row, rows, study, objective) for row in rows])
        return get_param_importances(replayed, evaluator=PedAnovaImportanceEvaluator())
    finally:
        optuna.logging.set_verbosity(verbosity)


def value_of(row: Row, figure: Objective | Constraint) -> float:
    """The value of a cell that a search learns from: mean over seeds."""
    return objectives.mean(figure, row.searched)


def _complete(results: Results) -> list[Row]:
    """The drawn cells of which a search has learnt."""
    study = results.plan.study
    return [row for row in results.drawn if row.measured and objectives.undefined(study, row.searched) is None]


def _replayed(row: Row, rows: Sequence[Row], study: Study, objective: Objective) -> FrozenTrial:
    """A cell as an Optuna trial. Counts are at the study's scale, so their range is that of the cells."""
    from optuna.distributions import CategoricalDistribution, IntDistribution
    from optuna.trial import create_trial

    trial = row.trials[0]
    params = dict(trial.params)
    distributions: dict[str, BaseDistribution] = {key: study.space[key].distribution() for key in params}
    if "variant" in study.space:
        params["variant"] = trial.variant
        distributions["variant"] = CategoricalDistribution(sorted({row.trials[0].variant for row in rows}))
    if "count" in study.space and trial.count:
        params["count"] = trial.count
        counts = [row.trials[0].count for row in rows if row.trials[0].count]
        distributions["count"] = IntDistribution(min(counts), max(counts))
    return create_trial(params=params, distributions=distributions, value=value_of(row, objective))


def _broken(row: Row, study: Study) -> str:
    """The bounds that a cell exceeds, as text; empty if none."""
    values = {bound: value_of(row, bound) for bound in study.constraints}
    broken = [f"{_name(bound)} {value:.3f}" for bound, value in values.items() if bound.violation(value) > 0]
    return f"no: {', '.join(broken)}" if broken else ""


def _name(figure: Objective | Constraint) -> str:
    return f"{figure.metric} @ {figure.iou:g}" if figure.has_iou else figure.metric


def _heading(figure: Objective) -> str:
    return _name(figure) if figure.of_slices else f"{_name(figure)}, validation"


def _column(figure: Objective) -> str:
    return _name(figure) if figure.of_slices else f"validation_{_name(figure)}"


def _draw(by_objective: dict[str, dict[str, float]]) -> Figure:
    """Bars, a group per hyperparameter."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for shares in by_objective.values() for name in shares))[::-1]
    figure = Figure(figsize=(6, 0.4 * len(names) + 1.2), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(by_objective)
    for i, (objective, shares) in enumerate(by_objective.items()):
        at = [position - 0.4 + (i + 0.5) * height for position in range(len(names))]
        axes.barh(
            at,
            [shares.get(name, 0.0) for name in names],
            0.9 * height,
            label=objective,
            fc=COLOURS[i % len(COLOURS)],
            ec=PAGE,
            hatch=hatch(i),
            lw=0,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="importance (PED-ANOVA)", xlim=(0, 1))
    figure.legend(fontsize=8, frameon=False, loc="outside lower center")
    return figure
