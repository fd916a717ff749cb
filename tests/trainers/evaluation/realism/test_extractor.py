"""Features: one row a slice, of slices alone; crops and their t-SNE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score

from tests.trainers.disc_slices import SIZE, tiny_config
from trainers.detector.model import build_model
from trainers.detector.prediction import Detector
from trainers.evaluation.realism.embedding import embed, tumour_crops
from trainers.evaluation.realism.extractor import common_scale, make_extractor, wavelet_energies
from trainers.exceptions import ConfigError


@pytest.fixture(scope="module")
def detector() -> Detector:
    config = tiny_config()
    return Detector(build_model(config).eval(), config, torch.device("cpu"))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE)).astype(np.uint8)


@pytest.mark.parametrize("name", ["detector", "wavelet", "pixels"])
def test_features_depend_on_the_slice_alone(name: str, detector: Detector, images: np.ndarray) -> None:
    extract = make_extractor(name, detector, batch=2)
    features = extract(images)
    assert features.dtype == np.float32
    assert features.shape[0] == 5
    assert np.ptp(features, axis=0).max() > 0
    assert features[3] == pytest.approx(extract(images[3:4])[0], abs=1e-5)


def test_wavelets_tell_frequency_and_direction() -> None:
    flat = np.full((1, 16, 16), 100, dtype=np.uint8)
    stripes = np.tile(np.array([0, 200], dtype=np.uint8), (1, 16, 8))
    for image, packets in ((flat, {0}), (stripes, {0, 16}), (stripes.transpose(0, 2, 1), {0, 32})):
        energies = wavelet_energies(image)
        assert energies.shape == (1, 64)
        found = set(np.flatnonzero(energies[0] > 1e-6))
        assert len(found) == len(packets)
    assert not np.array_equal(wavelet_energies(stripes), wavelet_energies(stripes.transpose(0, 2, 1)))


def test_common_scale_keeps_proportions() -> None:
    draw = np.random.default_rng(0)
    real = [draw.normal(3, [1, 10], (50, 2)), draw.normal(3, [1, 10], (30, 2))]
    training, held_out, other = common_scale([*real, real[0] + 1])
    both = np.concatenate([training, held_out])
    assert both.mean(axis=0) == pytest.approx([0, 0])
    assert (both**2).mean() == pytest.approx(1)
    step = (other - training)[0]
    assert step == pytest.approx([step[0]] * 2)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("inception", "got 'inception'; allowed: detector, wavelet, pixels or package.module:function"),
        ("no_such_module:features", "cannot be imported"),
        ("math:no_such_function", "cannot be imported"),
        ("math:pi", "is a float, not a function"),
    ],
)
def test_unknown_extractor_is_refused(name: str, told: str, detector: Detector) -> None:
    with pytest.raises(ConfigError, match=told):
        make_extractor(name, detector, 2)


def test_own_extractor_from_the_working_directory(
    detector: Detector, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_features.py").write_text(
        "def brightness(images):\n    return images.mean(axis=(1, 2))[:, None]\n"
        "def wrong(images):\n    return images.mean(axis=(1, 2))\n"
        "def infinite(images):\n    return images.reshape(len(images), -1) / 0.0\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    features = make_extractor("my_features:brightness", detector, 2)(images)
    assert features[:, 0] == pytest.approx(images.mean(axis=(1, 2)))
    for name in ("wrong", "infinite"):
        with np.errstate(all="ignore"), pytest.raises(ConfigError, match=f"my_features:{name}.*one row of finite"):
            make_extractor(f"my_features:{name}", detector, 2)(images)


def test_crops_are_the_boxes_content() -> None:
    images = np.zeros((2, SIZE, SIZE), dtype=np.uint8)
    images[0, 4:12, 8:24] = 200
    boxes = [np.array([[8, 4, 24, 12], [0, 16, 8, 24]], np.float32), np.zeros((0, 4), np.float32)]
    crops = tumour_crops(images, boxes, 32)
    assert crops.shape == (2, 32, 32)
    assert crops[0][2:-2, 2:-2] == pytest.approx(200)
    assert crops[1].max() == 0


def test_embedding_parts_what_differs_and_says_what_it_lowered() -> None:
    draw = np.random.default_rng(0)
    groups = [draw.normal(level, 5, (20, 8, 8)) for level in (50, 200)]
    (dark, bright), said = embed(groups, perplexity=100, iterations=300, seed=0)
    assert dark.shape == bright.shape == (20, 2)
    assert silhouette_score(np.concatenate([dark, bright]), [0] * 20 + [1] * 20) > 0.3
    assert "perplexity 13" in said
    assert "lowered from 100" in said
    assert np.array_equal(embed(groups, 100, 300, 0)[0][0], dark)
    assert "lowered" not in embed(groups, 5, 300, 0)[1]
