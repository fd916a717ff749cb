from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.trainers.gan.tiny_runs import tiny
from trainers.gan.config import GANConfig
from trainers.gan.schedule import Phase, phase_at


def test_defaults_are_the_papers_run() -> None:
    config = GANConfig()
    assert config.total_images == 3_000_000 * config.batch_size
    assert config.resolutions() == [4, 8, 16, 32, 64, 128, 256]
    assert config.growth_kimg == 12 * 600


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 48}, "resolution\n.*got 48; allowed: a power of two"),
        ({"initial_resolution": 32}, "initial_resolution: got 32; allowed: up to 16"),
        ({"widths": (8, 8)}, "widths: got 2 values; 16 pixels need 3"),
        ({"total_kimg": 0.1}, "total_kimg: got 0.1, but growing to 16 pixels takes 0.12"),
        ({"fade_kimg_at": {32: 1.0}}, "fade_kimg_at: got 32: 1.0"),
        ({"stable_kimg_at": {8: -1.0}}, "stable_kimg_at: got 8: -1.0"),
        ({"variant": "cpgan"}, "variant"),
        ({"variant": "image2image", "resolution": 8}, "allowed for image2image: 16 or more"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learn_rate": 0.1}, "learn_rate"),
    ],
)
def test_impossible_configs_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        tiny(**changes)


def test_the_schedule_by_hand() -> None:
    config = tiny(stable_kimg_at={4: 0.01}, fade_kimg_at={16: 0.05})
    expected = {
        0: Phase(4, 1.0),
        9: Phase(4, 1.0),
        10: Phase(8, 0.0),
        25: Phase(8, 0.5),
        40: Phase(8, 1.0),
        69: Phase(8, 1.0),
        70: Phase(16, 0.0),
        95: Phase(16, 0.5),
        120: Phase(16, 1.0),
        10**6: Phase(16, 1.0),
    }
    assert [phase_at(config, images).resolution for images in expected] == [p.resolution for p in expected.values()]
    assert [phase_at(config, images).alpha for images in expected] == pytest.approx(
        [phase.alpha for phase in expected.values()]
    )


@given(
    st.floats(0, 3),
    st.floats(0, 3),
    st.dictionaries(st.sampled_from([8, 32]), st.floats(0, 2)),
    st.sampled_from([4, 8]),
)
def test_the_schedule_is_continuous(fade: float, stable: float, fades: dict[int, float], first: int) -> None:
    config = GANConfig(
        resolution=32,
        initial_resolution=first,
        fade_kimg=fade,
        stable_kimg=stable,
        fade_kimg_at={r: f for r, f in fades.items() if r >= first},
    )
    phases = [phase_at(config, images) for images in range(0, 22_000, 50)]
    assert phases[-1] == Phase(32, 1.0)
    for before, after in pairwise(phases):
        assert after.resolution >= before.resolution
        if after.resolution == before.resolution:
            assert after.alpha >= before.alpha
    for resolution in config.resolutions()[1:]:
        if config.fade_length(resolution) > 0.1:
            assert min(phase.alpha for phase in phases if phase.resolution == resolution) <= 0.5


def test_image2image_does_not_grow() -> None:
    assert phase_at(tiny(variant="image2image"), 0) == Phase(16, 1.0)
