from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

# Tests run in more processes than there are cores; and sums, to the last bit, depend on how many threads share them.
torch.set_num_threads(1)

LONGEST_FIRST = (
    "integration/test_hosts.py",
    "integration/test_survives.py", "integration/test_survives_ends.py", "integration/test_survives_kill.py",
    "integration/test_services_fail.py", "integration/test_tracking_outage.py",
    "integration/test_stack.py", "integration/test_gan_workers.py", "integration/test_secrets.py",
    "integration/test_submit.py", "integration/test_detector_workers.py", "sweep/test_execution.py",
    "integration/test_optuna_dashboard.py",
    "integration/test_placement.py", "sweep/test_registry.py", "sweep/cli/test_by_hand.py", "sweep/test_taken_over.py",
    "sweep/cli/test_walk_through.py", "sweep/store/test_lease.py", "trainers/data/test_demo.py",
    "trainers/detector/test_detector_training.py",
    "sweep/store/test_housekeeping.py", "sweep/store/test_trouble.py", "trainers/gan/test_training.py",
    "trainers/evaluation/realism/test_registration.py", "sweep/test_tracking.py", "sweep/test_tracking_delivery.py",
    "sweep/test_registry_gates.py", "sweep/test_models.py", "trainers/detector/test_detector_workers.py",
    "sweep/cli/test_registry.py", "sweep/cli/test_score.py", "sweep/test_search.py", "trainers/data/test_prepare.py",
)  # fmt: skip
"""A process takes a file at a time, and a long one that is begun last keeps all others waiting."""


PLACES = ("METSWEEP_STORE", "MLFLOW_TRACKING_URI", "OPTUNA_STORAGE", "RAY_ADDRESS")
"""Variables that say where metsweep's services are."""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing that an earlier version of the code made of a volume may be found."""
    os.environ["METSWEEP_CACHE"] = str(tmp_path_factory.getbasetemp() / "cache")


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """A command puts its settings into the environment, and so does MLflow, where the next test would find them."""
    for name in PLACES:
        os.environ.pop(name, None)
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
    boto3: Any = sys.modules.get("boto3")
    if boto3:
        boto3.DEFAULT_SESSION = None  # it keeps the keys that it first found in the environment; MLflow takes it


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        if config.option.markexpr == "gpu":
            raise pytest.UsageError(
                f"No GPU: torch {torch.__version__} sees no CUDA device, so nothing was tested. `nvidia-smi` shows "
                "whether the machine has one and which CUDA its driver supports; torch must be built for that."
            )
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("gpu")])
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    tests = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path.relative_to(tests).as_posix(), len(places)))
