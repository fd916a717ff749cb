"""The source of every number: each trial's stages, artifact and MLflow run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Set

from sweep.report.results import Results, Row
from sweep.report.section import KEY_DIGITS, MISSING, Line, Section
from sweep.tracking.tags import STAGE_KEY

FindRuns = Callable[[Set[str]], Mapping[str, str] | None]
"""Keys of evaluations -> key -> id of the MLflow run that holds it; None where MLflow does not answer."""


def trace_section(results: Results, runs: Mapping[str, str] | None) -> Section:
    """One line per trial.

    Args:
        runs: evaluate key -> id of the MLflow run that holds it; None to leave MLflow out.
    """
    folded = results.plan.study.folds is not None
    return Section(
        "trace",
        "Provenance",
        (
            "arm",
            "seed",
            *(["fold"] if folded else []),
            "complete",
            "evaluate key",
            "detector key",
            "GAN key",
            "MLflow run",
            "artifact",
        ),
        [line for row in results.rows for line in _lines(row, runs or {}, folded)],
        f"Tables show the first {KEY_DIGITS} digits of stage keys. The folder of an artifact holds the "
        "manifest with the checksums, `metrics.json` and every detection. Each MLflow run carries its evaluate key in "
        f"the tag {STAGE_KEY}; {'this report lists no MLflow runs' if runs is None else '`-`: no MLflow run'}.",
    )


def _lines(row: Row, runs: Mapping[str, str], folded: bool) -> Iterator[Line]:
    for trial in row.trials:
        artifact = row.made.get(trial.evaluate.key)
        evaluate, detector = trial.evaluate.key, trial.evaluate.detector.key
        gan = trial.source.key if trial.source else None
        run = runs.get(evaluate)
        path = None if artifact is None else artifact.where
        yield Line(
            [
                *(row.name, str(trial.seed), *([str(trial.fold)] if folded else [])),
                *("yes" if artifact else "no", evaluate, detector),
                *(text or MISSING for text in (gan, run, path)),
            ],
            {
                "arm": row.arm,
                "variant": trial.variant,
                "count": trial.count,
                "seed": trial.seed,
                **({"fold": trial.fold} if folded else {}),
                "number": trial.number,
                "params": json.dumps(dict(trial.params), sort_keys=True) if trial.params else None,
                "complete": int(artifact is not None),
                "evaluate_key": evaluate,
                "detector_key": detector,
                "gan_key": gan,
                "prepare_key": trial.evaluate.detector.slices.key,
                "mlflow_run_id": run,
                "artifact": path,
            },
        )
