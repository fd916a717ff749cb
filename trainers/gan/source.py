"""A record beside a GAN of what it learnt from, so that other slices and its own teacher are recognised later."""

from __future__ import annotations

import hashlib
from pathlib import Path

from trainers.config import Config
from trainers.data.slice_set import SliceSet
from trainers.documents import parsed
from trainers.exceptions import TrainingError

SOURCE_FILE = "source.json"
META_KEY = "learnt_from"


class GANSource(Config):
    """Fingerprints of what a GAN was trained with."""

    slices: str
    """Of the slice set (`SliceSet.fingerprint`)."""
    detector: str | None = None
    """SHA-256 of the weights of the detector that taught it; None without one."""


def write_source(out: Path, slices: SliceSet, detector: Path | None) -> None:
    """Write `source.json` into a GAN's folder: the slice set and the folder of the detector that it learnt from."""
    source = GANSource(slices=slices.fingerprint, detector=detector and _weights_of(detector))
    (out / SOURCE_FILE).write_text(source.model_dump_json(indent=2))


def read_source(gan_dir: Path) -> GANSource | None:
    """What a GAN learnt from, TrainingError if `source.json` is damaged; None if the folder has no such record."""
    file = gan_dir / SOURCE_FILE
    if not file.is_file():
        return None
    return parsed(file.read_bytes(), GANSource, file, TrainingError, "Copy the whole folder again.")


def check_slices(source: GANSource, owner: Path, slices: SliceSet) -> None:
    """Raise TrainingError unless a slice set is the one of the GAN; `owner`: its folder, or that of its slices."""
    if slices.fingerprint != source.slices:
        raise TrainingError(
            f"{slices.path} (fingerprint {slices.fingerprint[:12]}) is not the slice set that the GAN of {owner} was "
            f"trained on ({source.slices[:12]}). Name the folder of that slice set, or train a GAN on {slices.path}."
        )


def check_judges(synthetic: SliceSet, slices: SliceSet, detector: Path) -> None:
    """Refuse to judge synthetic slices by other patients' slices, or by the detector that taught their GAN.

    Slices without a record of what their GAN learnt from pass.

    Raises:
        TrainingError: says which of the two does not fit.
    """
    recorded = synthetic.meta.get(META_KEY)
    if recorded is None:
        return
    source = GANSource.model_validate(recorded)
    check_slices(source, synthetic.path, slices)
    if source.detector is not None and (detector / "model.pt").is_file() and _weights_of(detector) == source.detector:
        raise TrainingError(
            f"{detector} is the detector that taught the GAN of {synthetic.path}, so its judgement would be biased. "
            "Allowed: another detector of real slices, e.g. `metsweep train detector SLICES --set detector.seed=1`."
        )


def _weights_of(detector: Path) -> str:
    with (detector / "model.pt").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
