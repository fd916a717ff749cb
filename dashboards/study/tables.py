"""Tables of the report that a study's page shows below its plots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from dashboards.study.live import State
from sweep.report.gan_table import gan_section
from sweep.report.section import Section, marked
from sweep.report.sections.best import best_section, importance_section
from sweep.report.sections.cost import cost_section
from sweep.report.sections.detection import detection_sections
from sweep.report.sections.finer import finer_gain_sections
from sweep.report.sections.gains import SOUGHT, gain_sections, seeds_section
from sweep.report.sections.patients import patients_sections


@dataclass(frozen=True)
class Tables:
    """Sections of the report under one heading."""

    title: str
    sections: Callable[[State], Iterable[Section]]
    empty: str
    """What the page says without any."""
    of_seeds: bool = True
    """Whether its figures are those of the seeds that all arms have."""

    def shown(self, state: State) -> Iterable[Section]:
        """The sections, marked where their figures are not of all seeds."""
        return (marked(one, state.results.mark if self.of_seeds else "") for one in self.sections(state))


def _gains(state: State) -> Iterable[Section]:
    evidence = state.evidence
    if evidence is not None:
        yield from gain_sections(evidence, SOUGHT)
        yield from patients_sections(state.results, evidence)
        yield from finer_gain_sections(evidence)
        yield from filter(None, [seeds_section(evidence, SOUGHT, state.plan.study.name)])


def _detection(state: State) -> Iterable[Section]:
    return () if state.evidence is None else detection_sections(state.evidence)


def _search(state: State) -> Iterable[Section]:
    return filter(None, [importance_section(state.results), best_section(state.results)])


def _cost(state: State) -> Iterable[Section]:
    return filter(None, [cost_section(state.results, state.evidence, state.plan.study.prices)])


def _gans(state: State) -> Iterable[Section]:
    return filter(None, [gan_section(state.results)])


TABLES: Mapping[str, Tables] = {
    "search": Tables("Search", _search, "This study draws no cells."),
    "cost": Tables("Cost", _cost, "Nothing has run yet.", of_seeds=False),
    "gans": Tables("GANs", _gans, "No GAN has figures of its realism yet.", of_seeds=False),
    "gains": Tables("Gains in detail", _gains, "No two arms are complete yet."),
    "detection": Tables("Detection in detail", _detection, "No arm is complete yet."),
}
"""Name in the address -> tables, in the page's order."""
