"""How long stages will take: by the manifests of earlier ones, else by counting floating point operations (FLOPs)."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from sweep.plan.plan import Plan
from sweep.plan.work import Kind, SliceCounts, Work, kind_of, work_of, work_of_artifact
from sweep.stages import PrepareStage, Stage
from sweep.stages.stage import Inputs
from sweep.store import Cost, Store
from trainers.data.cohort import open_cohort
from trainers.distributed import WorkerResources
from trainers.exceptions import MetsweepError

HISTORY = 12
"""Earlier stages that an estimate is the median of, and how many more are looked through for them."""
CORE_FLOPS = {"gan": 34e9, "synthesize": 34e9, "detector": 19e9, "evaluate": 19e9}
"""Assumed FLOPs a second of a stage's network on one CPU core, where there is no history: as the demo's two GANs and
five detectors did, two at once on two cores. A detector's layers are smaller."""
GPU_FLOPS = 10e12
"""Assumed FLOPs a second of one GPU."""
REST_S = {"gan": 6.0, "synthesize": 2.0, "detector": 8.0, "evaluate": 4.0}
"""Assumed for all that is not the network: starting, reading slices, drawing figures, resampling patients."""
SECONDS_A_VOLUME, SECONDS_A_SLICE = 5.2, 0.08
"""Assumed for `prepare` (a volume) and `realism` (a synthetic slice), whose cost FLOPs do not tell; the demo's."""
SLICES_A_VOLUME = 26
"""Assumed slices that show a tumour: 947 of 36 patients in the paper."""
START_UP_S = 15.0
"""Starting one Ray Train job; 13.6-20.2 s were measured (sweep/README.md)."""


@dataclass(frozen=True)
class Estimate:
    """What a stage will take."""

    seconds: float
    """Of its work, on all of its workers at once."""
    source: str
    """Where the number comes from."""
    measured: bool
    """Whether earlier stages tell it."""


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
        """Of as many alike."""
        return Usage(self.cpu_seconds * number, self.gpu_seconds * number)


