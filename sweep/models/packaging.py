"""Writes trained networks as MLflow models, with signature and input example."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from trainers.data.slice_set import SliceSet
from trainers.data.volume import SliceConfig

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

LICENCE = "AGPL-3.0-or-later"
LICENCE_TAG = {"license": LICENCE}
"""Of models and versions, by the key that MLflow and its users search for."""
BOX = ("x0", "y0", "x1", "y1")
CODE = Path(__file__).parent


def save_detector(
    detector_dir: Path, slices: SliceSet, config: SliceConfig, confidence: float, out: Path, model: Model
) -> None:
    """Write the detector in `detector_dir` as a pyfunc model into the new folder `out`.

    Args:
        detector_dir: what `train_detector` wrote.
        slices: the slice set it was trained on; its first validation slice becomes the input example.
        config: how those slices were made; kept beside the weights, so that new volumes are prepared the same way.
        confidence: default of the model's parameter of that name: the threshold of the study's figures.
        model: MLflow's description of the model, which this completes.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    from sweep.detect import MODEL_COLUMNS, SLICES_FILE

    first, *others = MODEL_COLUMNS
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.uint8), (-1, config.size, config.size))]),
        Schema([ColSpec("long", first), *(ColSpec("double", name) for name in others)]),
        ParamSchema([ParamSpec("confidence", "double", confidence), ParamSpec("stripped", "boolean", None)]),
    )
    # No schema describes "a tensor or a path", and MLflow would refuse the path. So the model checks its input itself:
    # with this flag MLflow checks parameters alone.
    signature._is_signature_from_type_hint = True
    example = np.array(slices.images[slices.indices("validation")[:1]])
    with tempfile.TemporaryDirectory(prefix="metsweep-") as folder:
        made_so = Path(folder) / SLICES_FILE
        made_so.write_text(config.model_dump_json(include=set(SliceConfig.model_fields), indent=2))
        files = {"config": detector_dir / "config.json", "weights": detector_dir / "model.pt", "slices": made_so}
        _save("detector_model.py", files, signature, example, out, model)


def save_generator(gan_dir: Path, slices: SliceSet, out: Path, model: Model) -> None:
    """Write the generator in `gan_dir` as a pyfunc model into the new folder `out`.

    Args:
        gan_dir: what `train_gan` wrote.
        slices: the slice set it was trained on; the boxes of an annotated training slice become the input example.
        model: MLflow's description of the model, which this completes.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    signature = ModelSignature(
        Schema([ColSpec("long", "slice"), *(ColSpec("double", name) for name in BOX)]),
        Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1))]),
        ParamSchema([ParamSpec("seed", "long", 0)]),
    )
    boxes = slices.boxes_by_slice()
    first = next(boxes[row] for row in slices.indices("train", "tumour") if len(boxes[row]))
    example = pd.DataFrame(first.astype(np.float64), columns=list(BOX))
    example.insert(0, "slice", np.zeros(len(first), np.int64))
    files = {"config": gan_dir / "config.json", "weights": gan_dir / "generator.pt"}
    _save("generator_model.py", files, signature, example, out, model)


def _save(
    code: str, files: Mapping[str, Path], signature: ModelSignature, example: Any, out: Path, model: Model
) -> None:
    import mlflow.pyfunc

    mlflow.pyfunc.save_model(
        out,
        python_model=CODE / code,
        artifacts={name: str(path) for name, path in files.items()},
        signature=signature,
        input_example=example,
        # Given, because finding them out would load the model in another process.
        pip_requirements=[f"metsweep=={version('metsweep')}"],
        metadata=dict(LICENCE_TAG),  # MLflow may add to it
        mlflow_model=model,
    )
