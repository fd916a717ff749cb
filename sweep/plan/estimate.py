"""How long stages will take: by the manifests of earlier ones, else by what each stage assumes."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from sweep.plan.kept_flops import KeptFlops
from sweep.plan.plan import Plan
from sweep.stages import Stage
from sweep.stages.work import Assumed, SliceCounts, Work
from sweep.store import Artifact, Cost, Manifest, Store
from sweep.text import count_text
from trainers.distributed import WorkerResources

HISTORY = 12
"""Earlier stages that an estimate is the median of, and how many more are looked through for them."""
SLICES_A_VOLUME = 26
"""Assumed slices that show a tumour: 947 of 36 patients in the paper."""
Kind = tuple[str, Work]
"""Name and work of a stage: equal for stages of one plan that cost the same."""


@dataclass(frozen=True)
class Estimate(Assumed):
    """How long a stage takes, by earlier ones if there are any."""

    measured: bool
    """Whether the seconds come from earlier stages."""


@dataclass(frozen=True)
class Usage:
    """What stages occupy over their time."""

    cpu_seconds: float = 0.0
    """CPU cores x seconds."""
    gpu_seconds: float = 0.0
    """GPUs x seconds."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.cpu_seconds + other.cpu_seconds, self.gpu_seconds + other.gpu_seconds)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.cpu_seconds - other.cpu_seconds, self.gpu_seconds - other.gpu_seconds)

    def times(self, number: int) -> Usage:
        """Of `number` stages alike."""
        return Usage(self.cpu_seconds * number, self.gpu_seconds * number)


