"""The detector as an MLflow model: slices or a volume in, boxes in pixels and millimetres with confidences out.

MLflow keeps a copy of this file with every model and runs it on loading; weights lie beside it. It needs metsweep
installed and loads no pickle.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from trainers.exceptions import SliceSetError


class DetectorModel(PythonModel):
    """Boxes of tumours on slices or in a volume."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the weights, on a GPU if available."""
        from sweep.detect import slice_config
        from trainers.detector.prediction import load_detector
        from trainers.distributed import Placement

        folder = Path(context.artifacts["config"]).parent
        self._slices = slice_config(folder)
        self._detector = load_detector(folder, Placement.alone().device)

    # MLflow reads the annotation of the input too, and warns whenever it is a union.
    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Detections on slices, or in a volume.

        Args:
            model_input: N x S x S uint8 (as nested lists too), prepared as the detector's training slices were; or the
                path (str or Path) of a NIfTI volume, T1 after contrast, which is then prepared in that way, as
                `metsweep detect` does.
            params: `confidence` leaves out less confident boxes, 0..1; `stripped`: whether the volume shows only the
                brain, None finds out (not used for slices).

        Returns:
            A DataFrame, for both kinds of input with the columns of `sweep.detect.MODEL_COLUMNS`: `slice` (int64: the
            position in the input, or the volume's canonical z index); `x0`, `y0`, `x1`, `y1` (pixels of the prepared
            slice); `i0` to `k1` (voxel edges in the volume's file); `mm_x0` to `mm_z1` (world millimetres, RAS+);
            `confidence`. By slice, then by falling confidence. Slices have no position in the world: their
            voxels and millimetres are NaN.

        Raises:
            SliceSetError: slices of another form, or neither slices nor a path.
            CohortError: the volume cannot be used.
        """
        from sweep.detect import MODEL_COLUMNS, find
        from trainers.detector.prediction import predict

        asked = params or {}
        if isinstance(model_input, (str, os.PathLike)):
            boxes = find(self._detector, Path(model_input), self._slices, asked["confidence"], asked["stripped"]).boxes
            return boxes.rename(columns={"z": "slice"})
        detections = predict(self._detector, slices_of(model_input, self._slices.size), asked["confidence"])
        return detections.reindex(columns=list(MODEL_COLUMNS))


def slices_of(given: object, size: int) -> np.ndarray:
    """The slices that the model was given, N x S x S uint8.

    Raises:
        SliceSetError: the input is something else.
    """
    allowed = (
        f"allowed: slices of `metsweep prepare` as an N x {size} x {size} uint8 array, or the path of a NIfTI volume"
    )
    if not isinstance(given, (np.ndarray, list)):
        raise SliceSetError(f"The detector got a {type(given).__name__}; {allowed}.")
    try:
        slices = np.asarray(given)
    except ValueError as error:
        raise SliceSetError(f"The detector got lists that are no array ({error}); {allowed}.") from None
    if isinstance(given, list) and slices.dtype == np.int64 and ((slices >= 0) & (slices <= 255)).all():
        slices = slices.astype(np.uint8)  # JSON knows no uint8
    if slices.dtype != np.uint8 or slices.ndim != 3 or slices.shape[1:] != (size, size):
        raise SliceSetError(f"The detector got {slices.dtype} of shape {slices.shape}; {allowed}.")
    return slices


set_model(DetectorModel())
