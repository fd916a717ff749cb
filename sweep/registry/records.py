"""How a version was judged and when: dated records that are added to its tags and description, and never changed.

A record depends on the champion, the slices and the rules of its day. A version that is judged again gets another
record beside the first: its tags contain a number (`metsweep.gate.0002.paired_gain`), those of the first none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sweep.registry.gates import LOADS, Gate
from sweep.report.section import in_markdown
from sweep.tracking.tags import FORCED, GATE, JUDGED, read_tag, tag_text

_GATE_TAG = re.compile(rf"{re.escape(GATE)}\.(?:(\d{{4}})\.)?(.+)")
_NOT_IN_A_TAG = re.compile(r"[^\w.\- :/]")
"""What MLflow allows in no tag's name."""


@dataclass(frozen=True)
class Record:
    """One judgement of a version."""

    gates: tuple[Gate, ...]
    forced: str | None = None
    """Why gates were overridden; None if none were."""
    at: str = ""
    """ISO 8601, UTC; empty for a version that was judged before records had a date."""

    @staticmethod
    def now(gates: tuple[Gate, ...], forced: str | None) -> Record:
        """A judgement of this second."""
        return Record(gates, forced, datetime.now(UTC).isoformat(timespec="seconds"))

    def adds_to(self, before: Record | None) -> bool:
        """Whether it differs from the record before it, apart from how long loading took."""
        return before is None or self._said != before._said

    @property
    def _said(self) -> tuple[object, ...]:
        gates = [
            (gate.name, gate.verdict, *(() if gate.name == LOADS else (gate.figure, gate.limit))) for gate in self.gates
        ]
        return (sorted(gates, key=lambda gate: gate[0]), self.forced)

    def tags(self, number: int) -> dict[str, str]:
        """For programs; `number` counts a version's records from 1."""
        infix = _infix(number)
        names = {gate: _NOT_IN_A_TAG.sub("_", gate.name).replace(" ", "_") for gate in self.gates}
        tags = {f"{GATE}{infix}.{name}": tag_text(gate) for gate, name in names.items()}
        tags[f"{JUDGED}{infix}"] = tag_text(_Judged(self.at, tuple(gate.name for gate in self.gates)))
        return tags | ({f"{FORCED}{infix}": self.forced} if self.forced else {})

    def markdown(self, study: str, trial: str) -> str:
        """For people: a paragraph and a list."""
        forced = f" Gates overridden: {in_markdown(self.forced)}" if self.forced else ""
        gates = "\n".join(f"- {gate.name}: {gate.verdict}. {gate.why}" for gate in self.gates)
        return f"Judged {self.at} as {trial} of study {study}.{forced}\n\n{gates}"


@dataclass(frozen=True)
class _Judged:
    """Content of the tag JUDGED."""

    at: str = ""
    gates: tuple[str, ...] = ()


def records(tags: Mapping[str, str]) -> list[Record]:
    """A version's records, oldest first."""
    gates: dict[int, list[Gate]] = {}
    for key in sorted(tags):
        if match := _GATE_TAG.fullmatch(key):
            gates.setdefault(int(match[1] or 1), []).append(read_tag(tags, key, Gate))
    return [_record(tags, number, gates[number]) for number in sorted(gates)]


def _record(tags: Mapping[str, str], number: int, gates: list[Gate]) -> Record:
    infix = _infix(number)
    name = f"{JUDGED}{infix}"
    judged = read_tag(tags, name, _Judged) if name in tags else _Judged()
    order = {name: i for i, name in enumerate(judged.gates)}
    # In versions without an order, the gate that loads the model comes last.
    gates.sort(key=lambda gate: order.get(gate.name, gate.name == LOADS))
    return Record(tuple(gates), tags.get(f"{FORCED}{infix}"), judged.at)


def _infix(number: int) -> str:
    """Stands before the names in the tags of a version's record; the first has none."""
    return "" if number == 1 else f".{number:04d}"
