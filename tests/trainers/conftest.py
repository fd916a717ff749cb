from __future__ import annotations

import pytest

from tests.trainers.disc_slices import make_slice_set
from trainers.data.slice_set import SliceSet


@pytest.fixture(scope="session")
def discs(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """24 training, 8 validation and 8 test slices with a disc each."""
    return make_slice_set(tmp_path_factory.mktemp("discs"), {"train": 24, "validation": 8, "test": 8})


@pytest.fixture(scope="session")
def synthetic_discs(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    """10 slices (the last without a disc) of another seed."""
    return make_slice_set(tmp_path_factory.mktemp("synthetic"), {"train": 9}, seed=1, synthetic=True)
