"""Which network a detector is: a name, or a file in Ultralytics' form, whose content then belongs to the config.

Imports neither torch nor Ultralytics: configs are read where neither is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, JsonValue, model_validator

from trainers.config import Config, Text
from trainers.documents import KIB, read_text, shown
from trainers.exceptions import ConfigError
from trainers.yaml_text import parse_yaml

PAPER = "yolov3"
NAMES: dict[str, tuple[str, str]] = {
    PAPER: ("v3/yolov3.yaml", ""),
    "yolov3-tiny": ("v3/yolov3-tiny.yaml", ""),
    **{f"yolo11{scale}": ("11/yolo11.yaml", scale) for scale in "nsmlx"},
    "rtdetr-l": ("rt-detr/rtdetr-l.yaml", "l"),
}
"""Name -> the library's own file, in its folder `cfg/models`, and the scale within it."""
DENSE, END_TO_END, QUERIES = "Detect", "v10Detect", "RTDETRDecoder"
"""Last layers: boxes at every point of the feature maps, the same without non-maximum suppression, and queries."""
ALLOWED = f"{', '.join(NAMES)}, or the path of a detection network's YAML file in the form of Ultralytics"
MOST_BYTES, MOST_LAYERS, LARGEST_NUMBER = 64 * KIB, 1000, 2**16
"""Of a file; no detector comes near."""
_SETTINGS = {"nc", "scale", "scales", "depth_multiple", "width_multiple", "activation", "reg_max", "end2end"}
_ACTIVATION = re.compile(r"(torch\.)?nn\.\w+\([\w=., ]*\)")
_SCALE = re.compile(r"\d([nslmx])(?![a-z])")


class NetworkFile(Config):
    """The network that a YAML file describes: the file is read once, with the config that names it."""

    file: Text
    """Name of the file."""
    content: dict[str, JsonValue]
    """What it holds."""

    @model_validator(mode="after")
    def _describes_a_detector(self) -> NetworkFile:
        if unknown := self.content.keys() - _SETTINGS - {"backbone", "head"}:
            allowed = ", ".join(sorted(_SETTINGS))
            raise ValueError(f"{self.file}: {min(unknown)}: unknown key; allowed: backbone, head, {allowed}")
        layers = [layer for part in ("backbone", "head") for layer in _layers(self.file, part, self.content.get(part))]
        if len(layers) > MOST_LAYERS or _largest(self.content) > LARGEST_NUMBER:
            limits = f"up to {MOST_LAYERS} layers and no number above {LARGEST_NUMBER:,}"
            raise ValueError(f"{self.file}: the network is too large; allowed: {limits}")
        if (last := layers[-1][2]) not in (DENSE, END_TO_END, QUERIES):
            heads = f"{DENSE}, {END_TO_END}, {QUERIES}"
            raise ValueError(f"{self.file}: the last layer is {last!r}, which detects no boxes; allowed: {heads}")
        activation = self.content.get("activation")
        if activation is not None and not _ACTIVATION.fullmatch(str(activation)):
            raise ValueError(f"{self.file}: activation is {activation!r}; allowed: the form of nn.SiLU()")
        scale, scales = self.content.get("scale"), self.content.get("scales")
        if scales is not None and (not isinstance(scales, dict) or scale not in scales):
            raise ValueError(f"{self.file}: scales has no {scale!r}; allowed: a mapping of scales")
        return self

    @property
    def head(self) -> str:
        """The last layer."""
        layers: Any = self.content["head"]
        return END_TO_END if self.content.get("end2end") else layers[-1][2]


def _layers(file: str, part: str, layers: Any) -> list[Any]:
    good = isinstance(layers, list) and layers
    for number, layer in enumerate(layers if good else ()):
        of_the_form = isinstance(layer, list) and len(layer) == 4 and isinstance(layer[2], str)
        if not of_the_form or type(layer[1]) is not int or not isinstance(layer[3], list):
            raise ValueError(
                f"{file}: layer {number} of {part} is {shown(layer)}; allowed: [from, repeats, module, arguments]"
            )
    if not good:
        raise ValueError(f"{file}: {part} is missing or no list; allowed: a list of [from, repeats, module, arguments]")
    return layers


def _largest(value: Any) -> float:
    """The largest number within a value."""
    if isinstance(value, Mapping):
        return max(map(_largest, value.values()), default=0.0)
    if isinstance(value, list):
        return max(map(_largest, value), default=0.0)
    return abs(value) if isinstance(value, int | float) else 0.0


def _opened(given: Any) -> Any:
    """The name as it is; for a path, what the file holds."""
    if isinstance(given, NetworkFile) or (isinstance(given, Mapping) and given.keys() == {"file", "content"}):
        return given
    if not isinstance(given, str):
        raise ValueError(f"allowed: {ALLOWED}; got {shown(given)}")
    if given in NAMES:
        return given
    path = Path(given)
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"allowed: {ALLOWED}; got {shown(given)}")
    try:
        text = read_text(path, ConfigError, MOST_BYTES)
    except ConfigError as error:
        raise ValueError(f"{str(error).rstrip('.')}; allowed: {ALLOWED}") from None
    try:
        content, _ = parse_yaml(text, lambda line: f"{path}:{line}")
    except ConfigError as error:
        raise ValueError(str(error).rstrip(".")) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no mapping; allowed: the keys backbone, head and what goes with them")
    scales = content.get("scales")
    if isinstance(scales, dict) and scales and "scale" not in content:
        named = _SCALE.search(path.stem)
        content["scale"] = named[1] if named and named[1] in scales else next(iter(scales))
    return NetworkFile(file=path.name, content=content)


Network = Annotated[str | NetworkFile, BeforeValidator(_opened)]


def head_of(network: str | NetworkFile) -> str:
    """The last layer of a network: DENSE, END_TO_END or QUERIES."""
    if isinstance(network, NetworkFile):
        return network.head
    return QUERIES if network.startswith("rtdetr") else DENSE
