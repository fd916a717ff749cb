"""What the report says of the GANs themselves: do they draw what they are asked for, and do they leak patients?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.plan import Plan
from sweep.report.section import MISSING, Line, Section, Value
from sweep.store import Store
from trainers.evaluation.outcome import iou_text, with_interval


def gan_section(plan: Plan, store: Store) -> Section | None:
    """One row a GAN whose realism is known, or None if that is none."""
    reports: dict[str, dict[str, Any]] = {}
    told: dict[str, dict[str, Any]] = {}
    keys: dict[str, tuple[str, ...]] = {}
    for trial in plan.trials:
        artifact = store.find("realism", trial.realism.key) if trial.realism else None
        if artifact is not None and trial.realism is not None:
            name = trial.variant if trial.number is None else f"t{trial.number} {trial.variant}"
            reports[name] = json.loads((artifact.path / "realism.json").read_text())
            told[name] = reports[name]["synthetic"][trial.variant]
            keys[name] = (trial.realism.key, trial.realism.gan.key)
    if not reports:
        return None
    ious = list(next(iter(told.values()))["box_fidelity"])
    columns = ["GAN", *(f"{what} @ {iou_text(iou)}" for iou in ious for what in ("boxes found", "at random places"))]
    real = next(iter(reports.values()))["real"]
    found = [_recall(next(iter(told.values()))["box_fidelity"][iou]["real"]) for iou in ious]
    yardstick = ["real, held out", *(cell for recall in found for cell in (recall, "")), *_distances(real)]
    lines = [
        Line([name, *_found(one, ious), *_distances(one)], _values(name, one, ious), keys[name])
        for name, one in told.items()
    ]
    return Section(
        "gans",
        "GANs",
        [*columns, "sliced Wasserstein", "MS-SSIM of pairs"],
        [Line(yardstick, {"gan": "real", "sliced_wasserstein": real["sliced_wasserstein"]}), *lines],
        "Boxes found: by the detector of real slices; at random places: boxes of the same sizes in the same slices. In "
        "brackets: 95% bootstrap intervals, over the synthetic slices of this one GAN; of real slices over patients. "
        "Sliced Wasserstein distance to training slices: lower is closer. MS-SSIM: higher than real means that slices "
        "are too alike. Leaks: "
        + "; ".join(f"{name}: {one['memorisation']['verdict']}" for name, one in told.items())
        + ".",
    )


def _values(name: str, one: Mapping[str, Any], ious: Sequence[str]) -> dict[str, Value]:
    values: dict[str, Value] = {"gan": name}
    for iou in ious:
        for what in ("conditioned", "random"):
            found = one["box_fidelity"][iou][what]
            low, high = found["interval"]
            column = f"{what}_recall_{iou}"
            values |= {column: found["recall"], f"{column}_low": low, f"{column}_high": high}
    likeness = one["ms_ssim"]
    return values | {
        "sliced_wasserstein": one["sliced_wasserstein"],
        "ms_ssim": None if likeness is None else likeness["mean"],
        "memorisation": one["memorisation"]["verdict"],
    }


def _found(one: Mapping[str, Any], ious: Sequence[str]) -> list[str]:
    return [_recall(one["box_fidelity"][iou][what]) for iou in ious for what in ("conditioned", "random")]


def _recall(found: Mapping[str, Any]) -> str:
    return with_interval(found["recall"], found["interval"], 3)


def _distances(one: Mapping[str, Any]) -> list[str]:
    likeness = one["ms_ssim"]
    return [f"{one['sliced_wasserstein']:.1f}", MISSING if likeness is None else f"{likeness['mean']:.3f}"]
