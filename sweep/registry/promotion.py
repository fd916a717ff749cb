"""Promotes the best trial of a study: registered as candidates, its models become champions if their gates let them."""

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
    """What a person asks of a promotion."""

    models: Sequence[str] = (DETECTOR, GENERATOR)
    """Those to promote; a study without GAN has no generator."""
    alias: Alias = "champion"
    """`candidate` registers and judges, and leaves the champion as it is."""
    limits: Limits
    """What the detector's gates hold its figures against."""
    trial: str | None = None
    """A trial named by hand."""
    force: str | None = None
    """Why gates that do not pass are to be passed over; the last, loads and predicts, never is."""
    study: str | None = None
    """How commands name the study, if not by its name."""

    def check(self) -> None:
        """Refuse a reason to force that says nothing.

        Raises:
            ConfigError: it is empty or too long.
        """
        if self.force is not None and not 0 < len(self.force.strip()) <= LONGEST_REASON:
            raise ConfigError(
                f"--force needs a reason of 1 to {LONGEST_REASON} characters, which the version keeps; got "
                f"{len(self.force.strip())}."
            )


@dataclass(frozen=True)
class Judgement:
    """One model, judged."""

    name: str
    ranked: Ranked
    key: str
    """Its stage key."""
    gates: tuple[Gate, ...]
    forced: str | None = None
    """Why gates were passed over; None if all pass."""
    version: str | None = None
    """Number in the registry; None if it is not registered."""
    champion: bool = False
    """Whether it is the champion now."""
    newly: bool = False
    """Whether it has become so by this promotion."""
    at: str | None = None
    """When it was judged, if that was not now."""

    @property
    def passed(self) -> bool:
        """Whether it may become champion."""
        return all(gate.passed for gate in self.gates) or (self.forced is not None and self.gates[-1].passed)


def promote(
    plan: Plan, store: Store, tracker: Tracker, request: Request, given_up: Collection[int] = ()
) -> list[Judgement]:
    """Register the best trial's detector, and the GAN behind it, as candidates; champions are those whose gates pass.

    The best trial is the first of `selection.ranking`. If it is the real-only arm, the generator is that of the best
    trial which has one. Either model is judged by its own gates. Promoting the same trial again registers nothing: what
    is champion already is left as it is, with what was said when it was judged; another version is judged again, and
    gets another dated record if that says anything new.

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
            if not _judged_as_champion(version)
        }
    for name, ranked, key, version in registered:
        before = records(version.tags)
        if name not in loads:
            done.append(_as_it_was_judged(name, ranked, key, version, before[-1]))
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
    """What `promote` would judge; writes nothing, neither into MLflow nor into its registry.

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
        version = next((one for one in versions if one.tags.get(STAGE_KEY) == key), None)
        judged.append(_judgement(name, ranked, key, gates, version, request))
    return judged


def _chosen(among: list[Ranked], request: Request) -> list[tuple[str, Ranked, str]]:
    """Of each model to promote: its name, its trial, its stage key."""
    request.check()
    best = pick(among, request.trial, forced=request.force is not None)
    chosen = [(DETECTOR, best, best.trial.evaluate.key)]
    with_gan = next((one for one in (best, *among) if one.trial.gan), None)
    if with_gan is not None and with_gan.trial.gan is not None:
        chosen.append((GENERATOR, with_gan, with_gan.trial.gan.key))
    return [one for one in chosen if one[0] in request.models]


def _judgement(
    name: str, ranked: Ranked, key: str, gates: tuple[Gate, ...], version: Version | None, request: Request
) -> Judgement:
    forced = None if all(gate.passed for gate in gates) else request.force
    number = None if version is None else version.number
    return Judgement(name, ranked, key, gates, forced, number, version is not None and CHAMPION in version.aliases)


def _judged_as_champion(version: Version) -> bool:
    """Whether it is the champion with a record of its gates, which nothing new is said about."""
    return CHAMPION in version.aliases and bool(records(version.tags))


def _as_it_was_judged(name: str, ranked: Ranked, key: str, version: Version, record: Record) -> Judgement:
    """The present champion: it would be compared with itself."""
    return Judgement(name, ranked, key, record.gates, record.forced, version.number, champion=True, at=record.at)


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
