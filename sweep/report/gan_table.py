"""What the report says of the GANs themselves: do they draw what they are asked for, and do they leak patients?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.plan import Plan
from sweep.report.evidence_tables import MISSING, Section
from sweep.store import Store
from trainers.evaluation.outcome import iou_text, with_interval


def gan_section(plan: Plan, store: Store) -> Section | None:
    """One row a GAN whose realism is known, or None if that is none."""
    reports = {}
    for trial in plan.trials:
        artifact = store.find("realism", trial.realism.key) if trial.realism else None
        if artifact is not None:
            reports[trial.variant] = json.loads((artifact.path / "realism.json").read_text())
    if not reports:
        return None
    told = {variant: report["synthetic"][variant] for variant, report in reports.items()}
    ious = list(next(iter(told.values()))["box_fidelity"])
    columns = ["GAN", *(f"{what} @ {iou_text(iou)}" for iou in ious for what in ("boxes found", "at random places"))]
    rows = [[variant, *_found(one, ious), *_distances(one)] for variant, one in told.items()]
    real = next(iter(reports.values()))["real"]
    found = [_recall(next(iter(told.values()))["box_fidelity"][iou]["real"]) for iou in ious]
    yardstick = ["real, held out", *(cell for recall in found for cell in (recall, "")), *_distances(real)]
    return Section(
        "GANs",
        [*columns, "sliced Wasserstein", "MS-SSIM of pairs"],
        [yardstick, *rows],
        "Boxes found: by the detector of real slices, with 95 % intervals; at random places: boxes of the same sizes "
        "in the same slices. Sliced Wasserstein distance to training slices: lower is closer. MS-SSIM: higher than "
        "real means that slices are too alike. Leaks: "
        + "; ".join(f"{variant}: {one['memorisation']['verdict']}" for variant, one in told.items())
        + ".",
    )


def _found(one: Mapping[str, Any], ious: Sequence[str]) -> list[str]:
    return [_recall(one["box_fidelity"][iou][what]) for iou in ious for what in ("conditioned", "random")]


def _recall(found: Mapping[str, Any]) -> str:
    return with_interval(found["recall"], found["interval"], 3)


def _distances(one: Mapping[str, Any]) -> list[str]:
    likeness = one["ms_ssim"]
    return [f"{one['sliced_wasserstein']:.1f}", MISSING if likeness is None else f"{likeness['mean']:.3f}"]
