"""The detector as an MLflow model: slices in, boxes with confidences out.

MLflow keeps a copy of this file with every model and runs it on loading; weights lie beside it. It needs metsweep
installed and loads no pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from trainers.exceptions import SliceSetError


class DetectorModel(PythonModel):
    """Boxes of tumours on slices."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the weights, on a GPU if there is one."""
        import torch

        from trainers.detector.prediction import load_detector

        folder = Path(context.artifacts["config"]).parent
        self._size = json.loads(Path(context.artifacts["slices"]).read_text())["size"]
        self._detector = load_detector(folder, "cuda" if torch.cuda.is_available() else "cpu")

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Detections on N x S x S uint8 slices, prepared as the detector's training slices were.

        Returns a DataFrame: `slice` (position in the input, int64), `x0`, `y0`, `x1`, `y1` (pixels), `confidence`
        (0..1, at least the parameter `confidence`); by slice, then by falling confidence.
        """
        from trainers.detector.prediction import predict

        if model_input.shape[1:] != (self._size, self._size):
            raise SliceSetError(
                f"Got slices of {model_input.shape}; allowed: N x {self._size} x {self._size} of `metsweep prepare`."
            )
        return predict(self._detector, model_input, (params or {})["confidence"])


set_model(DetectorModel())
