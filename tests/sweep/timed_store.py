"""A study of fixed-time stages whose artifacts are made in this process, at no pace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sweep.plan import Plan
from sweep.plan.plan import plan_with
from sweep.stages import Stage
from sweep.store import Store
from tests.sweep.fixed_time import Pace, make_timed_maker, timed_study
from tests.sweep.small_study import make


def timed_plan(folder: Path, **changes: Any) -> Plan:
    """Two arms and one GAN, if `changes` of the study do not say otherwise."""
    (folder / "pace.json").write_text(Pace(gan=0, detector=0).model_dump_json())
    arms = [{"variant": "none"}, {"variant": "cpggan", "counts": [400]}]
    study = timed_study(folder, **{"arms": arms, **changes})
    return plan_with(make_timed_maker(study), study, ())


def fill(store: Store, stages: Iterable[Stage]) -> None:
    """Make what is missing of `stages`, in their order."""
    for stage in stages:
        if store.find(stage.name, stage.key) is None:
            make(stage, store)
