"""The report of a study, read from the store alone: Table 1, and the evidence behind it as tables and pictures."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.plan import Plan, Trial
from sweep.report.evidence import Evidence, build_evidence
from sweep.report.evidence_tables import MISSING, SOUGHT, Section, markdown_line, sections
from sweep.report.gan_table import gan_section
from sweep.store import Artifact, Store
from trainers.evaluation.outcome import iou_text, name_of

if TYPE_CHECKING:
    from rich.table import Table

KEY_DIGITS = 8
"""Digits of a stage key that name it in the table."""
SPLITS = ("test", "validation")
FIGURES = {"sensitivity": 3, "fps_per_slice": 2}
"""Figures of the table and their digits."""
Metrics = dict[str, dict[str, dict[str, float]]]
"""Split -> IoU name -> figures, as the evaluate stage writes them."""


@dataclass(frozen=True)
class Value:
    """Mean and standard deviation over seeds; the deviation of one seed is not known."""

    mean: float
    sd: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Value:
        """Sample statistics of at least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def text(self, digits: int) -> str:
        """`0.67` or `0.67 ± 0.02`."""
        return f"{self.mean:.{digits}f}" + ("" if self.sd is None else f" ± {self.sd:.{digits}f}")


@dataclass(frozen=True)
class Row:
    """One arm."""

    arm: str
    trials: tuple[Trial, ...]
    """One a seed."""
    results: tuple[Metrics, ...]
    """Of the trials that are complete."""

    @property
    def complete(self) -> bool:
        """Whether every seed is evaluated."""
        return len(self.results) == len(self.trials)

    @property
    def keys(self) -> tuple[str, ...]:
        """Evaluate stage keys of its trials, by which store and MLflow hold them."""
        return tuple(trial.evaluate.key for trial in self.trials)

    def value(self, split: str, iou: str, name: str) -> Value | None:
        """`sensitivity` or `fps_per_slice` over the seeds, or None if a seed is not complete."""
        return Value.of([result[split][iou][name] for result in self.results]) if self.complete else None


@dataclass(frozen=True)
class Report:
    """A study's table and what must be known to read it."""

    study: str
    ious: tuple[str, ...]
    """Names of the IoU thresholds, in the study's order, e.g. `iou50`."""
    rows: tuple[Row, ...]
    header: tuple[str, ...]
    """Sentences: which slices, which rule, which fidelity."""
    evidence: Evidence | None
    """Of the complete arms."""
    sought: float
    """True gain in sensitivity that needed seeds are counted for."""
    gans: Section | None = None
    """The GANs, as far as their realism is known."""

    @cached_property
    def sections(self) -> list[Section]:
        """What follows Table 1."""
        of_arms = [] if self.evidence is None else sections(self.evidence, self.sought)
        return of_arms if self.gans is None else [*of_arms, self.gans]

    @cached_property
    def baseline(self) -> Row | None:
        """The real-only arm, if the study has it and it is complete."""
        return next((row for row in self.rows if row.arm == "none" and row.complete), None)

    def difference(self, row: Row, iou: str) -> float | None:
        """Test sensitivity minus that of the real-only arm; None for that arm itself or if one is not complete."""
        own = row.value("test", iou, "sensitivity")
        base = self.baseline.value("test", iou, "sensitivity") if self.baseline else None
        return None if own is None or base is None or row is self.baseline else own.mean - base.mean

    @property
    def columns(self) -> list[str]:
        """Titles of the Markdown table."""
        titles = ["arm"]
        for at in (f"IoU {iou_text(iou)}" for iou in self.ious):
            titles += [f"sensitivity {at}", f"FPs/slice {at}", f"gain over none {at}"]
        return [*titles, "seeds", "stage key"]

    def cells(self, row: Row) -> list[str]:
        """One row of the table that people read, as text."""
        texts = [row.arm]
        for iou in self.ious:
            for name, digits in FIGURES.items():
                value = row.value("test", iou, name)
                texts.append(MISSING if value is None else value.text(digits))
            gain = self.difference(row, iou)
            texts.append(MISSING if gain is None else f"{gain:+.3f}")
        done = f"{len(row.results)}/{len(row.trials)}"
        return [*texts, done, " ".join(key[:KEY_DIGITS] for key in row.keys)]

    def table(self) -> Table:
        """For the console, within 80 columns if there is one seed; print the header before it."""
        from rich import box
        from rich.table import Table

        table = Table(title=f"Table 1 of {self.study} (test split)", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.title_justify = "left"
        table.caption = "sens.: sensitivity. FPs: false positives per slice. gain: sensitivity over none. @: IoU."
        table.caption_justify = "left"
        table.add_column("arm", no_wrap=True)
        for title in (f"{short}\n@ {iou_text(iou)}" for iou in self.ious for short in ("sens.", "FPs", "gain")):
            table.add_column(title, justify="right")
        table.add_column("seeds", justify="right")
        table.add_column("stage key")
        for row in self.rows:
            table.add_row(*self.cells(row))
        return table

    def markdown(self) -> str:
        """Header and Table 1."""
        lines = [f"# Table 1 of {self.study}", "", *self.header, ""]
        lines += [markdown_line(self.columns), markdown_line(["---"] * len(self.columns))]
        lines += [markdown_line(self.cells(row)) for row in self.rows]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """One line an arm, test and validation, unrounded; empty where an arm is not complete."""
        text = io.StringIO()
        columns = [(split, iou, name) for split in SPLITS for iou in self.ious for name in FIGURES]
        titles = [f"{split}_{name}_{iou}{suffix}" for split, iou, name in columns for suffix in ("", "_sd")]
        gains = [f"test_sensitivity_{iou}_gain_over_none" for iou in self.ious]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["variant", "count", "seeds", "seeds_complete", *titles, *gains, "stage_keys"])
        for row in self.rows:
            values = [row.value(*column) for column in columns]
            numbers = [number for value in values for number in ((value.mean, value.sd) if value else (None, None))]
            differences = [self.difference(row, iou) for iou in self.ious]
            first = row.trials[0]
            arm = [first.variant, first.count, len(row.trials), len(row.results)]
            writer.writerow([*arm, *numbers, *differences, " ".join(row.keys)])
        return text.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """Write `report.md`, `table1.csv` and `figures/` into `folder`, made if needed; returns their paths."""
        pictures = folder / "figures"
        pictures.mkdir(parents=True, exist_ok=True)
        links = []
        for name, figure in self.evidence.figures().items() if self.evidence else ():
            figure.savefig(pictures / f"{name}.png", dpi=120)
            links.append(f"![{name}](figures/{name}.png)")
        parts = [self.markdown(), *(section.markdown() for section in self.sections), *(f"{link}\n" for link in links)]
        texts = {"report.md": "\n".join(parts), "table1.csv": self.csv()}
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
        return [*(folder / name for name in texts), *sorted(pictures.iterdir())]


