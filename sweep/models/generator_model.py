"""The generator as an MLflow model: conditioning boxes in, synthetic slices out.

MLflow keeps a copy of this file with every model and runs it on loading; weights lie beside it. It needs metsweep
installed and loads no pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from trainers.exceptions import SliceSetError

BATCH = 32
"""Slices made at once."""


class GeneratorModel(PythonModel):
    """Synthetic slices with something at their boxes."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the weights, on a GPU if available."""
        import torch

        from trainers.gan.generator import load_generator

        folder = Path(context.artifacts["config"]).parent
        self._generator = load_generator(folder, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """One synthetic slice for each of the numbers 0 to the largest `slice` of the boxes; N x S x S uint8.

        The input is a DataFrame with a row per box: `slice` and `x0`, `y0`, `x1`, `y1` in pixels of the generator's
        S x S slices. A number without boxes gets an all-black condition. Slice i's noise depends on the parameter
        `seed` and i alone.
        """
        from trainers.data.conditions import conditioning_images
        from trainers.gan.sampling import noise

        size = self._generator.config.resolution
        boxes = boxes_by_slice(model_input, size)
        seed = (params or {})["seed"]
        made = [np.zeros((0, size, size), np.uint8)]
        for start in range(0, len(boxes), BATCH):
            now = boxes[start : start + BATCH]
            shape = self._generator.latent_shape
            latents = np.stack([noise(seed, start + i, shape) for i in range(len(now))])
            made.append(self._generator.sample(conditioning_images(now, size), latents))
        return np.concatenate(made)


def boxes_by_slice(table: pd.DataFrame, size: int) -> list[np.ndarray]:
    """The boxes of each slice from 0 to the largest number, n x 4.

    Raises:
        SliceSetError: a negative slice number, or a box without area within the slice.
    """
    numbers = table["slice"].to_numpy()
    boxes = table[["x0", "y0", "x1", "y1"]].to_numpy(dtype=np.float64)
    inside = np.clip(boxes, 0, size)
    good = (
        (numbers >= 0) & np.isfinite(boxes).all(axis=1) & (inside[:, 0] < inside[:, 2]) & (inside[:, 1] < inside[:, 3])
    )
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise SliceSetError(
            f"Row {row} of the boxes is slice {numbers[row]}, box {boxes[row].tolist()}; allowed: slices from 0, and "
            f"x0 < x1, y0 < y1 within 0 to {size} pixels."
        )
    return [boxes[numbers == number] for number in range(int(numbers.max(initial=-1)) + 1)]


set_model(GeneratorModel())
