"""The looks of a race."""

from __future__ import annotations

from sweep.plan import Plan
from sweep.plan.looks import collapsed_text, decision_text, figures_text, held_up_text
from sweep.report.section import Line, Section, interval_values
from trainers.variants import REAL_ONLY


def race_section(plan: Plan) -> Section | None:
    """One line per look and arm; None without a look."""
    if not plan.looks:
        return None
    lines = [
        Line(
            [str(look.seeds), arm, figures_text(at), decision_text(at.decision, plan.study)],
            {
                "seeds": look.seeds,
                "arm": arm,
                **interval_values("gain", at.comparison.difference, at.interval),
                "decision": at.decision.name.lower(),
            },
            [trial.evaluate.key for cell in (arm, REAL_ONLY) for trial in plan.cells[cell][: look.seeds]],
        )
        for look in plan.looks
        for arm, at in look.arms.items()
    ]
    search, iou = plan.study.search, plan.study.evaluation.ious[0]
    return Section(
        "race",
        "Looks of the race",
        ("seeds", "arm", f"gain over {REAL_ONLY}", "decision"),
        lines,
        f"Gain in test sensitivity at IoU {iou:g}, over the seeds and patients of the look. Brackets: repeated 95% "
        "confidence intervals, which hold at all looks and for all arms together (error spent as Lan and DeMets do, "
        "Holm over arms); none where nothing can be shown yet. An arm ends once it is better or worse than "
        f"{REAL_ONLY}, differs by less than {search.gain:g}, or cannot be decided by {search.most_seeds} seeds because "
        f"too few patients were tested.{collapsed_text(plan.looks)}{held_up_text(plan.held_up_by)}",
    )
