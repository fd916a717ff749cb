"""Cohorts, the demo cohort, slice sets and conditioning images."""

import sys
from importlib import import_module

if "pydicom" not in sys.modules:
    # nibabel imports it wherever it is installed, a quarter of a second in each command, for header extensions that
    # nobody here reads.
    sys.modules["pydicom"] = None  # pyright: ignore[reportArgumentType]
    import_module("nibabel.nifti1")
    del sys.modules["pydicom"]
