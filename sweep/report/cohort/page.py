"""The page of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from sweep.report.cohort.contact_sheet import Thumbnail, sheets, thumbnail
from sweep.report.cohort.figures import cohort_figures, scanners
from sweep.report.cohort.text import shortened
from sweep.report.html import html_of
from sweep.text import count_text, visible
from sweep.versions import versions
from trainers.data.quality.cohort_facts import CohortFacts
from trainers.data.quality.volume_facts import LEVELS

MOST_OUTLIERS = 24
MOST_ROWS = 100
"""Of a table; the page says how many there are."""
LONGEST_REASON = 500
"""Characters."""
PAPER = (
    "The paper (section 2.2): 126, 18 and 36 patients; 2,813, 337 and 947 slices with 5,963, 616 and 3,094 boxes; "
    "and for training 16,962 slices of 193 normal subjects."
)


@dataclass(frozen=True)
class Table:
    """Rows of text; of many, the first."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    total: int

    @classmethod
    def of(cls, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
        """Every value as text of bounded length."""
        shown = [[shortened(visible(value), LONGEST_REASON) for value in row] for row in rows[:MOST_ROWS]]
        return cls(columns, shown, len(rows))

    @property
    def more(self) -> int:
        """Rows that are not shown."""
        return self.total - len(self.rows)


@dataclass(frozen=True)
class First:
    """A volume to look at, and why."""

    thumbnail: Thumbnail
    volume: str
    reasons: Sequence[str]


def cohort_page(facts: CohortFacts) -> str:
    """One HTML file that needs nothing else, of bounded size."""
    found = facts.outliers
    content: dict[str, Any] = {
        "name": shortened(visible(facts.cohort.name), LONGEST_REASON),
        "source": _source(facts),
        "prepared": facts.prepared is not None,
        "counts": _counts(facts),
        "paper": PAPER,
        "first": [
            First(
                thumbnail(outlier.facts, facts.prepared), shortened(outlier.facts.subject.volume, 100), outlier.reasons
            )
            for outlier in found[:MOST_OUTLIERS]
        ],
        "outliers": len(found),
        "scanners": _scanners(facts),
        "left_out": Table.of(("scan or volume", "why"), facts.dropped),
        "cut": Table.of(("volume", "what the strip cuts"), facts.cut),
        "duplicates": Table.of(("near duplicates",), [(pair,) for pair in facts.near_duplicates]),
        "changed_boxes": _changed_boxes(facts),
        "sheets": list(sheets(facts)),
    }
    return html_of("cohort/cohort.html.jinja", content, cohort_figures(facts))


def _source(facts: CohortFacts) -> str:
    subjects = len({of.subject.patient_id for of in facts.volumes})
    slices = f"slices of {facts.prepared.slices.size} px" if facts.prepared is not None else "not prepared"
    parts = (count_text(len(facts.volumes), "volume"), count_text(subjects, "subject"), slices)
    return f"{', '.join(parts)}; {datetime.now(UTC):%Y-%m-%d}, metsweep {versions()['metsweep']}"


def _counts(facts: CohortFacts) -> Table:
    counts = facts.counts()
    rows = [
        (split, *(f"{value:,}" for value in row)) for split, row in zip(counts.index, counts.to_numpy(), strict=True)
    ]
    return Table.of(("split", *counts.columns), [*rows, ("all", *(f"{value:,}" for value in counts.sum()))])


def _scanners(facts: CohortFacts) -> Table:
    middle = LEVELS.index(50)
    rows = []
    for name, volumes in scanners(facts.volumes).items():
        spacing = np.array([of.spacing for of in volumes])
        median = np.median([of.intensity[middle] for of in volumes])
        shapes = len({of.shape for of in volumes})
        rows.append((name, len(volumes), _range(spacing[:, :2]), _range(spacing[:, 2]), shapes, f"{median:.4g}"))
    columns = ("scanner", "volumes", "voxel (mm)", "slice distance (mm)", "matrices", "median intensity")
    return Table.of(columns, rows)


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low} to {high}"


def _changed_boxes(facts: CohortFacts) -> str:
    """What preparation did to boxes, in a sentence; empty before it."""
    if facts.prepared is None:
        return ""
    volumes = facts.prepared.record.volumes.values()
    widened, cut, outside = (
        sum(getattr(of, name) for of in volumes) for name in ("boxes_widened", "boxes_cut", "boxes_outside_brain")
    )
    return (
        f"Boxes: {widened:,} widened to the least size, {cut:,} cut at the border of their slice, {outside:,} left out "
        "as they show no brain."
    )
