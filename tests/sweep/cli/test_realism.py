"""`metsweep realism` on what the other commands made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sweep.cli import main
from tests.sweep.cli.conftest import Metsweep
from tests.trainers.disc_slices import make_slice_set
from trainers.data.slice_set import open_slice_set, write_slice_set
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.realism.config import RealismConfig
from trainers.evaluation.realism.realism import realism
from trainers.evaluation.realism.report import read_realism


@pytest.fixture(scope="module")
def brief(fidelity: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny fidelity with little to draw and to embed."""
    settings = yaml.safe_load(fidelity.read_text())
    settings["realism"] = {
        "slices": 12, "patches": 4, "projections": 8, "pairs": 8, "placements": 2, "permutations": 100, "embedded": 8,
        "iterations": 250, "kid_subsets": 3,
    }  # fmt: skip
    settings["evaluation"] = {"confidence": 0.2, "froc_confidence": 0.2, "bootstraps": 100}
    path = tmp_path_factory.mktemp("brief") / "brief.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture(scope="module")
def detector(slices: Path, brief: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("detectors") / "detector"
    assert main(["train", "detector", str(slices), "--out", str(out), "--fidelity", str(brief)]) == 0
    return out


@pytest.fixture(scope="module")
def synthetic(slices: Path, gan: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two sets, called `few` and `many`."""
    folder = tmp_path_factory.mktemp("drawn")
    for name, count in (("few", 4), ("many", 14)):
        drawn = ["synthesize", str(gan), str(slices), "--out", str(folder / name), "--count", str(count)]
        assert main(drawn) == 0
    return folder / "few", folder / "many"


def test_table_pictures_and_verdict(
    metsweep: Metsweep, slices: Path, detector: Path, synthetic: tuple[Path, Path], brief: Path
) -> None:
    _, many = synthetic
    command = ("realism", many, "--slices", slices, "--detector", detector, "--fidelity", brief)
    ended = metsweep(*command, "--out", "realism")
    assert ended.code == 0, ended.err
    assert "held-out real" in ended.out
    assert "wavelet: kernel distance (KID)" in ended.out
    assert "box recall, IoU 0.5" in ended.out
    # One patient in each split: no division of them is unlikely.
    assert "Patient leakage of many: undetermined (too few patients)." in ended.out
    assert "perplexity" in ended.out
    pictures = {path.name for path in Path("realism/figures").iterdir()}
    assert pictures == {"tsne.png", "nearest.png", "distances.png", "box_fidelity.png"}
    report = json.loads(Path("realism/realism.json").read_text())
    assert report["synthetic"]["many"]["slices"] == 12
    assert report["compared_slices"] <= report["held_out"]["slices"]

    assert metsweep(*command, "--out", "again").code == 0
    assert Path("again/realism.json").read_text() == Path("realism/realism.json").read_text()


def test_what_a_search_optimises_says_nothing_of_test_patients(
    slices: Path, detector: Path, synthetic: tuple[Path, Path], brief: Path, tmp_path: Path
) -> None:
    drawn, real = open_slice_set(synthetic[1]), open_slice_set(slices)
    settings = yaml.safe_load(brief.read_text())
    config, evaluation = RealismConfig(**settings["realism"]), EvaluationConfig(**settings["evaluation"])
    images = real.images.copy()
    tested = (real.slices["split"] == "test").to_numpy()
    images[tested] = 255 - images[tested]
    write_slice_set(tmp_path / "others", images, real.slices, real.boxes, real.meta)
    reports = []
    for place in (slices, tmp_path / "others"):
        out, slice_set = tmp_path / f"of_{place.name}", open_slice_set(place)
        cpu = torch.device("cpu")
        realism({"many": [drawn]}, slice_set, detector, config, evaluation, out, lambda *_: None, cpu)
        reports.append(read_realism(out))
    before, after = reports
    assert before.real != after.real
    one, other = before.synthetic["many"], after.synthetic["many"]
    assert one.features != other.features, "so a kernel distance is no objective"
    assert one.sliced_wasserstein == other.sliced_wasserstein
    assert {iou: at.conditioned for iou, at in one.box_fidelity.items()} == {
        iou: at.conditioned for iou, at in other.box_fidelity.items()
    }


def test_several_sets_are_drawn_together(
    metsweep: Metsweep, slices: Path, detector: Path, synthetic: tuple[Path, Path], brief: Path, tmp_path: Path
) -> None:
    _, many = synthetic
    other = tmp_path / "other"
    other.symlink_to(many)
    both = ("realism", many, "--slices", slices, "--detector", detector, "--fidelity", brief, "--out", "realism")
    ended = metsweep(both[0], other, *both[1:])
    assert ended.code == 2
    assert "names a folder twice" in ended.err
    other.unlink()
    make_slice_set(other, {"train": 12}, synthetic=True)
    ended = metsweep(both[0], other, *both[1:])
    assert ended.code == 0, ended.err
    report = json.loads(Path("realism/realism.json").read_text())
    assert set(report["synthetic"]) == {"other", "many"}
    assert {"tsne.png", "nearest_other.png", "nearest_many.png"} <= {p.name for p in Path("realism/figures").iterdir()}


def test_refusals_come_before_work_and_say_what_to_do(
    metsweep: Metsweep, slices: Path, detector: Path, synthetic: tuple[Path, Path], brief: Path, tmp_path: Path
) -> None:
    few, many = synthetic
    half_real = make_slice_set(tmp_path / "half", {"train": 12})
    drawn = make_slice_set(tmp_path / "drawn", {"train": 12}, synthetic=True)
    mixed = tmp_path / "mixed"
    train = ("train", "detector", slices, "--synthetic", many, "--count", 4, "--out", mixed, "--fidelity", brief)
    assert metsweep(*train).code == 0

    def refused(*synthetic: Path, told: str, **changes: object) -> None:
        options = {"slices": slices, "detector": detector, "fidelity": brief} | changes
        pairs = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        ended = metsweep("realism", *synthetic, *pairs, "--out", "realism")
        assert ended.code == 2, ended.out
        assert told in ended.err
        assert "Traceback" not in ended.err
        assert not list(Path.cwd().iterdir())

    refused(few, told="4 synthetic slices; needed: 10 or more")
    refused(slices, told="holds real slices; needed: synthetic ones")
    refused(drawn.path, told="needed: at least 2 slices and a box", slices=half_real.path)
    refused(many, told="was trained with 4 synthetic slices", detector=mixed)
    refused(many, told="is not a trained detector", detector=slices)
    refused(many, told="is not a slice set", slices=detector)
    refused(many, told="got 'inception'; allowed: detector, wavelet, pixels", set='realism.extractors=["inception"]')
    refused(many, told="nowhere:features' cannot be imported", set="realism.memorisation_extractor=nowhere:features")
    refused(many, told="allowed here are the keys realism.*", set="gan.seed=1")
    refused(many, told="realism.slices", set="realism.slices=3")


def test_synthetic_slices_of_another_size_are_refused(
    metsweep: Metsweep, slices: Path, detector: Path, brief: Path, tmp_path: Path
) -> None:
    drawn = make_slice_set(tmp_path / "drawn", {"train": 12}, synthetic=True)
    wide = np.zeros((len(drawn.images), 64, 64), dtype=np.uint8)
    write_slice_set(tmp_path / "wide", wide, drawn.slices, drawn.boxes, {})
    ended = metsweep(
        "realism", tmp_path / "wide", "--slices", slices, "--detector", detector, "--fidelity", brief, "--out", "out"
    )
    assert ended.code == 2
    assert "synthetic slices are 64 x 64 pixels" in ended.err
    assert "allowed: equal" in ended.err
