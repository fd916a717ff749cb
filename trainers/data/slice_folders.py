"""Folders of pictures with boxes as YOLO, COCO and nnU-Net lay them out: which pictures they hold, of which split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from trainers.data.drawn import Drawn, OneCategory, read_coco, read_yolo
from trainers.data.layouts.boxes import NO_PICTURES
from trainers.data.layouts.nnunet import INFO, read_info
from trainers.data.mask import components
from trainers.data.pictures import grey
from trainers.data.slice_set import Split
from trainers.documents import MIB, read_json, shown
from trainers.exceptions import SliceSetError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
SPLITS: Mapping[str, Split] = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of folders and files -> split."""
PARTS = ("Tr", "Ts")
"""Of nnU-Net's folders: training and test."""


@dataclass(frozen=True)
class Picture:
    """A picture of a slice."""

    file: Path
    split: Split | None
    """None if the folder does not say."""
    drawn: Drawn
    """Its boxes."""


def pictures_of(form: str, source: Path) -> dict[str, Picture]:
    """Name -> picture of a folder in one of FORMS.

    Raises:
        SliceSetError: no picture, a picture that is listed twice or is missing, or an annotation that cannot be read.
    """
    pictures: dict[str, Picture] = {}
    category = OneCategory(SliceSetError)
    for picture in FORMS[form](source):
        category.add(picture.drawn)
        if (earlier := pictures.setdefault(picture.drawn.image, picture)) is not picture:
            raise SliceSetError(
                f"{earlier.drawn.where} and {picture.drawn.where}: both are one picture; allowed: once."
            )
    if not pictures:
        raise SliceSetError(f"{source}: holds no pictures as {form} lays them out ({EXPECTED[form]}).")
    return pictures


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        raise SliceSetError(f"There is no folder {source}. Correct the path.")
    files = sorted(file for file in source.rglob("*") if file.is_file() and not file.name.startswith("."))
    twice = pd.Series(
        [file.stem for file in files if file.suffix.lower() in PICTURES and "labels" not in _folders(file, source)]
    )
    if twice.duplicated().any():
        raise SliceSetError(
            f"{source}: several pictures are called {twice[twice.duplicated()].iloc[0]!r}; allowed: each name once."
        )
    return files


def _split_of(file: Path, source: Path) -> Split | None:
    """By the folders of a file, or a part of its name."""
    words = [*_folders(file, source), *file.stem.replace("2017", "").replace("-", "_").split("_")]
    return next((SPLITS[word.lower()] for word in words if word.lower() in SPLITS), None)


def _yolo(source: Path) -> Iterator[Picture]:
    """Labels lie in folders `labels`, or beside the pictures; a picture may have none."""
    files = _files(source)
    of_folder = {file: _folders(file, source) for file in files}
    pictures = {
        file.stem: file for file in files if file.suffix.lower() in PICTURES and "labels" not in of_folder[file]
    }
    labels: dict[str, Path] = {}
    for file in (file for file in files if file.suffix.lower() == ".txt"):
        if file.stem in pictures:
            if (earlier := labels.setdefault(file.stem, file)) is not file:
                raise SliceSetError(f"{earlier} and {file} are both labels of the picture {file.stem!r}; allowed: one.")
        elif file.stem.lower() not in NO_PICTURES and ("labels" in of_folder[file] or _holds_boxes(file)):
            raise SliceSetError(f"{file}: there is no picture {file.stem!r} in {source}. Rename one, or add it.")
    for name, file in pictures.items():
        label = labels.get(name)
        empty = Drawn(name, str(file), np.zeros((0, 4)))
        yield Picture(file, _folder_split(file, source), next(read_yolo(label, SliceSetError)) if label else empty)


def _folders(file: Path, source: Path) -> tuple[str, ...]:
    return file.relative_to(source).parts[:-1]


def _holds_boxes(file: Path) -> bool:
    """Whether a text is labels of YOLO, as lists of pictures are not."""
    try:
        return len(next(read_yolo(file, SliceSetError)).boxes) > 0
    except SliceSetError:
        return False