class Estimator:
    """Estimates the stages of one plan; reads at most a few manifests of each kind.

    Args:
        plan: whose stages; those of them that are done come first as history.
        done_keys: stage name -> keys in the store, if they have been listed already.
        count_flops: whether to count operations where there is no history of like stages; takes seconds.
        kept_flops: what was counted for earlier plans.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        done_keys: Mapping[str, set[str]] | None = None,
        count_flops: bool = True,
        kept_flops: KeptFlops | None = None,
    ) -> None:
        self._store = store
        self._done_keys = {name: store.keys(name) for name in plan.wanted} if done_keys is None else done_keys
        self._count_flops = count_flops
        self._kept_flops = kept_flops
        self._kinds: dict[str, Kind] = {}
        self._estimates: dict[Kind, Estimate | None] = {}
        self._history: dict[str, list[tuple[Work, Cost]]] = {}
        self._done: dict[Kind, list[Stage]] = {}
        self._read: dict[str, Artifact] = {}
        for key, stage in plan.stages.items():
            if key in self._done_keys[stage.name]:
                self._done.setdefault(self._kind(stage), []).append(stage)
        self._slices = self._slice_counts(plan)

    def of(self, stage: Stage) -> Estimate | None:
        """What a stage will take, or took; None without like history if FLOPs are not to be counted."""
        kind = self._kind(stage)
        if kind not in self._estimates:
            self._estimates[kind] = self._estimate(stage)
        return self._estimates[kind]

    def usage(self, stage: Stage) -> Usage:
        """What a stage occupies over its time; nothing if its time is unknown."""
        estimate, on = self.of(stage), stage.resources
        seconds = on.workers * estimate.seconds if estimate else 0.0
        return Usage(seconds * on.cpus_per_worker, seconds * on.gpus_per_worker)

    def total(self, stages: Iterable[Stage]) -> Usage:
        """What stages occupy in all."""
        kinds = self.alike(stages)
        self._read_histories([stage for stage, _ in kinds])
        return sum((self.usage(stage).times(number) for stage, number in kinds), Usage())

    def alike(self, stages: Iterable[Stage]) -> list[tuple[Stage, int]]:
        """One stage of each kind, and how many there are of that kind."""
        first: dict[Kind, Stage] = {}
        numbers: Counter[Kind] = Counter()
        for stage in stages:
            kind = self._kind(stage)
            first.setdefault(kind, stage)
            numbers[kind] += 1
        return [(stage, numbers[kind]) for kind, stage in first.items()]

    def without_sharing(self, plan: Plan) -> Usage:
        """What all of a plan's stages would occupy, done ones too, if every trial ran its own."""
        return self.total(stage for trial in plan.trials for stage in trial.stages.values())

    @property
    def all_measured(self) -> bool:
        """Whether everything asked so far comes from earlier stages."""
        return all(estimate is not None and estimate.measured for estimate in self._estimates.values())

    def _kind(self, stage: Stage) -> Kind:
        if stage.key not in self._kinds:
            self._kinds[stage.key] = stage.name, stage.work
        return self._kinds[stage.key]

    def _estimate(self, stage: Stage) -> Estimate | None:
        _, own = self._kind(stage)
        history = [(work, cost) for work, cost in self._history_of(stage) if _comparable(cost, stage.resources)]
        alike = [_seconds_on(cost, stage.resources) for work, cost in history if work == own]
        if alike:
            return Estimate(statistics.median(alike), f"history of {len(alike)}", measured=True)
        if not self._count_flops:
            return None
        flops = self._flops(stage, own)
        if flops is None and history:
            seconds = statistics.median(_seconds_on(cost, stage.resources) for _, cost in history)
            return Estimate(seconds, f"history of {count_text(len(history), 'other')}, not scaled", measured=True)
        scaled = [
            (flops / before, _seconds_on(cost, stage.resources))
            for work, cost in history
            if flops is not None and (before := self._flops_or_none(stage, work))
        ]
        if scaled:
            seconds = statistics.median(_scaled(before_s, factor, stage.other_s) for factor, before_s in scaled)
            factor = statistics.median(factor for factor, _ in scaled)
            others = count_text(len(scaled), "other")
            return Estimate(seconds, f"history of {others}, x {factor:.3g} by FLOPs", measured=True)
        assumed = stage.assumed(self._slices, flops)
        return Estimate(assumed.seconds, f"no history: {assumed.source}", measured=False)

    def _history_of(self, stage: Stage) -> list[tuple[Work, Cost]]:
        """Stages of its kind in the plan that are done; if there are none, others in the store."""
        kind = self._kind(stage)
        if done := self._done.get(kind):
            artifacts = [self._read.get(like.key) or self._store.find(like.name, like.key) for like in done[:HISTORY]]
            return [(kind[1], artifact.manifest.cost) for artifact in artifacts if artifact]
        if stage.name not in self._history:
            keys = sorted(self._done_keys.get(stage.name, set()))[: 2 * HISTORY]
            artifacts = [self._store.find(stage.name, key) for key in keys]
            self._history[stage.name] = [
                (self._work_of(stage, artifact.manifest), artifact.manifest.cost) for artifact in artifacts if artifact
            ]
        return self._history[stage.name]

    def _read_histories(self, stages: Iterable[Stage]) -> None:
        """Read at once what `_history_of` needs of done stages in the plan."""
        keys: dict[str, set[str]] = {}
        for kind in {self._kind(stage) for stage in stages} - self._estimates.keys():
            keys.setdefault(kind[0], set()).update(like.key for like in self._done.get(kind, [])[:HISTORY])
        for name, wanted in keys.items():
            self._read |= self._store.find_all(name, wanted - self._read.keys())

    def _work_of(self, stage: Stage, manifest: Manifest) -> Work:
        """The work that made an artifact of a stage of this name."""
        network = self._store.find(stage.network, manifest.identity["inputs"][stage.network]) if stage.network else None
        return stage.work_of(manifest.identity, network.manifest.identity["config"] if network else None)

    def _flops_or_none(self, stage: Stage, work: Work) -> float | None:
        try:
            return self._flops(stage, work)
        except ValidationError:
            return None

    def _flops(self, stage: Stage, work: Work) -> float | None:
        kept = self._kept_flops
        return stage.flops(work, self._slices) if kept is None else kept.of(stage, work, self._slices)

    def _slice_counts(self, plan: Plan) -> SliceCounts:
        """Of the slice set if it is made, else assumed from the cohort's volumes."""
        if not plan.trials:
            return SliceCounts(0)
        prepare = plan.trials[0].evaluate.detector.slices
        done = prepare.key in self._done_keys[prepare.name]
        artifact = self._store.find(prepare.name, prepare.key) if done else None
        images = artifact and artifact.manifest.files.get("images.npy")
        return SliceCounts(images.size // prepare.config.size**2 if images else prepare.volumes() * SLICES_A_VOLUME)


def _comparable(cost: Cost, now: WorkerResources) -> bool:
    """Whether a stage ran on the same kind of device, as far as its manifest says."""
    return not cost.cpus or (cost.gpus > 0) == (now.gpus_per_worker > 0)


def _seconds_on(cost: Cost, now: WorkerResources) -> float:
    """Seconds of earlier work on as many devices as are asked for now, if time falls in proportion to them."""
    if not cost.cpus:
        return cost.seconds
    if cost.gpus and now.gpus_per_worker:
        return cost.gpu_seconds / (now.workers * now.gpus_per_worker)
    return cost.cpu_seconds / (now.workers * now.cpus_per_worker)


def _scaled(seconds: float, factor: float, other_s: float) -> float:
    """Seconds of a stage with `factor` times the FLOPs; those of other work, at most half, are not scaled."""
    rest = min(other_s, seconds / 2)
    return rest + factor * (seconds - rest)
