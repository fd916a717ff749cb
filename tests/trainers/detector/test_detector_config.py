from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainers.detector.config import DetectorConfig


def test_defaults_are_the_papers() -> None:
    config = DetectorConfig()
    assert (config.width, config.depth, config.batch, config.learning_rate) == (1, 1, 64, 1e-3)
    assert (config.train_size, config.validation_size, config.steps) == (416, 608, 240_000)
    assert config.select_from * config.steps == 96_000
    assert (config.selection_confidence, config.selection_iou) == (0.001, 0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("train_size", 100),
        ("steps", 0),
        ("selection_iou", 0),
        ("select_from", 1.5),
        ("final_learning_rate", 1),
        ("lr", 1),
    ],
)
def test_bad_values_and_unknown_keys_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        DetectorConfig.model_validate({field: value})
