"""A study of four arms and two GANs, made by the real trainers within seconds."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from search_spaces.study import Study, Variant
from sweep.plan import Plan, Trial
from sweep.stages import DetectorStage, EvaluateStage, GANStage, PrepareStage, Stage, SynthesizeStage
from sweep.store import Cost, Store
from tests.trainers.disc_slices import SIZE, make_slice_set, tiny_config
from trainers.checkpoints import FolderCheckpoints
from trainers.distributed import InProcessContext

ARMS: tuple[tuple[Variant, int], ...] = (("none", 0), ("cpggan", 4), ("cpggan", 8), ("image2image", 4))
SHARD = 4


def small_plan(name: str = "small", seeds: tuple[int, ...] = (0,), **changes: Any) -> Plan:
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
    study = Study.model_validate({**values, **changes})
    prepared = PrepareStage(study.prepare, cohort=Path("discs"), fingerprint="discs")
    trials = []
    for variant, count in ARMS:
        shards: tuple[SynthesizeStage, ...] = ()
        if variant == "cpggan" or variant == "image2image":
            gan = GANStage(study.gan_for(variant), prepared, study.resources.gan)
            shards = tuple(SynthesizeStage(study.synthesis, gan, shard) for shard in range(count // SHARD))
        for seed in seeds:
            config = study.detector.model_copy(update={"seed": seed})
            detector = DetectorStage(config, prepared, shards, count, study.resources.detector)
            trials.append(Trial(variant, count, seed, EvaluateStage(study.evaluation, detector)))
    return Plan(study, tuple(trials))


def make(stage: Stage, store: Store) -> None:
    """Run one stage in this process and publish it; the slices of `prepare` are discs on noise."""
    inputs = {name: store.local / one.name / one.key for name, one in stage.inputs.items()}
    started = time.time()
    with store.writing(stage.name, stage.key) as folder, tempfile.TemporaryDirectory() as scratch:
        if isinstance(stage, PrepareStage):
            make_slice_set(folder, {"train": 12, "validation": 4, "test": 4})
        else:
            stage.run(
                inputs, folder, InProcessContext(FolderCheckpoints(Path(scratch) / "checkpoints"), lambda *_: None)
            )
        cost = Cost(requested=started - 2, started=started, finished=time.time(), peak_memory_bytes=10**8, host="here")
        store.publish(folder, stage.name, stage.key, stage.identity, cost)
