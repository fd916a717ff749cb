"""Promotes the best trial of a study: its models become candidates, and champions if all gates pass."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from sweep.plan import Plan
from sweep.registry.clean_process import loads_gate, not_written_yet
from sweep.registry.gates import Gate
from sweep.registry.judging import Limits, detector_gates, generator_gates
from sweep.registry.lineage import description_of, tags_of
from sweep.registry.records import Record, records
from sweep.registry.selection import Ranked, pick, ranking
from sweep.registry.versions import CHAMPION, DETECTOR, GENERATOR, Alias, Registry, Version
from sweep.store import Store
from sweep.tracking.tags import STAGE_KEY
from sweep.tracking.tracker import Tracker
from trainers.exceptions import ConfigError

LONGEST_REASON = 1000
"""Characters that a reason to force may have."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of a promotion."""

    models: Sequence[str] = (DETECTOR, GENERATOR)
    """Models to promote; a study without GAN has no generator."""
    alias: Alias = "champion"
    """`candidate` registers and judges, and leaves the champion as it is."""
    limits: Limits
    """What the detector's gates compare its figures with."""
    trial: str | None = None
    """Name of a trial, instead of the best."""
    force: str | None = None
    """The reason for overriding gates that do not pass; the last, loads and predicts, cannot be overridden."""
    study: str | None = None
    """How commands name the study, if not by its name."""


@dataclass(frozen=True)
class Judgement:
    """One model, judged."""

    name: str
    ranked: Ranked
    key: str
    """Its stage key."""
    gates: tuple[Gate, ...]
    forced: str | None = None
    """Why gates were overridden; None if all pass."""
    version: str | None = None
    """Number in the registry; None if unregistered."""
    champion: bool = False
    """Whether the model is the champion now."""
    newly: bool = False
    """Whether this promotion made it the champion."""
    at: str | None = None
    """When it was judged, if earlier."""

    @property
    def passed(self) -> bool:
        """Whether the model may become champion."""
        return all(gate.passed for gate in self.gates) or (self.forced is not None and self.gates[-1].passed)


def promote(
    plan: Plan, store: Store, tracker: Tracker, request: Request, given_up: Collection[int] = ()
) -> list[Judgement]:
    """Register the best trial's detector, and the GAN behind it, as candidates; champions are those whose gates pass.

    The best trial is the first of `selection.ranking`. If it is the real-only arm, the generator is that of the best
    trial with a GAN. Each model is judged by its own gates. Promoting the same trial again registers nothing: the
    present champion stays as it is, with its record; another version is judged again, and gets another dated record if
    that differs from the last.

    Args:
        given_up: as in `selection.ranking`.

    Raises:
        StoreError: trials are missing, or none has the figures that the best is picked by.
        ConfigError: the study does not evaluate at IoU 0.5, or `request` is refused.
        TrackingError: MLflow cannot be reached or written.
    """
    among = ranking(plan, store, given_up, request.study)
    chosen = _chosen(among, request)
    tracker.open()
    tracker.record()
    tracker.close()
    registry = Registry(tracker.tracking_uri)
    registered = []
    for name, ranked, key in chosen:
        model = tracker.model_of(key)
        commit = registry.commit_of(model)
        tags = tags_of(plan, ranked, key, commit)
        version = registry.register(name, model, tags, description_of(plan, ranked, commit))
        registered.append((name, ranked, key, version))
    done = []
    with ThreadPoolExecutor() as pool:  # a fresh process spends seconds on imports: one for each model, side by side
        loads = {
            name: pool.submit(loads_gate, version.uri, tracker.tracking_uri)
            for name, _, _, version in registered
            # A champion with a record of its gates is not judged again: it would be compared with itself.
            if not (CHAMPION in version.aliases and records(version.tags))
        }
    for name, ranked, key, version in registered:
        before = records(version.tags)
        if name not in loads:
            gates, forced, at = before[-1].gates, before[-1].forced, before[-1].at
            done.append(Judgement(name, ranked, key, gates, forced, version.number, champion=True, at=at))
            continue
        gates = _gates(name, ranked, among, plan, store, registry, request.limits)
        if CHAMPION not in version.aliases:
            registry.set_candidate(version)
        judged = _judgement(name, ranked, key, (*gates, loads[name].result()), version, request)
        record = Record.now(judged.gates, judged.forced)
        if record.adds_to(before[-1] if before else None):
            text = record.markdown(plan.study.name, ranked.trial.name)
            registry.add_record(version, record.tags(len(before) + 1), text)
        if judged.passed and not judged.champion and request.alias == "champion":
            registry.crown(version, f"forced: {judged.forced}" if judged.forced else "promoted")
            judged = replace(judged, champion=True, newly=True)
        done.append(judged)
    return done


def judge(
    plan: Plan, store: Store, tracking_uri: str, request: Request, given_up: Collection[int] = ()
) -> list[Judgement]:
    """The judgements that `promote` would make; writes nothing, neither into MLflow nor into its registry.

    Raises:
        StoreError, ConfigError, TrackingError: as `promote`.
    """
    registry = Registry.existing(tracking_uri)
    among = ranking(plan, store, given_up, request.study)
    judged = []
    for name, ranked, key in _chosen(among, request):
        model = None if registry is None else registry.logged_model(plan.study.name, key)
        loads = not_written_yet(tracking_uri) if model is None else loads_gate(model.model_uri, tracking_uri)
        gates = (*_gates(name, ranked, among, plan, store, registry, request.limits), loads)
        versions = [] if registry is None else registry.versions(name)
        version = next((version for version in versions if version.tags.get(STAGE_KEY) == key), None)
        judged.append(_judgement(name, ranked, key, gates, version, request))
    return judged


def _chosen(among: list[Ranked], request: Request) -> list[tuple[str, Ranked, str]]:
    """Name, trial and stage key of each model to promote."""
    if request.force is not None and not 0 < len(request.force.strip()) <= LONGEST_REASON:
        raise ConfigError(
            f"--force needs a reason of 1 to {LONGEST_REASON} characters, which the version keeps; got "
            f"{len(request.force.strip())}."
        )
    best = pick(among, request.trial, forced=request.force is not None)
    chosen = [(DETECTOR, best, best.trial.evaluate.key)]
    with_gan = next((ranked for ranked in (best, *among) if ranked.trial.gan), None)
    if with_gan is not None and with_gan.trial.gan is not None:
        chosen.append((GENERATOR, with_gan, with_gan.trial.gan.key))
    return [(name, ranked, key) for name, ranked, key in chosen if name in request.models]


def _judgement(
    name: str, ranked: Ranked, key: str, gates: tuple[Gate, ...], version: Version | None, request: Request
) -> Judgement:
    forced = None if all(gate.passed for gate in gates) else request.force
    number = None if version is None else version.number
    return Judgement(name, ranked, key, gates, forced, number, version is not None and CHAMPION in version.aliases)


def _gates(
    name: str,
    ranked: Ranked,
    among: Sequence[Ranked],
    plan: Plan,
    store: Store,
    registry: Registry | None,
    limits: Limits,
) -> tuple[Gate, ...]:
    """All gates of a model but the last."""
    if name == GENERATOR:
        return generator_gates(ranked, among, plan, store)
    return detector_gates(ranked, among, plan, store, registry and registry.champion(DETECTOR), limits)
