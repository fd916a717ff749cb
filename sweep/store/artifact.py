"""A complete artifact, and how its files are checked before anything reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sweep.store.backend import Backend
from sweep.store.manifest import Manifest, StoredFile, first_difference
from sweep.store.patience import PATIENCE_S, patiently
from trainers.exceptions import StoreError

_verified: dict[tuple[str, str, str, str], Path] = {}
"""Store, stage, key and publication of what this process has checked -> its folder."""


class DamagedArtifact(StoreError):  # noqa: N818
    """The files of an artifact differ from its manifest, or the manifest cannot be read."""


@dataclass(frozen=True)
class Artifact:
    """A complete artifact; reading its files checks them, and copies them to this machine if needed."""

    manifest: Manifest
    backend: Backend
    patience_s: float = PATIENCE_S

    @property
    def path(self) -> Path:
        """Folder of this machine with all files, each checked against size and SHA-256 once per process.

        Raises:
            DamagedArtifact: the store's copy of a file differs from the manifest; a local copy is fetched again.
        """
        made = self.manifest
        identity = (self.backend.uri, made.stage, made.key, made.publication)
        if identity not in _verified:
            _verified[identity] = patiently(
                f"read {self.name}", lambda: self.backend.copy_here(self.manifest), self.patience_s
            )
        return _verified[identity]

    def path_to_read(self, *names: str) -> Path:
        """As `path`, but at once where files are large: these files are checked as there, all others by their size."""
        made = self.manifest
        here = self.backend.local / made.stage / made.key
        sized = all(
            (here / name).is_file() and (here / name).stat().st_size == file.size for name, file in made.files.items()
        )
        checked = {name: made.files[name] for name in names if name in made.files}
        return here if sized and first_difference(here, checked) is None else self.path

    def text(self, name: str) -> str:
        """Content of one file, checked.

        Raises:
            DamagedArtifact: the file differs from the manifest.
            StoreError: the artifact has no such file.
        """
        if name not in self.manifest.files:
            raise StoreError(f"{self.name} has no file {name}; it has {', '.join(self.manifest.files)}.")
        content = patiently(
            f"read {name} of {self.name}", lambda: self.backend.read_file(self.manifest, name), self.patience_s
        )
        refuse_difference(self.manifest, name, StoredFile.of(content) if content is not None else None, self.where)
        assert content is not None, "refused above"
        return content.decode()

    @property
    def name(self) -> str:
        """The artifact's name in messages."""
        return f"artifact {self.manifest.stage} {self.manifest.key[:12]}"

    @property
    def where(self) -> str:
        """The artifact's place in messages."""
        return self.backend.where(self.manifest.stage, self.manifest.key)


def damaged(what: str, key: str) -> DamagedArtifact:
    """The error for an artifact of a key: `what` is damaged, a clause, and what to do about that."""
    return DamagedArtifact(
        f"{what}. Run `metsweep store verify {key[:12]} --repair`, which sets the artifact aside; the next launch "
        "makes it again."
    )


def damaged_manifest(stage: str, key: str, where: str, problem: str) -> DamagedArtifact:
    """The error for an artifact whose manifest cannot be true."""
    return damaged(f"The manifest of artifact {stage} {key} at {where} is damaged ({problem})", key)


def refuse_difference(manifest: Manifest, name: str, got: StoredFile | None, where: str) -> None:
    """Raise DamagedArtifact if a file differs from the manifest."""
    expected, stage, key = manifest.files[name], manifest.stage, manifest.key
    if got != expected:
        difference = f"{name} should be {expected}, got {got or 'no such file'}"
        raise damaged(f"Artifact {stage} {key} is damaged at {where}: {difference}", key)


def refuse_damaged(folder: Path, manifest: Manifest, where: str) -> None:
    """Raise DamagedArtifact for the first file in a folder that differs from the manifest."""
    if difference := first_difference(folder, manifest.files):
        refuse_difference(manifest, *difference, where)
