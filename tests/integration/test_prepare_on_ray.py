"""The volumes of a cohort are prepared as Ray tasks on all nodes, while their stage holds all CPUs of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.multiprocessing.spawn import spawn

from sweep.engine.cluster import LOCAL_ENVIRONMENT, RAY_ENVIRONMENT
from sweep.stages import PrepareStage
from sweep.stages.volumes_on_ray import prepare_on_ray
from tests.trainers.data.phantom import SHAPE, make_cohort, save
from trainers.checkpoints import FolderCheckpoints
from trainers.data.cohort import open_cohort
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.slice_set import open_slice_set
from trainers.data.volume_tasks import content_of, plan_volumes
from trainers.distributed import Context, Placement
from trainers.exceptions import ClusterError

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
VOLUMES = 6
CONFIG = PrepareConfig(size=32, on_error="drop")


def run(_: int, folder: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster
    from ray.util.state import list_tasks

    from tests.services.patient_ray import be_patient

    os.environ |= RAY_ENVIRONMENT | LOCAL_ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    small: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 100_000_000}
    be_patient()
    cluster = Cluster(True, head_node_args={**small, "include_dashboard": True})
    ray.init(cluster.address, log_to_driver=False)
    cohort = open_cohort(folder / "cohort")
    stage = PrepareStage(CONFIG, cohort=cohort.folder, fingerprint=content_of(cohort, CONFIG))

    @ray.remote(num_cpus=stage.resources.cpus_per_worker)
    def prepare_all(name: str) -> tuple[str, list[tuple[int, int]]]:
        os.environ["METSWEEP_CACHE"] = str(folder / f"cache of {name}")
        progress: list[tuple[int, int]] = []
        checkpoints = FolderCheckpoints(folder / "checkpoints")
        context = Context(Placement.alone(), checkpoints, lambda done, total, _: progress.append((done, total)))
        stage.run({}, folder / name, context)
        return ray.get_runtime_context().get_node_id(), progress

    try:
        for name in ("alone", "two nodes"):
            node, progress = ray.get(prepare_all.remote(name))
            assert progress == [(done, VOLUMES) for done in range(1, VOLUMES + 1)]
            if name == "alone":
                cluster.add_node(**small)
                cluster.wait_for_nodes()
        states = [vars(state) for state in list_tasks(address=str(cluster.address), limit=100)]
        nodes = [state["node_id"] for state in states if state["name"].startswith("prepare P")]
        assert len(nodes) == 2 * VOLUMES
        assert set(nodes) - {node}
        task = plan_volumes(cohort, CONFIG).tasks[0]
        with pytest.raises(ClusterError, match=r"^\S+ would strip skulls with deepbet 1.* prepared with deepbet 0\."):
            list(prepare_on_ray([replace(task, program="deepbet 0")], CONFIG))
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_volumes_are_prepared_while_their_stage_holds_all_cpus_and_on_all_nodes(tmp_path: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", patients=VOLUMES - 1)
    save(folder / "P005" / "t1c.nii.gz", np.full(SHAPE, 7.0))
    # A second Ray in the process of the other tests loses its controller before it starts.
    spawn(run, (tmp_path,))
    prepare(open_cohort(folder), CONFIG, tmp_path / "here", lambda *_: None)
    for made in ("alone", "two nodes"):
        for name in ("images.npy", "slices.parquet", "boxes.parquet", "meta.json"):
            assert (tmp_path / made / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert [entry["patient_id"] for entry in open_slice_set(tmp_path / "alone").meta["dropped"]] == ["P005"]
