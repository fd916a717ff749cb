"""What a cohort holds, before it is prepared and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pandas as pd

from trainers.data.cohort import Cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.kept_lesions import CutLesion
from trainers.data.leaks import Pair, refuse_same
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.quality.outliers import Outlier, outliers
from trainers.data.quality.volume_facts import LEVELS, VolumeFacts, volume_facts
from trainers.data.record import Preparation, read_preparation
from trainers.data.slice_set import SliceSet, Split
from trainers.data.volume_check import check_volume
from trainers.data.volume_tasks import content_of, plan_volumes
from trainers.distributed import OnProgress
from trainers.exceptions import CohortError, SliceSetError

DROPS = PrepareConfig(on_error="drop")
DEEPEST = 10
"""Merges of merged cohorts whose origin is read."""


@dataclass(frozen=True)
class Prepared:
    """The slice set of a cohort."""

    slices: SliceSet
    record: Preparation

    def intensity(self, volume: str) -> np.ndarray | None:
        """LEVELS of the brain's grey levels on the slices of a volume; None if it has no slice."""
        rows = np.flatnonzero(self.slices.slices["volume"] == volume)
        pixels = self.slices.images[rows]
        brain = pixels[pixels > 0]
        return np.percentile(brain, LEVELS) if len(brain) else None

    def picture(self, volume: str, z: int) -> np.ndarray | None:
        """The slice of a volume at a canonical index, S x S uint8; None if it is not in the set."""
        table = self.slices.slices
        rows = np.flatnonzero((table["volume"] == volume) & (table["z"] == z))
        return self.slices.images[rows[0]] if len(rows) else None


@dataclass(frozen=True)
class CohortFacts:
    """A cohort, looked at."""

    cohort: Cohort
    """Of the volumes that can be used, with all splits set."""
    volumes: tuple[VolumeFacts, ...]
    """Of its subjects, in their order."""
    dropped: tuple[tuple[str, str], ...]
    """Scan or volume, and why it is not in the cohort or cannot be used."""
    near_duplicates: tuple[Pair, ...]
    prepared: Prepared | None

    @property
    def cut(self) -> list[tuple[str, CutLesion]]:
        """Volume and lesion of which the strip removes more than a border."""
        if self.prepared is None:
            return []
        volumes = self.prepared.record.volumes
        return [(name, lesion) for name, of in volumes.items() for lesion in of.lesions_cut if lesion.counts]

    @cached_property
    def outliers(self) -> list[Outlier]:
        """What to look at first."""
        noted: dict[str, list[str]] = {}
        for name, lesion in self.cut:
            noted.setdefault(name, []).append(str(lesion))
        if self.prepared is not None:
            for name, reason in self.prepared.record.odd_masks.items():
                noted.setdefault(name, []).append(f"brain mask: {reason}")
            for name, of in self.prepared.record.volumes.items():
                if of.boxes_outside_brain:
                    noted.setdefault(name, []).append(f"boxes outside the brain: {of.boxes_outside_brain}")
        return outliers(self.volumes, noted)

    def counts(self) -> pd.DataFrame:
        """As the paper's section 2.2, a row per split: patients, normals, volumes, slices with and without lesions,
        boxes, lesions. Slices and boxes are those of the slice set, or where none is given of the volumes."""
        rows = {split: self._counts_of(split) for split in get_args(Split)}
        return pd.DataFrame.from_dict(rows, orient="index")

    def _counts_of(self, split: Split) -> dict[str, int]:
        volumes = [facts for facts in self.volumes if facts.subject.split == split]
        patients = {
            kind: len({f.subject.patient_id for f in volumes if f.subject.kind == kind})
            for kind in ("tumour", "normal")
        }
        with_lesions = sum(facts.lesion_slices for facts in volumes)
        counted = {
            "slices with lesions": with_lesions,
            "slices without": sum(facts.shape[2] for facts in volumes) - with_lesions,
            "boxes": sum(len(facts.boxes) for facts in volumes),
        }
        if self.prepared is not None:
            slices, boxes = self.prepared.slices.slices, self.prepared.slices.boxes
            own = slices[slices["split"] == split]
            boxed = own["slice_id"].isin(boxes["slice_id"])
            counted = {
                "slices with lesions": int(boxed.sum()),
                "slices without": int((~boxed).sum()),
                "boxes": int(boxes["slice_id"].isin(own["slice_id"]).sum()),
            }
        return {
            "patients": patients["tumour"],
            "normal subjects": patients["normal"],
            "volumes": len(volumes),
            **counted,
            "lesions": sum(len(facts.lesions) for facts in volumes),
        }


def cohort_facts(
    cohort: Cohort, cache: CohortCache, on_progress: OnProgress, slices: SliceSet | None = None
) -> CohortFacts:
    """Look at every volume of a cohort; those that cannot be used are left out and listed.

    Args:
        slices: what `prepare` made of it.

    Raises:
        CohortError: too few patients, an empty split, or one volume under two patients.
        SliceSetError: the slice set is not one of this cohort as it is now.
    """
    record = None if slices is None else read_preparation(slices)
    config = DROPS if record is None else record.config.model_copy(update={"on_error": "drop"})
    planned = plan_volumes(cohort, config, cache)
    if record is not None and content_of(planned.cohort, record.config, cache.digest) != record.cohort.fingerprint:
        raise SliceSetError(
            f"{slices.path if slices else ''}: was prepared from another cohort than {cohort.folder}, or before it "
            "changed. Prepare it again, or name the cohort that it was made of."
        )
    facts: list[VolumeFacts] = []
    signatures: list[np.ndarray] = []
    broken: dict[str, str] = {}
    for number, task in enumerate(planned.tasks, start=1):
        try:
            signature = check_volume(task, config, cache)
            facts.append(volume_facts(task))
            signatures.append(signature)
        except CohortError as error:
            broken[task.subject.volume] = str(error)
        on_progress(number, len(planned.tasks), {"broken": len(broken)} if broken else {})
    usable = planned.without(broken, config)
    cache.keep()
    pairs = refuse_same(usable.cohort, signatures)
    dropped = dict(_left_out(cohort.origin)) | {v.subject.volume: v.reason for v in usable.left_out}
    if record is not None:
        dropped |= {volume.volume: volume.reason for volume in record.dropped}
    prepared = None if slices is None or record is None else Prepared(slices, record)
    return CohortFacts(usable.cohort, tuple(facts), tuple(dropped.items()), tuple(pairs), prepared)


def _left_out(origin: Mapping[str, Any], depth: int = 0) -> list[tuple[str, str]]:
    """Scans that an import left out, also of cohorts that were merged; an origin has any form."""
    left_out = origin.get("left_out")
    listed = [(str(scan), str(reason)) for scan, reason in left_out.items()] if isinstance(left_out, dict) else []
    merged = origin.get("merged")
    for part in merged if isinstance(merged, list) and depth < DEEPEST else ():
        if isinstance(part, dict) and isinstance(part.get("origin"), dict):
            listed += _left_out(part["origin"], depth + 1)
    return listed
