"""A study of four arms and two GANs, made by the real trainers within seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from search_spaces.cell import Cell
from search_spaces.study import Study
from sweep.plan import Plan, TrialMaker
from sweep.plan.plan import plan_with
from sweep.stages import PrepareStage, Stage
from sweep.store import Cost, Store
from tests.trainers.disc_slices import SIZE, make_slice_set, tiny_config
from trainers.checkpoints import FolderCheckpoints
from trainers.distributed import Context, Placement

SHARD = 4


def small_study(name: str = "small", seeds: tuple[int, ...] = (0,), **changes: Any) -> Study:
    """`none`, CPGGAN with 4 and 8 synthetic slices, and image-to-image with 4; `changes` are the study's."""
    values = {
        "name": name,
        "cohort": "discs",
        "fidelity": "laptop",
        "arms": [
            {"variant": "none"},
            {"variant": "cpggan", "counts": [4, 8]},
            {"variant": "image2image", "counts": [4]},
        ],
        "seeds": seeds,
        "prepare": {"size": SIZE},
        "gan": {
            "resolution": SIZE, "initial_resolution": 16, "width": 0.02, "latent_size": 8, "total_kimg": 0.016,
            "fade_kimg": 0.004, "stable_kimg": 0.004,
        },
        "synthesis": {"shard_size": SHARD, "batch_size": 4},
        "detector": tiny_config().model_dump(),
        # Drawing all that an untrained network detects would take seconds.
        "evaluation": {"confidence": 0.5, "froc_confidence": 0.3, "bootstraps": 100},
    }  # fmt: skip
    return Study.model_validate({**values, **changes})


def plan_of(study: Study, drawn: Sequence[tuple[int, Cell]] = ()) -> Plan:
    """The plan of a study on discs, with cells that a search has drawn."""
    prepared = PrepareStage(study.prepare, cohort=Path("discs"), fingerprint="discs")
    return plan_with(TrialMaker(study, prepared), study, drawn)


def without_realism(plan: Plan) -> Plan:
    """The plan whose trials judge no GAN, which takes the real trainers seconds."""
    return replace(plan, trials=tuple(replace(trial, realism=None) for trial in plan.trials))


def small_plan(name: str = "small", seeds: tuple[int, ...] = (0,), **changes: Any) -> Plan:
    """The plan of `small_study` without realism."""
    return without_realism(plan_of(small_study(name, seeds, **changes)))


def make(stage: Stage, store: Store, discs: bool = True) -> None:
    """Run one stage in this process and publish it; with `discs` the slices of `prepare` are discs on noise."""
    inputs = {name: store.local / one.name / one.key for name, one in stage.inputs.items()}
    started = time.time()
    with store.writing(stage.name, stage.key) as folder, tempfile.TemporaryDirectory() as scratch:
        if isinstance(stage, PrepareStage) and discs:
            make_slice_set(folder, {"train": 12, "validation": 4, "test": 4})
        else:
            checkpoints = FolderCheckpoints(Path(scratch) / "checkpoints")
            stage.run(inputs, folder, Context(Placement.alone(), checkpoints, lambda *_: None))
        cost = Cost(requested=started - 2, started=started, finished=time.time(), peak_memory_bytes=10**8, host="here")
        store.publish(folder, stage.name, stage.key, stage.identity, cost)
