"""Loads models and lets each predict on its input example: `python -m sweep.models.gate MODEL_URI...`.

Run in a process of its own, it shows that a model needs nothing but the registry and an installed metsweep.
"""

from __future__ import annotations

import sys
import tempfile

import numpy as np
import pandas as pd

from sweep.models.packaging import BOX


def check(model_uri: str) -> None:
    """Load one model and predict once.

    Raises:
        ValueError: the model has no input example, or its output does not fit its signature.
    """
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory(prefix="metsweep-") as copy:
        # MLflow writes a note beside the files that it loads: the copy keeps the model unchanged.
        model = mlflow.pyfunc.load_model(model_uri, dst_path=copy)
        example = model.input_example
        if example is None:
            raise ValueError(f"{model_uri} has no input example to predict on.")
        output = model.predict(example)
    if isinstance(output, pd.DataFrame):
        promised = model.metadata.get_output_schema()
        good = promised is not None and list(output.columns) == promised.input_names()
        # Voxels and millimetres are NaN: the example holds slices, which have no position in the world.
        good = good and bool(np.isfinite(output[["slice", *BOX, "confidence"]].to_numpy(dtype=np.float64)).all())
    else:
        good = output.dtype == np.uint8 and output.ndim == 3 and len(output) == int(example["slice"].max()) + 1
    if not good:
        got = " ".join(repr(output).split())  # promotion shows the last line of the error
        raise ValueError(f"{model_uri} predicted something that does not fit its signature: {got}")


if __name__ == "__main__":
    for uri in sys.argv[1:]:
        check(uri)
