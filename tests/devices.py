"""The devices that tests run on."""

from __future__ import annotations

import pytest

GPU = "cuda:0"
DEVICES = ("cpu", pytest.param(GPU, marks=pytest.mark.gpu))
"""For tests that hold on all of them; without a GPU its part is left out."""
