from __future__ import annotations

import pytest
import torch

from tests.trainers.gan.tiny_runs import make_slices
from trainers.data.slice_set import SliceSet


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def slices(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """24 tumour and 8 normal training slices."""
    return make_slices(tmp_path_factory.mktemp("slices"))
