"""A plan for other programs: `metsweep plan --json`."""

from __future__ import annotations

from typing import Any

from sweep.cli import plan_tables
from sweep.cli.planning import Outlook
from sweep.plan.estimate import Usage
from sweep.redaction import without_secrets


def as_dict(outlook: Outlook) -> dict[str, Any]:
    """All that `metsweep plan` shows, unrounded; the names give the units: hours, seconds, bytes."""
    plan, planned, usage = outlook.plan, outlook.schedule, outlook.usage
    study, prices = plan.study, plan.study.prices
    shared = plan_tables.saved(plan, outlook.estimator)
    return {
        "study": study.name,
        "fidelity": study.fidelity,
        "cohort": str(study.cohort),
        "store": without_secrets(outlook.store.uri),
        "seeds": list(study.seeds),
        "folds": study.folds,
        "cells": len(plan.cells),
        "trials": len(plan.trials),
        "cells_to_draw": outlook.bound.cells,
        "stages_of_cells_to_draw": dict(outlook.bound.stages),
        "arms": [arm._asdict() for arm in plan_tables.arms(plan, outlook.missing)],
        "stages": [
            row._asdict() | {"seconds_each": [_estimate(*estimate) for estimate in row.seconds_each]}
            for row in plan_tables.stages(plan, outlook.missing, outlook.estimator)
        ],
        "to_run": {
            **_hours(usage),
            "bytes": outlook.bytes,
            "measured": outlook.estimator.all_measured,
            "money": prices.cost(usage.gpu_seconds, usage.cpu_seconds),
            "currency": prices.currency,
            "seconds": None if outlook.impossible else planned.seconds,
            "seconds_of_longest_chain": planned.longest_chain,
            "most_jobs_at_once": planned.peak,
            "most_cpus_at_once": planned.peak_cpus,
            "most_gpus_at_once": planned.peak_gpus,
        },
        "saved_by_sharing": {"stages": plan.shared, **_hours(shared)},
        "machine": {
            "name": outlook.where,
            "cpus": outlook.capacity.total("CPU"),
            "gpus": outlook.capacity.total("GPU"),
            "can_run": outlook.impossible is None,
            "why_not": outlook.impossible,
        },
        "changed_since_last_launch": [
            {"key": key, "was": was, "is": now} for key, (was, now) in outlook.changed.items()
        ],
    }


def _hours(usage: Usage) -> dict[str, float]:
    return {"gpu_hours": usage.gpu_seconds / 3600, "cpu_hours": usage.cpu_seconds / 3600}


def _estimate(estimate: Any, number: int) -> dict[str, Any]:
    return {"stages": number, "seconds": estimate.seconds, "known_from": estimate.source}