def _folder_split(file: Path, source: Path) -> Split | None:
    return _split_of(file.parent / "_", source)


def _coco(source: Path) -> Iterator[Picture]:
    files = _files(source)
    pictures = {file.stem: file for file in files if file.suffix.lower() in PICTURES}
    for annotation in (file for file in files if file.suffix == ".json"):
        for drawn in read_coco(annotation, SliceSetError):
            if drawn.image not in pictures:
                raise SliceSetError(f"{drawn.where}: its picture {drawn.image!r} is not in {source}. Add it.")
            yield Picture(pictures[drawn.image], _split_of(annotation, source), drawn)


def _nnunet(source: Path) -> Iterator[Picture]:
    """Channel and lesions are those that `dataset.json` names, as for `cohort import nnunet`."""
    if not any((source / f"images{part}").is_dir() for part in PARTS):
        return
    info, fold = read_info(source / INFO, SliceSetError), _fold(source)
    for name, (picture, mask) in _files_of_nnunet(source, f"_{info.channel:04d}").items():
        labels = grey(mask, SliceSetError)
        if unnamed := set(np.unique(labels).tolist()) - info.values - {0}:
            raise SliceSetError(
                f"{mask}: holds the value {min(unnamed)}; allowed: those that {INFO} names, "
                f"{', '.join(map(str, sorted(info.values)))}."
            )
        parts = filter(None, ndimage.find_objects(components(np.isin(labels, info.lesions))))
        rows = [(x.start, y.start, x.stop, y.stop) for y, x in parts]
        boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
        split: Split | None = "test" if mask.parent.name == "labelsTs" else fold.get(name)
        yield Picture(picture, split, Drawn(name, str(mask), boxes, (labels.shape[1], labels.shape[0])))


def _files_of_nnunet(source: Path, channel: str) -> dict[str, tuple[Path, Path]]:
    """Case -> picture of the channel, and mask."""
    cases: dict[str, tuple[Path, Path]] = {}
    for part in PARTS:
        for picture in sorted((source / f"images{part}").glob(f"*{channel}.*")):
            name = picture.stem.removesuffix(channel)
            mask = source / f"labels{part}" / f"{name}{picture.suffix}"
            if not mask.is_file():
                raise SliceSetError(f"{picture}: there is no mask {mask}; needed: one for each picture.")
            if name in cases:
                raise SliceSetError(f"{cases[name][0]} and {picture} are both called {name!r}; allowed: once.")
            cases[name] = picture, mask
        used = {mask for _, mask in cases.values()}
        for mask in sorted((source / f"labels{part}").glob("*.*")):
            if mask not in used and mask.suffix.lower() in PICTURES:
                raise SliceSetError(f"{mask}: there is no picture {mask.stem}{channel} of it in images{part}. Add it.")
    return cases


def _fold(source: Path) -> dict[str, Split]:
    """Case -> split of the first fold."""
    file = source / "splits_final.json"
    if not file.is_file():
        return {}
    folds = read_json(file, SliceSetError, 64 * MIB)
    first = folds[0] if isinstance(folds, list) and folds else None
    if not isinstance(first, dict) or not all(isinstance(first.get(key), list) for key in ("train", "val")):
        raise SliceSetError(f"{file}: is {shown(folds)}; allowed: a list of folds with train and val.")
    return {str(name): SPLITS[key] for key in ("train", "val") for name in first[key]}


FORMS: Mapping[str, Callable[[Path], Iterator[Picture]]] = {"yolo": _yolo, "coco": _coco, "nnunet": _nnunet}
EXPECTED = {
    "yolo": "images/train/NAME.png and labels/train/NAME.txt",
    "coco": "images/train/NAME.png and annotations/instances_train.json",
    "nnunet": "dataset.json, imagesTr/NAME_0000.png and labelsTr/NAME.png",
}
"""Format -> names of its files, for messages."""
