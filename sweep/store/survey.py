"""Lists and checks the artifacts of a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sweep.store.artifact import Artifact, DamagedArtifact, damaged_manifest, refuse_difference
from sweep.store.backend import RESERVED
from sweep.store.store import Store
from trainers.exceptions import StoreError

DESCRIBING = ("variant", "count", "shard", "seed")
"""Parts of an identity, or of its config, by which a person recognises an artifact."""


@dataclass(frozen=True)
class Damage:
    """A damaged artifact."""

    stage: str
    key: str
    reason: str
    """Which file, what was expected and what was got."""


@dataclass(frozen=True)
class Survey:
    """Every artifact of a store by its key, and the damaged manifests."""

    artifacts: Mapping[str, Artifact]
    damaged: tuple[Damage, ...]

    def ancestors(self, keys: set[str]) -> set[str]:
        """The keys and all that they were made from, as far as their artifacts exist."""
        ancestors: set[str] = set()
        following = set(keys)
        while following:
            ancestors |= following
            inputs = [self.artifacts[key].manifest.inputs for key in following if key in self.artifacts]
            following = set().union(*inputs) - ancestors
        return ancestors

    def made_by(self, artifact: Artifact) -> str:
        """What made an artifact, for people: variant, count, shard and seed; the variant is its GAN's."""
        described = _described(artifact.manifest.identity)
        for key in sorted(self.ancestors(artifact.manifest.inputs)):
            if "variant" not in described and key in self.artifacts:
                inherited = _described(self.artifacts[key].manifest.identity)
                described |= {name: value for name, value in inherited.items() if name == "variant"}
        return " ".join(f"{name}={described[name]}" for name in DESCRIBING if name in described)


def survey(store: Store, stages: list[str] | None = None) -> Survey:
    """Read every manifest of some or all stages."""

    def read(stage: str, key: str, content: bytes) -> Artifact | Damage | None:
        try:
            artifact = store.opened(stage, key, content)
        except DamagedArtifact as error:
            return Damage(stage, key, str(error))
        # `opened` has checked the checksum of a manifest that has one.
        return artifact if artifact is None or artifact.manifest.checksum else _credible(artifact)

    results = [
        read(stage, key, content)
        for stage in (store.stages() if stages is None else stages)
        for key, content in store.manifests(stage).items()
    ]
    artifacts = {result.manifest.key: result for result in results if isinstance(result, Artifact)}
    return Survey(artifacts, tuple(result for result in results if isinstance(result, Damage)))


def usage(store: Store) -> dict[str, int]:
    """Bytes per stage, and of checkpoints, damaged artifacts, half-written files and everything else."""
    seen, used = survey(store), Counter[str]()
    publications = {artifact.manifest.publication for artifact in seen.artifacts.values()}
    for half in store.patiently("list what is half-written", lambda: list(store.backend.half_written(publications))):
        used["half-written"] += half.size
        used[_group(half.name)] -= half.size
    for entry in store.patiently("list everything", lambda: list(store.backend.entries())):
        used[_group(entry.name)] += entry.size
    return {name: size for name, size in used.items() if size}


def verify(store: Store, keys: list[str]) -> Iterator[Artifact | Damage]:
    """Check, in the store itself, every file of the artifacts whose keys begin with one of `keys`; of all without.

    Raises:
        StoreError: no artifact's key begins with one of them.
    """
    seen = survey(store)
    wanted = [artifact for artifact in seen.artifacts.values() if _is_wanted(artifact.manifest.key, keys)]
    damaged = [damage for damage in seen.damaged if _is_wanted(damage.key, keys)]
    for prefix in keys:
        if not any(key.startswith(prefix) for key in (*seen.artifacts, *(damage.key for damage in seen.damaged))):
            raise StoreError(f"The store {store.uri} has no artifact whose key begins with {prefix}; see `store ls`.")
    yield from damaged
    for artifact in wanted:
        yield _verified(store, artifact)


def _verified(store: Store, artifact: Artifact) -> Artifact | Damage:
    if isinstance(credible := _credible(artifact), Damage):
        return credible
    made = artifact.manifest
    for name in made.files:
        what = f"read {name} of {artifact.name}"
        got = store.patiently(what, lambda name=name: store.backend.describe_file(made, name))
        try:
            refuse_difference(made, name, got, artifact.where)
        except DamagedArtifact as error:
            return Damage(made.stage, made.key, str(error))
    return artifact


def _credible(artifact: Artifact) -> Artifact | Damage:
    """The artifact, or its damage if its manifest cannot be true."""
    made = artifact.manifest
    if (problem := made.problem) is None:
        return artifact
    return Damage(made.stage, made.key, str(damaged_manifest(made.stage, made.key, artifact.where, problem)))


def _is_wanted(key: str, prefixes: list[str]) -> bool:
    return not prefixes or key.startswith(tuple(prefixes))


def _described(identity: Mapping[str, Any]) -> dict[str, Any]:
    both = {**identity.get("config", {}), **identity}
    return {name: both[name] for name in DESCRIBING if name in both}


def _group(name: str) -> str:
    top, _, rest = name.partition("/")
    if top == "files":  # S3: files/<stage>/...
        return rest.partition("/")[0]
    if top in {"checkpoints", "damaged"} or top not in RESERVED:
        return top
    return "half-written" if top == "tmp" else "other"
