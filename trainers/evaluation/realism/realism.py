"""Realism and safety figures of GANs: synthetic slices against real ones, and real against real as the yardstick."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from trainers.data.slice_set import SliceSet
from trainers.detector.prediction import Detector, load_detector, predict
from trainers.distributed import OnProgress
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import truth_of
from trainers.evaluation.outcome import iou_text
from trainers.evaluation.realism import figures
from trainers.evaluation.realism.box_fidelity import box_fidelity
from trainers.evaluation.realism.config import RealismConfig
from trainers.evaluation.realism.distances import frechet_distance, kernel_distance, overlap
from trainers.evaluation.realism.embedding import embed, tumour_crops
from trainers.evaluation.realism.extractor import common_scale, make_extractor
from trainers.evaluation.realism.inputs import (
    LoadedSlices,
    check_detector,
    check_real,
    real_slices,
    shuffled,
    synthetic_slices,
    tumour_rows,
)
from trainers.evaluation.realism.memorisation import Memorisation, RealSlices, examine, nearest_training_slices
from trainers.evaluation.realism.registration import aligned_distances, normalised
from trainers.evaluation.realism.report import FILE
from trainers.evaluation.realism.similarity import draw_pairs, likeness, sliced_wasserstein


def realism(
    synthetic: Mapping[str, Sequence[SliceSet]],
    slices: SliceSet,
    detector_dir: Path,
    config: RealismConfig,
    evaluation: EvaluationConfig,
    out: Path,
    on_progress: OnProgress,
    device: torch.device,
) -> None:
    """Compare the synthetic slices of one or several GANs with real ones, into the folder `out`.

    Writes `realism.json` and `figures/*.png`. Training slices are those with tumours of the training split; held-out
    slices are those of the validation and the test split, whose patients no GAN has seen. `real` in the file compares
    held-out slices with training slices: what slices of new patients would score. Both sides of every comparison have
    equally many slices (`compared_slices`), because most figures depend on that number.

    Args:
        synthetic: name of the GAN -> its shards in order; the first `config.slices` slices are read.
        slices: the slice set that the GANs were trained on.
        detector_dir: what `train_detector` wrote, trained on real slices only.
        evaluation: confidence and IoU thresholds of box fidelity; number and seed of its resamples.

    Raises:
        SliceSetError: slices of another size, real slices given as synthetic, too few slices, no held-out patients.
        TrainingError: no detector, one of another size, or one that was trained with synthetic slices.
        ConfigError: no such extractor, or one that gives no features.
    """
    sets = {name: synthetic_slices(shards, slices, config.slices) for name, shards in synthetic.items()}
    training, held_out = (real_slices(slices, splits) for splits in (("train",), ("validation", "test")))
    check_real(slices, training, held_out)
    check_detector(detector_dir, slices)
    detector = load_detector(detector_dir, device)
    compare = _Comparison(training, held_out, detector, config, min(map(len, [held_out, *sets.values()])))
    (out / "figures").mkdir(parents=True, exist_ok=True)

    steps = 2 + 3 * len(sets)
    done = 0

    def step(**metrics: float) -> None:
        nonlocal done
        done += 1
        on_progress(done, steps, metrics)

    report: dict[str, Any] = {
        "settings": config.model_dump(mode="json"),
        "compared_slices": compare.count,
        "training": {"slices": len(training), "patients": len(set(training.patients))},
        "held_out": {"slices": len(held_out), "patients": len(set(held_out.patients))},
        "real": compare.with_training(held_out) | {"ms_ssim": compare.likeness_of_patients(training)},
        "synthetic": {},
    }
    step()
    real_truth = truth_of(slices, "test", tumour_rows(slices, ("validation", "test")))
    on_real = predict(detector, held_out.images, evaluation.confidence, evaluation.batch)
    for name, drawn in sets.items():
        compared = {**compare.with_training(drawn), "ms_ssim": compare.likeness_of_slices(drawn)}
        step(sliced_wasserstein=compared["sliced_wasserstein"])
        found_boxes = predict(detector, drawn.images, evaluation.confidence, evaluation.batch)
        fidelity = box_fidelity(
            found_boxes, drawn.images, drawn.boxes, on_real, real_truth, evaluation, config.placements, config.seed
        )
        step()
        memorised, pictures = _memorisation(compare, drawn)
        report["synthetic"][name] = {
            "slices": len(drawn),
            **compared,
            "box_fidelity": {iou: asdict(at_iou) for iou, at_iou in fidelity.items()},
            "memorisation": asdict(memorised),
        }
        pictures["box_fidelity"] = figures.box_figure(fidelity, {iou: f"IoU {iou_text(iou)}" for iou in fidelity})
        for kind, figure in pictures.items():
            label = f"{kind}_{_file_name(name)}" if len(sets) > 1 else kind
            figure.savefig(out / "figures" / f"{label}.png", dpi=120)
        step(p=memorised.p)
    embedded = _embeddings(compare, sets, config, out / "figures" / "tsne.png")
    report["notes"] = [*_notes(report), *embedded]
    (out / FILE).write_text(json.dumps(report, indent=2))
    step()


class _Comparison:
    """The real slices, their features, and everything that is compared with them."""

    def __init__(
        self, training: LoadedSlices, held_out: LoadedSlices, detector: Detector, config: RealismConfig, count: int
    ) -> None:
        draw = np.random.default_rng([config.seed, 0])
        self.config = config
        self.training, self.held_out = (shuffled(split, draw) for split in (training, held_out))
        self.count = min(config.slices, len(training), count)
        self._memorisation_extract = make_extractor(config.memorisation_extractor, detector, config.batch)
        self._extract = {name: make_extractor(name, detector, config.batch) for name in config.extractors}
        self._features = {
            name: [extract(split.images) for split in (self.training, self.held_out)]
            for name, extract in self._extract.items()
        }
        real = np.concatenate([self.training.images, self.held_out.images])
        self._aligned = self._memorisation_extract(normalised(real))
        self.real = RealSlices(
            aligned_distances(real, self._aligned, self._memorisation_extract),
            np.concatenate([self.training.patients, self.held_out.patients]),
            np.arange(len(real)) >= len(self.training),
        )

    def with_training(self, others: LoadedSlices) -> dict[str, Any]:
        """Figures of other slices against training slices, equally many."""
        others = shuffled(others, np.random.default_rng([self.config.seed, 6])).first(self.count)
        config = self.config
        wasserstein = sliced_wasserstein(
            self.training.images[: self.count], others.images, config.patches, config.projections, config.seed
        )
        return {
            "features": {name: self._distances(name, others) for name in config.extractors},
            "sliced_wasserstein": wasserstein,
        }

    def likeness_of_slices(self, slices: LoadedSlices) -> dict[str, float]:
        """MS-SSIM of pairs of different slices."""
        each = np.arange(len(slices))
        return asdict(likeness(slices.images, draw_pairs(each, self.config.pairs, self.config.seed), each))

    def likeness_of_patients(self, slices: LoadedSlices) -> dict[str, float] | None:
        """MS-SSIM of pairs of slices of different patients; None with a single patient."""
        if len(set(slices.patients)) < 2:
            return None
        pairs = draw_pairs(slices.patients, self.config.pairs, self.config.seed)
        return asdict(likeness(slices.images, pairs, slices.patients))

    def distances_to_real(self, slices: LoadedSlices) -> np.ndarray:
        """Of other slices to all real ones, measured like those between real ones."""
        return aligned_distances(slices.images, self._aligned, self._memorisation_extract)

    def _distances(self, extractor: str, others: LoadedSlices) -> dict[str, Any]:
        config = self.config
        real, _, other = common_scale([*self._features[extractor], self._extract[extractor](others.images)])
        real = real[: self.count]
        kid = kernel_distance(real, other, config.kid_subset, config.kid_subsets, config.seed)
        covers = overlap(real, other, config.precision_neighbours, config.density_neighbours)
        return {"kid": asdict(kid), "fid": frechet_distance(real, other), **asdict(covers)}


def _memorisation(compare: _Comparison, drawn: LoadedSlices) -> tuple[Memorisation, dict[str, Figure]]:
    real, to_real = compare.real, compare.distances_to_real(drawn)
    result = examine(real, to_real, compare.config.permutations, compare.config.seed)
    nearest, distances = nearest_training_slices(real, to_real)
    closest = np.argsort(distances, kind="stable")[: figures.PAIRS_SHOWN]
    pairs = figures.nearest_figure(
        drawn.images[closest],
        compare.training.images[nearest[closest]],
        distances[closest],
        compare.training.patients[nearest[closest]],
        result.close_distance,
    )
    return result, {"nearest": pairs, "distances": figures.distances_figure(real, to_real, result.close_distance)}


def _embeddings(compare: _Comparison, sets: Mapping[str, LoadedSlices], config: RealismConfig, path: Path) -> list[str]:
    groups = {"real": compare.training, **sets}
    images = {
        f"tumours, {config.crop_size} x {config.crop_size}": [
            _crops(slices, config.embedded, config.crop_size) for slices in groups.values()
        ],
        "slices": [slices.images[: config.embedded] for slices in groups.values()],
    }
    panels, notes = {}, []
    for title, parts in images.items():
        places, done = embed(parts, config.perplexity, config.iterations, config.seed)
        panels[title] = (dict(zip(groups, places, strict=True)), done)
        notes.append(f"{title}: {done}.")
    figures.embedding_figure(panels).savefig(path, dpi=120)
    return notes


def _crops(slices: LoadedSlices, count: int, size: int) -> np.ndarray:
    """The first `count` tumour crops; enough slices are read for them, no more."""
    needed = int(np.searchsorted(np.cumsum([len(boxes) for boxes in slices.boxes]), count)) + 1
    first = slices.first(needed)
    return tumour_crops(first.images, first.boxes, size)[:count]


def _notes(report: Mapping[str, Any]) -> list[str]:
    notes = [
        f"FID in features of {name} is left out: {report['compared_slices']} slices per side are fewer "
        "than features + 1."
        for name, figures in report["real"]["features"].items()
        if figures["fid"] is None
    ]
    counts = {name: figures["slices"] for name, figures in report["synthetic"].items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count:,}" for name, count in counts.items())
        notes.append(
            f"The sets differ in size ({listed}); distances and covers of every set are figures of "
            f"{report['compared_slices']:,} slices per side, the most that all of them and both real sides have."
        )
    if report["real"]["ms_ssim"] is None:
        notes.append("MS-SSIM of real slices is left out: the training split holds one patient.")
    return notes


def _file_name(name: str) -> str:
    return "".join(character if character.isalnum() or character in "+-_" else "_" for character in name)
