"""A cluster that grows from its head alone for a launch, and shrinks to it afterwards; Ray's own simulated nodes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.engine.growth import CPUS, NODES
from tests.integration.survival import PATIENCE_S, Home, RayHead
from tests.sweep import conftest

pytestmark = pytest.mark.slow
empty_database = conftest.empty_database

HEAD_ID = "f" * 51 + "00000"
"""The name that the simulation gives the head."""
IDLE_S = 3
LABELS = f"{NODES}=1,{CPUS}=2"


@pytest.fixture
def head(tmp_path: Path) -> Iterator[RayHead]:
    """A head without CPUs, whose autoscaler may add one node of two."""
    scaling = tmp_path / "scaling.json"
    environment = {
        "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1", "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID, "RAY_NODE_TYPE_NAME": "ray.head.default",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }  # fmt: skip
    head = RayHead(0, environment, (f"--autoscaling-config={scaling}", f"--labels={LABELS}"))
    types = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 1},
    }
    provider = {
        "type": "external", "module": "tests.services.patient_ray.PatientNodes",
        "gcs_address": head.address, "head_node_id": HEAD_ID, "launch_multiple": True, "disable_node_updaters": True,
    }  # fmt: skip
    commands = ("setup", "head_setup", "worker_setup", "initialization", "head_start_ray", "worker_start_ray")
    config = {
        "cluster_name": "simulated", "max_workers": 1, "idle_timeout_minutes": IDLE_S / 60, "provider": provider,
        "head_node_type": "ray.head.default", "available_node_types": types, "auth": {}, "file_mounts": {},
        "cluster_synced_files": [], **{f"{name}_commands": [] for name in commands},
    }  # fmt: skip
    scaling.write_text(json.dumps(config))
    head.start()
    yield head
    head.close()


def test_the_cluster_grows_for_a_launch_and_shrinks_to_its_head(
    head: RayHead, tmp_path: Path, empty_database: Path
) -> None:
    home = Home(tmp_path, head.address)
    shutil.copy(empty_database, home.folder)
    home.pace(gan=1, detector=1)
    home.finish()
    assert len(home.table()["figures"]) == len(home.counts)
    deadline = time.monotonic() + PATIENCE_S
    while len(head.family("raylet/raylet")) > 1:
        assert time.monotonic() < deadline, "the idle node stays"
        time.sleep(0.5)
