"""t-SNE of real and synthetic slices, or of their tumours (paper section 2.5, figure 6), computed when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from dashboards.slices.panels import address_of
from dashboards.slices.sets import Indexed, Sets, synthetic_of
from dashboards.slices.studied import Studied
from dashboards.web.recent import Recent
from trainers.evaluation.realism.config import RealismConfig
from trainers.evaluation.realism.embedding import embed, tumour_crops
from trainers.evaluation.realism.inputs import tumour_rows
from trainers.exceptions import ConfigError

KINDS = {"crops": "tumours", "slices": "whole slices"}
"""Value of `of` in the address -> what a point is."""
MOST_SETS = 3
"""Synthetic sets beside the real slices; the paper shows two."""
MOST_KEPT = 8
FEWEST_POINTS = 4
COLUMNS_AT_ONCE = 4096


@dataclass(frozen=True)
class _Group:
    """Images of one origin."""

    source: str
    places: Sequence[tuple[int, Indexed, int]]
    """Of each image: the slice's number in the address, its set and row."""
    pixels: np.ndarray
    """n x ... grey levels."""


class Embeddings:
    """The embeddings that were asked for last; one is computed at a time, and nobody waits for it."""

    def __init__(self, sets: Sets) -> None:
        self._sets = sets
        self._kept: Recent[dict[str, Any]] = Recent(MOST_KEPT)
        self._computing = Lock()

    def points(self, state: Studied, kind: str, names: Sequence[str]) -> dict[str, Any] | None:
        """Where images of the training split and of synthetic sets lie, as values for JSON.

        None if they are not known yet and another embedding is being computed: whoever waited here would hold one of
        the server's threads, and enough of them would stop it.

        Args:
            kind: one of KINDS.
            names: of synthetic sets, at most MOST_SETS.

        Raises:
            ConfigError: an unknown kind or set, too many sets, or too few images.
            MetsweepError: slices are not made yet, or damaged.
        """
        synthetic = synthetic_of(state.plan)
        if kind not in KINDS or not set(names) <= synthetic.keys() or len(names) > MOST_SETS:
            raise ConfigError(
                f"of is {kind!r}, set is {', '.join(map(repr, names))}; allowed: of {' or '.join(KINDS)}, and at most "
                f"{MOST_SETS} of the sets {', '.join(synthetic)}."
            )
        config, names = state.plan.study.realism, [name for name in synthetic if name in names]
        counts = [self._sets.drawn(state.store, synthetic[name]) for name in names]
        keys = [self._sets.real(state.store, state.plan).key, *(synthetic[name].shards[0].key for name in names)]

        def compute() -> dict[str, Any]:
            groups = [self._group(state, name, kind, config) for name in ("train", *names)]
            return _embedded([group for group in groups if len(group.places)], config)

        key = (*keys, *counts, kind, config)
        if (points := self._kept.kept(key)) is not None:
            return points
        if not self._computing.acquire(blocking=False):
            return None
        try:
            return self._kept.get(key, compute)
        finally:
            self._computing.release()

    def _group(self, state: Studied, name: str, kind: str, config: RealismConfig) -> _Group:
        """The first images of a source, as `metsweep realism` takes them."""
        places, images, boxes = [], [], []
        for place in self._slices(state, name, config.seed):
            _, of, row = place
            if len(places) >= config.embedded:
                break
            on_slice = of.boxes(row)
            places += [place] * (len(on_slice) if kind == "crops" else 1)
            images.append(of.slices.images[row])
            boxes.append(on_slice)
        places = places[: config.embedded]
        if not places:
            return _Group(name, [], np.zeros(0))
        pixels = np.stack(images)
        crops = tumour_crops(pixels, boxes, config.crop_size) if kind == "crops" else pixels
        return _Group(name, places, crops[: config.embedded])

    def _slices(self, state: Studied, name: str, seed: int) -> Iterator[tuple[int, Indexed, int]]:
        """Training slices with tumours in random order, or synthetic slices in theirs."""
        if name == "train":
            real = self._sets.real(state.store, state.plan)
            rows = tumour_rows(real.slices, ("train",))
            for row in rows[np.random.default_rng([seed, 0]).permutation(len(rows))].tolist():
                yield row, real, row
            return
        made, number = synthetic_of(state.plan)[name], 0
        for opened in self._sets.shards(state.store, made):
            for row in range(min(len(opened.slices.images), made.count - number)):
                yield number, opened, row
                number += 1


def with_same_distances(images: np.ndarray) -> np.ndarray:
    """At most n coordinates for each of n images, with the same distances between them, which are all that t-SNE sees.

    Whole slices have so many pixels that t-SNE would copy them several times over: 400 MB each for the paper's 1,500.

    Args:
        images: n x ... grey levels.

    Returns:
        n x at most n, float.
    """
    flat = images.reshape(len(images), -1)
    if flat.shape[1] <= len(flat):
        return flat
    products = np.zeros((len(flat), len(flat)))
    for start in range(0, flat.shape[1], COLUMNS_AT_ONCE):
        part = flat[:, start : start + COLUMNS_AT_ONCE].astype(np.float32)
        products += part @ part.T
    means = products.mean(axis=0)
    values, vectors = np.linalg.eigh(products - means - means[:, None] + means.mean())
    return vectors * np.sqrt(np.maximum(values, 0))


def _embedded(groups: Sequence[_Group], config: RealismConfig) -> dict[str, Any]:
    points = sum(len(group.places) for group in groups)
    if points < FEWEST_POINTS:
        raise ConfigError(f"There are {points} images; a t-SNE needs at least {FEWEST_POINTS}.")
    reduced = with_same_distances(np.concatenate([group.pixels for group in groups]))
    parts = np.split(reduced, np.cumsum([len(group.places) for group in groups])[:-1])
    embedded, note = embed(parts, config.perplexity, config.iterations, config.seed)
    return {
        "note": note,
        "groups": [
            {
                "source": group.source,
                "points": np.asarray(at, dtype=np.float64).round(3).tolist(),
                "slices": [number for number, _, _ in group.places],
                "pictures": [address_of(of, row) for _, of, row in group.places],
            }
            for group, at in zip(groups, embedded, strict=True)
        ],
    }
