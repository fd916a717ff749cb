"""The training slices that something is drawn into, and the places in them that an attempt at a slice chooses."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainers.data.conditions import box_surroundings, conditioning_images, stands_out
from trainers.data.slice_set import SliceSet
from trainers.detector.dataset import detector_rows
from trainers.pasting.config import PlacesConfig
from trainers.pasting.lesions import Lesion
from trainers.pasting.places import Place, brain_of, find_place, interior_of, jittered


@dataclass(frozen=True)
class Host:
    """A training slice."""

    row: int
    """In the slice set."""
    image: np.ndarray
    """H x W uint8."""
    boxes: np.ndarray
    """n x 4 float32."""


@dataclass(frozen=True)
class Chosen:
    """Where an attempt at a slice draws."""

    host: Host
    places: list[Place]
    """Beside the host's boxes and each other; none where nothing found room."""
    rng: np.random.Generator
    """For what is drawn there: it goes on after the places, which hence do not depend on it."""

    @property
    def boxes(self) -> np.ndarray:
        """n x 4 float32: the host's boxes, then those of the places."""
        return np.concatenate([self.host.boxes, *(place.box[None] for place in self.places)])

    def free(self, place: Place) -> np.ndarray:
        """What a drawing at one of the places may change: the brain without the slice's other boxes; H x W bool."""
        others = self.boxes[(self.boxes != place.box).any(axis=1)]
        return brain_of(self.host.image) & (conditioning_images([others], len(self.host.image))[0] == 0)

    def score(self, pixels: np.ndarray) -> float:
        """How clearly the least visible of what was drawn stands out (`visibility`); 0 where nothing found room.

        The host's own lesions are real, however faint, and are not judged.

        Args:
            pixels: H x W uint8, the host with what was drawn.
        """
        (surroundings,) = box_surroundings(pixels[None], [self.boxes])
        return min((stands_out(inside, ring) for inside, ring in surroundings[len(self.host.boxes) :]), default=0.0)


def hosts_of(slices: SliceSet) -> list[Host]:
    """The slices of the training split that detectors learn from, in order."""
    boxes = slices.boxes_by_slice()
    return [Host(int(row), slices.images[row], boxes[row]) for row in detector_rows(slices, "train")]


def source_name(config: PlacesConfig, seed: int, hosts: Sequence[Host], drawn_by: str = "") -> str:
    """Names what decides the slice behind an attempt's id: the lesions, too, are cut from the hosts.

    Args:
        drawn_by: fingerprint of the network that draws; empty without one.
    """
    digest = hashlib.sha256(" ".join(filter(None, (config.model_dump_json(), str(seed), drawn_by))).encode())
    for host in hosts:
        digest.update(host.image.tobytes() + host.boxes.tobytes() + b";")
    return f"{config.variant}-{digest.hexdigest()[:12]}"


def choose_places(
    hosts: Sequence[Host], lesions: Sequence[Lesion], config: PlacesConfig, seed: int, image: int, number: int
) -> Chosen:
    """The places of attempt `number` at an image, the same for every variant of equal settings.

    Which attempt fills the image depends on what is drawn: the curation of two variants may choose different ones.

    Every random number comes from a generator seeded with (seed, image, number).
    """
    rng = np.random.default_rng([seed, 6, image, number])
    host = hosts[int(rng.integers(len(hosts)))]
    foreign = [lesion for lesion in lesions if lesion.row != host.row]
    places: list[Place] = []
    interior, boxes = interior_of(brain_of(host.image)), host.boxes
    for _ in range(int(rng.integers(1, config.most_lesions + 1))):
        lesion = jittered(foreign[int(rng.integers(len(foreign)))], config, rng)
        place = find_place(lesion, interior, boxes, rng)
        if place is not None:
            places.append(place)
            boxes = np.concatenate([boxes, place.box[None]])
    return Chosen(host, places, rng)