def build_report(plan: Plan, store: Store, sought: float = SOUGHT) -> Report:
    """The table of a plan, as far as its trials are complete."""
    found = {trial.evaluate.key: store.find("evaluate", trial.evaluate.key) for trial in plan.trials}
    rows = []
    for arm, group in groupby(plan.trials, key=lambda trial: trial.arm):
        trials = tuple(group)
        complete = [artifact for trial in trials if (artifact := found[trial.evaluate.key])]
        rows.append(Row(arm, trials, tuple(read_metrics(artifact) for artifact in complete)))
    ious = tuple(map(name_of, plan.study.evaluation.ious))
    some = next((artifact for artifact in found.values() if artifact), None)
    return Report(
        plan.study.name,
        ious,
        tuple(rows),
        tuple(_header(plan, some)),
        build_evidence(plan, store),
        sought,
        gan_section(plan, store),
    )


def read_metrics(artifact: Artifact) -> Metrics:
    """The figures of an evaluate artifact."""
    return json.loads((artifact.path / "metrics.json").read_text())


def _header(plan: Plan, evaluated: Artifact | None) -> Iterable[str]:
    study = plan.study
    if evaluated is None:
        yield "No trial is complete yet."
    else:
        counts = next(iter(read_metrics(evaluated)["test"].values()))
        yield (
            f"Test split: {counts['slices']:,} slices, {counts['lesions']:,} lesions, {counts['patients']:,} patients."
        )
    yield (
        f"Detections of at least {study.evaluation.confidence:.2%} confidence, matched greedily by confidence, one "
        "detection a lesion; every other detection is a false positive."
    )
    yield (
        f"Mean ± standard deviation over {len(study.seeds)} seeds."
        if len(study.seeds) > 1
        else "One seed an arm: how far chance alone moves these figures is not known."
    )
    if study.fidelity == "paper":
        yield f"Fidelity paper, slices of {study.prepare.size} pixels."
    else:
        yield (
            f"Fidelity {study.fidelity}: slices of {study.prepare.size} pixels, smaller networks, shorter training. "
            "Compare arms with each other, not with the paper."
        )
