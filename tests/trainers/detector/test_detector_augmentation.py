from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.trainers.disc_slices import SIZE, tiny_config
from trainers.data.slice_set import SliceSet
from trainers.detector.config import DetectorConfig
from trainers.detector.dataset import Slices, open_slices
from trainers.detector.model import prepare_library
from trainers.detector.order import Draw, Order

TENSORS = ("img", "bboxes", "cls", "batch_idx")


def batches_of(slices: Slices, config: DetectorConfig, **ranks: Any) -> list[dict[str, torch.Tensor]]:
    prepare_library()
    from trainers.detector.augmentation import SliceDataset, StepBatches

    real = len(slices.rows)
    order = Order(config, real, len(slices) - real)
    loader = StepBatches(SliceDataset(slices, config), order, 0, config.steps, **ranks)
    found = []
    for epoch in range(-(-config.steps // config.evaluate_every)):
        loader.set_epoch(epoch)
        found += list(loader)
    return found


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name in TENSORS:
        assert one[name].dtype == other[name].dtype
        assert torch.equal(one[name], other[name]), name


def library_dataset(folder: Path, slices: Slices, config: DetectorConfig) -> Any:
    """The library's own dataset of the same slices, as PNG and label files."""
    prepare_library()
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset

    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for position, boxes in enumerate(slices.boxes):
        cv2.imwrite(str(folder / "images" / f"{position:04}.png"), np.asarray(slices.image(position)))
        shapes = (
            [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0] if not config.copy_paste else ellipse(x0, y0, x1, y1)
            for x0, y0, x1, y1 in boxes.tolist()
        )
        lines = [f"0 {' '.join(repr(number / SIZE) for number in shape)}\n" for shape in shapes]
        (folder / "labels" / f"{position:04}.txt").write_text("".join(lines))
    names = ("degrees", "translate", "scale", "shear", "flipud", "fliplr", "mosaic", "copy_paste")
    return YOLODataset(
        img_path=str(folder / "images"),
        imgsz=config.train_size,
        hyp=get_cfg(overrides={name: getattr(config, name) for name in names}),
        cache="ram" if config.mosaic else False,  # so that a mosaic takes any slices, not those shown before
        data={"names": {0: "tumour"}, "channels": 1},
    )


def ellipse(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    """The ellipse in a box as x, y, x, y, ..."""
    angles = np.arange(32) * np.pi / 16
    points = np.stack([np.cos(angles) * (x1 - x0) + x0 + x1, np.sin(angles) * (y1 - y0) + y0 + y1], axis=1) / 2
    return points.ravel().tolist()


def test_mosaics_and_pasted_lesions_are_the_librarys(tmp_path: Path, discs: SliceSet) -> None:
    config = tiny_config(batch=8, steps=6, intensity=0, mosaic=0.5, copy_paste=1, degrees=10, shear=3)
    slices = open_slices(discs, "train")
    library = library_dataset(tmp_path, slices, config)
    from trainers.detector.augmentation import seed_augmentation

    order = Order(config, len(slices), 0)
    ours = batches_of(slices, config)
    for step, batch in enumerate(ours):
        items = []
        for draw in order.draws(step):
            seed_augmentation(config.seed, draw)
            items.append(library[draw.position])
        other = library.collate_fn(items)
        assert torch.equal(batch["img"], other["img"])
        assert torch.equal(batch["batch_idx"], other["batch_idx"])
        torch.testing.assert_close(batch["bboxes"], other["bboxes"], rtol=0, atol=1e-5)
    assert sum(len(batch["bboxes"]) for batch in ours) > 1.5 * 48
    # A run that continues shows the same: nothing depends on what was shown before.
    prepare_library()
    from trainers.detector.augmentation import SliceDataset, StepBatches

    later = StepBatches(SliceDataset(slices, config), order, 4, config.steps)
    later.set_epoch(2)
    assert_same(next(iter(later)), ours[4])


@pytest.mark.parametrize(
    "geometry",
    [{}, {"degrees": 20, "shear": 5, "flipud": 0.5, "scale": 0.9}, {"train_size": SIZE, "translate": 0}],
    ids=["defaults", "everything", "no resize"],
)
def test_batches_are_bit_for_bit_the_librarys(
    tmp_path: Path, discs: SliceSet, synthetic_discs: SliceSet, geometry: dict[str, Any]
) -> None:
    config = tiny_config(batch=8, steps=8, evaluate_every=3, intensity=0, **geometry)
    slices = open_slices(discs, "train", [synthetic_discs], 7)
    library = library_dataset(tmp_path, slices, config)
    from trainers.detector.augmentation import seed_augmentation

    ours = batches_of(slices, config)
    order = Order(config, 25, 7)
    targets = 0
    for step, batch in enumerate(ours):
        items = []
        for draw in order.draws(step):
            seed_augmentation(config.seed, draw)
            items.append(library[draw.position])
        assert_same(batch, library.collate_fn(items))
        targets += len(batch["bboxes"])
    assert len(ours) == 8
    assert targets > 40


def test_loader_processes_and_workers_change_nothing(discs: SliceSet, synthetic_discs: SliceSet) -> None:
    config = tiny_config(batch=6, steps=5, evaluate_every=2)
    slices = open_slices(discs, "train", [synthetic_discs], 10)
    alone = batches_of(slices, config)
    for batch, other in zip(alone, batches_of(slices, config, processes=2), strict=True):
        assert_same(batch, other)
    halves = [batches_of(slices, config, rank=rank, world_size=2) for rank in range(2)]
    for whole, first, second in zip(alone, *halves, strict=True):
        assert torch.equal(whole["img"], torch.cat([first["img"], second["img"]]))
        assert torch.equal(whole["bboxes"], torch.cat([first["bboxes"], second["bboxes"]]))


def test_augmentation_is_decided_by_seed_step_and_place(discs: SliceSet) -> None:
    prepare_library()
    from trainers.detector.augmentation import SliceDataset

    slices = open_slices(discs, "train")

    def shown() -> list[torch.Tensor]:
        datasets = [SliceDataset(slices, tiny_config(seed=seed)) for seed in (0, 1)]
        return [dataset[Draw(0, step, place)]["img"] for dataset in datasets for step in (0, 1) for place in (0, 1)]

    first, again = shown(), shown()
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(first, 2))


def test_intensity_is_a_curve_within_its_limits(discs: SliceSet) -> None:
    still = {"fliplr": 0, "translate": 0, "scale": 0}
    slices = open_slices(discs, "train")
    (plain,), (changed,) = (
        batches_of(slices, tiny_config(batch=25, steps=1, intensity=largest, **still)) for largest in (0, 0.3)
    )
    curves = set()
    for before, after in zip(plain["img"].flatten(1).numpy(), changed["img"].flatten(1).numpy(), strict=True):
        levels = np.unique(before)
        curve = [np.unique(after[before == level]) for level in levels]
        assert all(len(values) == 1 for values in curve), "equal pixels stay equal"
        assert (np.diff(np.concatenate(curve).astype(int)) >= 0).all(), "darker pixels stay darker"
        share = levels / 255
        assert (np.concatenate(curve) <= np.ceil(255 * 1.3 * share**0.7)).all()
        assert (np.concatenate(curve) >= np.floor(255 * 0.7 * share**1.3)).all()
        curves.add(tuple(np.concatenate(curve)[-3:]))
    assert len(curves) > 10, "every slice has its own"


def test_boxes_follow_their_lesions(discs: SliceSet) -> None:
    config = tiny_config(batch=24, steps=4, evaluate_every=4, intensity=0.1)
    seen = 0
    for batch in batches_of(open_slices(discs, "train"), config):
        assert batch["img"].shape == (24, 1, 64, 64)
        for box, owner in zip(batch["bboxes"] * 64, batch["batch_idx"].long(), strict=True):
            corners = torch.cat([box[[1, 0]] - box[[3, 2]] / 2, box[[1, 0]] + box[[3, 2]] / 2])
            if corners.min() < 1 or corners.max() > 63:  # a disc cut by the edge is narrower than its box
                continue
            bright = (batch["img"][owner, 0] > 145).nonzero().float() + 0.5
            low, high = bright.amin(0), bright.amax(0)
            assert (torch.cat([low, high]) - corners).abs().max() < 2.5
            seen += 1
    assert seen > 60
