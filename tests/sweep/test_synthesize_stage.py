"""What decides the key of a shard of synthetic slices."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from sweep.plan import Plan
from sweep.stages import GANStage, PrepareStage, SynthesizeStage
from sweep.store import Store
from sweep.tracking.source_content import source_content, stages_after_sources
from tests.sweep.small_study import SHARD, small_plan
from trainers.data.slice_set import open_slice_set
from trainers.distributed import WorkerResources
from trainers.exceptions import ConfigError
from trainers.variants import GANVariant


def stage(review: Path | None = None, number: int = 0, variant: GANVariant = "cpggan") -> SynthesizeStage:
    study = small_plan().study
    prepared = PrepareStage(study.prepare, cohort=Path("discs"), fingerprint="discs")
    config = study.synthesis.model_copy(update={"review": None if review is None else str(review)})
    return SynthesizeStage(config, GANStage(study.gan_for(variant), prepared, WorkerResources()), number)


def write(path: Path, *rows: str, header: str = "slice_id,decision") -> Path:
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def test_content_of_the_list_decides_and_not_its_path(tmp_path: Path) -> None:
    one = stage(write(tmp_path / "one.csv", "synthetic-000001-0,discard", "synthetic-000002-0,keep"))
    same = stage(write(tmp_path / "two.csv", "synthetic-000002-0,keep", "synthetic-000001-0,discard"))
    other = stage(write(tmp_path / "three.csv", "synthetic-000001-0,keep", "synthetic-000002-0,keep"))
    assert one.key == same.key
    assert len({stage().key, one.key, other.key}) == 3
    assert str(tmp_path) not in str(one.identity)


def test_decisions_on_other_shards_and_variants_change_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "synthetic-000005-0,discard")
    assert stage(path).key == stage().key
    assert stage(path, number=1).key != stage(number=1).key
    row = "synthetic-000001-0,discard,image2image-0123456789ab"
    path = write(tmp_path / "list.csv", row, header="slice_id,decision,source")
    assert stage(path).key == stage().key
    assert stage(path, variant="image2image").key != stage(variant="image2image").key


def test_list_travels_with_the_stage(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "synthetic-000001-0,discard")
    planned = stage(path)
    path.unlink()
    arrived: SynthesizeStage = pickle.loads(pickle.dumps(planned))
    assert arrived.key == planned.key
    assert arrived.review.candidates(1, 2) == [1, 2]


def test_bad_list_is_refused_when_the_study_is_planned(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"list\.csv, line 2: decision 'no'"):
        stage(write(tmp_path / "list.csv", "synthetic-000001-0,no"))
    with pytest.raises(ConfigError, match=r"missing\.csv"):
        stage(tmp_path / "missing.csv")


def test_curation_is_in_the_run_of_the_gan(plan: Plan, full_store: Store) -> None:
    shard = next(one for one in plan.stages.values() if isinstance(one, SynthesizeStage))
    content = source_content(shard.gan, stages_after_sources(plan)[shard.gan.key], plan, full_store)
    assert content is not None
    points = {point.name: point.value for part in content.parts if part.name == "synthesize-0" for point in part.points}
    curation = open_slice_set(full_store.local / "synthesize" / shard.key).meta["curation"]
    assert points["gan/discard_rate"] == pytest.approx(1 - SHARD / curation["attempts"])
