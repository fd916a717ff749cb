"""A store without its damaged artifacts: pages list those, and show the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dashboards.web.pages import shown
from sweep.stages import EvaluateStage, GANStage, RealismStage
from sweep.store import Artifact, DamagedArtifact, Store
from trainers.evaluation.metrics_file import METRICS_FILE

Read = Callable[[Artifact], object]


def whole(artifact: Artifact) -> object:
    """Reads all files."""
    return artifact.path


READS: Mapping[str, Read] = {
    EvaluateStage.name: lambda artifact: artifact.text(METRICS_FILE),
    GANStage.name: lambda artifact: artifact.text("history.jsonl"),
    RealismStage.name: whole,
}
"""Stage -> reads the files of its artifact that a study's page begins with; DamagedArtifact if they are damaged."""


class SoundStore(Store):
    """A store whose damaged artifacts count as missing; files that `READS` leaves out are not checked."""

    def __init__(self, uri: str, patience_s: float) -> None:
        super().__init__(uri, patience_s)
        self._sound: set[tuple[str, Read]] = set()
        self._damage: dict[str, tuple[str, str]] = {}

    @property
    def damage(self) -> Mapping[str, str]:
        """Stage key -> what is wrong with its artifact, as far as it was read."""
        return {key: problem for key, (_, problem) in self._damage.copy().items()}

    def opened(self, stage: str, key: str, content: bytes) -> Artifact | None:
        """As `Store.opened`, with None for a damaged artifact."""
        try:
            artifact = super().opened(stage, key, content)
        except DamagedArtifact as error:
            self._damage[key] = ("", shown(error))
            return None
        return artifact if artifact is not None and self.is_sound(artifact, READS.get(stage)) else None

    def is_sound(self, artifact: Artifact, read: Read | None) -> bool:
        """Whether `read` finds no damage, nor did another read before; None reads nothing."""
        key, publication = artifact.manifest.key, artifact.manifest.publication
        known, _ = self._damage.get(key, (None, ""))
        if known == publication:
            return False
        if known is not None:  # made anew, or its manifest is whole again
            self._damage.pop(key, None)
        if read is None or (publication, read) in self._sound:
            return True
        try:
            read(artifact)
        except DamagedArtifact as error:
            self._damage[key] = (publication, shown(error))
            return False
        self._sound.add((publication, read))
        return True
