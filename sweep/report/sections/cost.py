"""The cost of arms in hours and money, and per 0.01 of sensitivity gained."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass

from search_spaces.search import Prices
from sweep.report.evidence import Evidence
from sweep.report.results import Results
from sweep.report.section import MISSING, Line, Section, Value, decimal
from sweep.report.sections.gains import decided
from sweep.stages import Stage
from sweep.store import Artifact
from sweep.text import count_text
from trainers.variants import REAL_ONLY


@dataclass(frozen=True)
class Spent:
    """The cost of artifacts."""

    hours: float = 0.0
    """Of work, by the clock, added over stages."""
    cpu_hours: float = 0.0
    """CPU cores held times hours."""
    gpu_hours: float = 0.0
    """GPUs held times hours."""
    unrecorded: float = 0.0
    """Those of `hours` whose older artifacts did not record CPUs and GPUs; the other two lack them."""

    @classmethod
    def by(cls, artifact: Artifact) -> Spent:
        """The cost of one artifact."""
        cost = artifact.manifest.cost
        hours = cost.seconds / 3600
        return cls(hours, cost.cpu_seconds / 3600, cost.gpu_seconds / 3600, 0.0 if cost.cpus else hours)

    def __add__(self, other: Spent) -> Spent:
        return Spent(*map(operator.add, astuple(self), astuple(other)))

    def share(self, users: float) -> Spent:
        """One of `users` equal parts."""
        return Spent(*(part / users for part in astuple(self)))


@dataclass(frozen=True)
class Bill:
    """The cost of one arm, or of all drawn cells together."""

    own: Spent
    """Of stages that no other arm needs."""
    shared: Spent
    """Its share of stages that other arms need too."""
    missing: int
    """Stages whose artifacts are not in the store: not run yet, or deleted."""

    @property
    def total(self) -> Spent:
        """Both."""
        return self.own + self.shared


def cost_section(results: Results, evidence: Evidence | None, prices: Prices) -> Section | None:
    """One line per arm, one for all drawn cells, and the sum; None if nothing has run."""
    needs = _needs(results)
    stages = {key: stage for needed in needs.values() for key, stage in needed.items()}
    spent = {key: Spent.by(results.made[key]) for key in stages if key in results.made}
    if not spent:
        return None
    users = Counter(key for needed in needs.values() for key in needed)
    bills = {name: _bill(needed, spent, users) for name, needed in needs.items()}
    unit = "hours" if prices.gpu_hour is None and prices.cpu_hour is None else prices.currency
    per_gain = f"{unit} per +0.01 sensitivity"
    keys = {row.arm: row.keys for row in results.arms}
    lines = [
        _line(name, bill, _per_point(name, bills, evidence, prices), prices, keys.get(name, ()))
        for name, bill in bills.items()
    ]
    own, shared = (_sum(cost for key, cost in spent.items() if (users[key] > 1) == many) for many in (False, True))
    total = Bill(own, shared, len(stages) - len(spent))
    return Section(
        "cost",
        "Cost",
        ("arm", "GPU-hours", "CPU-hours", "hours", "of which shared", prices.currency, per_gain, "missing"),
        [*lines, _line("all", total, None, prices, ())],
        _note(stages, spent, users, per_gain),
    )


def money(spent: Spent, prices: Prices) -> float:
    """Price of the CPUs and GPUs held, as far as artifacts record them; NaN without a price."""
    cost = prices.cost(3600 * spent.gpu_hours, 3600 * spent.cpu_hours)
    return math.nan if cost is None else cost


def _needs(results: Results) -> dict[str, dict[str, Stage]]:
    """Arm, or all drawn cells together -> key -> stage that its detectors and evaluations need."""
    needs: dict[str, dict[str, Stage]] = {}
    for row in results.rows:
        name = row.arm if row.number is None else f"{len(results.drawn)} drawn cells"
        for trial in row.trials:
            needs.setdefault(name, {}).update({stage.key: stage for stage in trial.evaluate.inputs_first()})
    return needs


def _bill(needed: Mapping[str, Stage], spent: Mapping[str, Spent], users: Counter[str]) -> Bill:
    own = _sum(spent[key] for key in needed if key in spent and users[key] == 1)
    shared = _sum(spent[key].share(users[key]) for key in needed if key in spent and users[key] > 1)
    return Bill(own, shared, sum(key not in spent for key in needed))


def _sum(parts: Iterable[Spent]) -> Spent:
    return sum(parts, Spent())


def _per_point(name: str, bills: Mapping[str, Bill], evidence: Evidence | None, prices: Prices) -> float | None:
    """Cost beyond that of the real-only arm, per 0.01 of sensitivity gained beyond chance, once all seeds have run."""
    if evidence is None or evidence.mark:
        return None
    gain = next(iter(evidence.gains.values())).get(name)
    if gain is None or not decided(gain.plain) or gain.plain.difference < 0 or bills[name].missing:
        return None
    of_base = len(next(iter(evidence.by_iou.values()))[REAL_ONLY].shown)
    # In a race the real-only arm may have more seeds.
    extra = bills[name].total + bills[REAL_ONLY].total.share(-of_base / gain.plain.seeds)
    cost = money(extra, prices)
    return (extra.hours if math.isnan(cost) else cost) / (100 * gain.plain.difference)


def _line(name: str, bill: Bill, per_point: float | None, prices: Prices, keys: tuple[str, ...]) -> Line:
    total, price = bill.total, money(bill.total, prices)
    held = [_held(value, total, digits) for value, digits in ((total.gpu_hours, 3), (total.cpu_hours, 3), (price, 2))]
    cells = [name, *held[:2], decimal(total.hours), decimal(bill.shared.hours), held[2]]
    cells.append(MISSING if per_point is None else decimal(per_point))
    values: dict[str, Value] = {
        "arm": name,
        "gpu_hours": total.gpu_hours,
        "cpu_hours": total.cpu_hours,
        "hours": total.hours,
        "hours_own": bill.own.hours,
        "hours_shared": bill.shared.hours,
        "hours_unrecorded": total.unrecorded,
        "money": price,
        "per_point": per_point,
        "stages_missing": bill.missing,
    }
    return Line([*cells, str(bill.missing) if bill.missing else MISSING], values, keys)


def _held(value: float, total: Spent, digits: int) -> str:
    """A figure of CPUs or GPUs held; with a plus where some artifacts did not record them."""
    if math.isnan(value) or (total.unrecorded and total.unrecorded >= total.hours):
        return MISSING
    return decimal(value, digits) + ("+" if total.unrecorded else "")


def _note(stages: Mapping[str, Stage], spent: Mapping[str, Spent], users: Counter[str], per_gain: str) -> str:
    several = [key for key in spent if users[key] > 1]
    shared = [
        f"{stages[key].label} ({spent[key].hours:,.3f} hours, {users[key]} arms)"
        for key in several
        if stages[key].joins is None
    ]
    # Short ones, which run in the job of a stage that is named.
    joining = Counter(stages[key].name for key in several if stages[key].joins)
    shared += [count_text(number, f"{name} stage") for name, number in joining.items()]
    texts = [
        "Hours: wall-clock time, the sum over stages; GPU-hours and CPU-hours: times the GPUs and CPU cores held. The "
        "cost of a stage that several arms share is split equally; all drawn cells count as one arm. Waiting, failed "
        "attempts and realism are not included.",
        f"{per_gain}: an arm's cost beyond that of {REAL_ONLY} with as many seeds, per 0.01 gained at the first IoU "
        "threshold, if the interval of the gain excludes 0.",
    ]
    if shared:
        texts.append(f"Shared: {', '.join(shared)}.")
    if unrecorded := sum(cost.unrecorded for cost in spent.values()):
        texts.append(
            f"+: at least; artifacts of an older version ({unrecorded:,.3f} hours) did not record CPUs and GPUs."
        )
    if any(key not in spent for key in stages):
        texts.append("Missing: stages that are not in the store, whose cost is not included.")
    return " ".join(texts)
