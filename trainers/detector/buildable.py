"""Whether the library can build the network that a file describes; imports torch only for such a file."""

from __future__ import annotations

from functools import lru_cache

from trainers.detector.config import DetectorConfig
from trainers.exceptions import TrainingError


def why_not_buildable(config: DetectorConfig) -> str | None:
    """Why the network of the config's file cannot be trained; None if it can, or if the model is a name."""
    if isinstance(config.model, str):
        return None
    fields = {"model", "width", "depth", "box_bins", "train_size", "validation_size"}
    return _why_not(config.model_dump_json(include=fields))


@lru_cache(maxsize=64)
def _why_not(fields: str) -> str | None:
    from trainers.detector.model import build_model

    config = DetectorConfig.model_validate_json(fields)
    try:
        stride = int(build_model(config).stride.max())
    except TrainingError as error:
        return str(error)
    sizes = {name: getattr(config, name) for name in ("train_size", "validation_size")}
    uneven = [f"{name} is {size}" for name, size in sizes.items() if size % stride]
    return f"{' and '.join(uneven)}; allowed for this network: multiples of {stride}" if uneven else None