class Estimator:
    """Estimates the stages of one plan; reads at most a few manifests of each kind.

    Args:
        plan: whose stages; those of them that are done come first as history.
        store: where the history is.
        there: stage name -> keys in the store, if they are known already.
        count_flops: whether to count operations where there is no history of like stages; costs seconds.
    """

    def __init__(
        self, plan: Plan, store: Store, there: Mapping[str, set[str]] | None = None, count_flops: bool = True
    ) -> None:
        self._store = store
        self._there = {name: store.keys(name) for name in plan.wanted} if there is None else there
        self._count_flops = count_flops
        self._known: dict[Kind, Estimate | None] = {}
        self._kept: list[Stage] = []  # kinds are told apart by objects, which must outlive them
        self._history: dict[str, list[tuple[Work, Cost]]] = {}
        self._prepared = next((one for one in plan.stages.values() if isinstance(one, PrepareStage)), None)
        self._samples: dict[Kind, list[Stage]] = {}
        for key, stage in plan.stages.items():
            if key in self._there[stage.name]:
                samples = self._samples.setdefault(kind_of(stage), [])
                if len(samples) < HISTORY:
                    samples.append(stage)
        self._slices = self._slice_counts()

    def of(self, stage: Stage) -> Estimate | None:
        """What a stage will take, or took; None where nothing tells, which only happens if FLOPs are not counted."""
        known = kind_of(stage)
        if known not in self._known:
            self._kept.append(stage)
            self._known[known] = self._estimate(stage)
        return self._known[known]

    def usage(self, stage: Stage) -> Usage:
        """What a stage occupies over its time; nothing where nothing tells its time."""
        estimate, on = self.of(stage), stage.resources
        seconds = on.workers * estimate.seconds if estimate else 0.0
        return Usage(seconds * on.cpus_per_worker, seconds * on.gpus_per_worker)

    def total(self, stages: Iterable[Stage]) -> Usage:
        """What stages occupy in all."""
        total = Usage()
        for stage, number in kinds(stages):
            total += self.usage(stage).times(number)
        return total

    @property
    def all_measured(self) -> bool:
        """Whether earlier stages told everything asked so far."""
        return all(estimate is not None and estimate.measured for estimate in self._known.values())

    def without_sharing(self, plan: Plan) -> Usage:
        """What all of a plan's stages would occupy, done ones too, if every trial ran its own."""
        shared: Counter[int] = Counter()
        inputs: dict[int, Inputs] = {}
        own: list[Stage] = []
        for trial in plan.trials:
            detector = trial.evaluate.detector
            shared[id(detector.inputs)] += 1
            inputs[id(detector.inputs)] = detector.inputs
            own += (detector, trial.evaluate)
            if trial.realism:
                beyond = set(trial.stages) - set(detector.inputs.ancestry) - {detector.key, trial.evaluate.key}
                own += (trial.stages[key] for key in beyond)
        total = self.total(own)
        for known, number in shared.items():
            total += self.total(inputs[known].ancestry.values()).times(number)
        return total

    def _estimate(self, stage: Stage) -> Estimate | None:
        work = work_of(stage)
        history = [(done, cost) for done, cost in self._history_of(stage) if _comparable(cost, stage.resources)]
        alike = [_seconds_on(cost, stage.resources) for done, cost in history if done.likeness == work.likeness]
        if alike:
            return Estimate(statistics.median(alike), f"history of {len(alike)}", measured=True)
        if not self._count_flops:
            return None
        flops = work.flops(self._slices)
        if flops is None:
            return self._without_flops(stage, [cost for _, cost in history])
        scaled = [
            (flops / before, _seconds_on(cost, stage.resources))
            for done, cost in history
            if (before := _flops_or_none(done, self._slices))
        ]
        if scaled:
            seconds = statistics.median(_scaled(one, factor, stage.name) for factor, one in scaled)
            factor = statistics.median(factor for factor, _ in scaled)
            return Estimate(seconds, f"history of {len(scaled)} others, x {factor:.3g} by FLOPs", measured=True)
        rate, device = _assumed_rate(stage)
        rest = REST_S[stage.name]
        source = f"no history: {flops:.2g} FLOPs at {device}, and {rest:g} s for the rest, assumed"
        return Estimate(flops / rate + rest, source, measured=False)

    def _without_flops(self, stage: Stage, history: list[Cost]) -> Estimate:
        if history:
            seconds = statistics.median(_seconds_on(cost, stage.resources) for cost in history)
            return Estimate(seconds, f"history of {len(history)} others, not scaled", measured=True)
        if isinstance(stage, PrepareStage):
            volumes = _volumes(stage)
            seconds = volumes * SECONDS_A_VOLUME / stage.resources.cpus_per_worker
            source = f"no history: {volumes} volumes, {SECONDS_A_VOLUME:g} s each on a core assumed"
            return Estimate(seconds, source, measured=False)
        slices = work_of(stage).config["slices"]
        source = f"no history: {slices} slices, {SECONDS_A_SLICE:g} s each assumed"
        return Estimate(slices * SECONDS_A_SLICE, source, measured=False)

    def _history_of(self, stage: Stage) -> list[tuple[Work, Cost]]:
        """Stages of its kind in the plan that are done; if there are none, others in the store."""
        if own := self._samples.get(kind_of(stage)):
            found = [self._store.find(one.name, one.key) for one in own]
            return [(work_of(stage), artifact.manifest.cost) for artifact in found if artifact]
        if stage.name not in self._history:
            keys = sorted(self._there.get(stage.name, set()))[: 2 * HISTORY]
            manifests = [found.manifest for key in keys if (found := self._store.find(stage.name, key))]
            self._history[stage.name] = [(work_of_artifact(one, self._store), one.cost) for one in manifests]
        return self._history[stage.name]

    def _slice_counts(self) -> SliceCounts:
        """Of the slice set if it is made, else assumed from the cohort's volumes."""
        if self._prepared is None:
            return SliceCounts(0)
        artifact = None
        if self._prepared.key in self._there["prepare"]:
            artifact = self._store.find("prepare", self._prepared.key)
        images = None if artifact is None else artifact.manifest.files.get("images.npy")
        if images is not None:
            return SliceCounts(images.size // self._prepared.config.size**2)
        return SliceCounts(_volumes(self._prepared) * SLICES_A_VOLUME)


def kinds(stages: Iterable[Stage]) -> list[tuple[Stage, int]]:
    """One stage of each kind, and how many are alike."""
    first: dict[Kind, Stage] = {}
    numbers: Counter[Kind] = Counter()
    for stage in stages:
        kind = kind_of(stage)
        first.setdefault(kind, stage)
        numbers[kind] += 1
    return [(stage, numbers[kind]) for kind, stage in first.items()]


def _volumes(stage: PrepareStage) -> int:
    try:
        return len(open_cohort(stage.cohort).subjects)
    except MetsweepError:  # planned on another machine
        return 1


def _comparable(cost: Cost, now: WorkerResources) -> bool:
    """Whether a stage ran on the same kind of device, as far as it was noted."""
    return not cost.cpus or (cost.gpus > 0) == (now.gpus_per_worker > 0)


def _seconds_on(cost: Cost, now: WorkerResources) -> float:
    """Seconds of earlier work on as many devices as there are now, as if all of them helped alike."""
    if not cost.cpus:
        return cost.seconds
    if cost.gpus and now.gpus_per_worker:
        return cost.gpu_seconds / (now.workers * now.gpus_per_worker)
    return cost.cpu_seconds / (now.workers * now.cpus_per_worker)


def _scaled(seconds: float, factor: float, name: str) -> float:
    """Seconds of a stage with `factor` times the FLOPs; what is not the network stays, at most half of the seconds."""
    rest = min(REST_S[name], seconds / 2)
    return rest + factor * (seconds - rest)


def _assumed_rate(stage: Stage) -> tuple[float, str]:
    on, core = stage.resources, CORE_FLOPS[stage.name]
    if on.gpus_per_worker:
        return on.workers * on.gpus_per_worker * GPU_FLOPS, f"{GPU_FLOPS / 1e12:g} TFLOP/s a GPU"
    return on.workers * on.cpus_per_worker * core, f"{core / 1e9:g} GFLOP/s a core"


def _flops_or_none(work: Work, slices: SliceCounts) -> float | None:
    try:
        return work.flops(slices)
    except ValidationError:
        return None
