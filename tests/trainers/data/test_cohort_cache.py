from __future__ import annotations

import os
from pathlib import Path

import pytest

from search_spaces.study import Study
from sweep.plan.plan import make_trial_maker
from tests.trainers.data.phantom import make_cohort
from trainers.data import cohort_cache
from trainers.exceptions import CohortError


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("METSWEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cohort_cache, "YOUNG_S", 0.0)  # no program can set back when a file was changed
    folder = make_cohort(tmp_path / "cohort", mask=True)
    return Study.model_validate(
        {"name": "known", "cohort": str(folder), "fidelity": "laptop", "arms": [{"variant": "none"}]}
    )


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files of cohorts that were read, in order."""
    read: list[Path] = []
    original = cohort_cache.file_digest
    monkeypatch.setattr(cohort_cache, "file_digest", lambda path, volume: read.append(path) or original(path, volume))
    return read


def key(study: Study, verify: bool = False) -> str:
    return make_trial_maker(study, verify).slices.key


def damage(study: Study, keep_time: bool) -> None:
    """Turn a bit of a volume."""
    path = Path(study.cohort) / "P001" / "t1c.nii.gz"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_has_not_changed_is_read_once(study: Study, files_read: list[Path]) -> None:
    first = key(study)
    assert len(files_read) == 7
    assert key(study) == first
    assert len(files_read) == 7


def test_what_has_changed_is_read_again(study: Study, files_read: list[Path]) -> None:
    key(study)
    damage(study, keep_time=False)
    with pytest.raises(CohortError, match="is damaged"):
        key(study)
    assert len(files_read) == 8


def test_a_file_that_went_meanwhile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"gone\.nii: cannot be read \(No such file"):
        cohort_cache.CohortCache(tmp_path / "cache").digest(tmp_path / "gone.nii", volume=True)


def test_what_has_changed_under_its_old_time_stamp_is_read_again(study: Study) -> None:
    key(study)
    damage(study, keep_time=True)
    with pytest.raises(CohortError, match="is damaged"):
        key(study)


def test_verify_believes_no_cache(study: Study, files_read: list[Path]) -> None:
    first = key(study)
    assert key(study, verify=True) == first
    assert len(files_read) == 14


@pytest.mark.parametrize("content", [b"", b"{", b'{"digests": 1}', b"\xff"])
def test_a_damaged_cache_is_no_cache(study: Study, files_read: list[Path], tmp_path: Path, content: bytes) -> None:
    first = key(study)
    (tmp_path / "cache" / "cohorts.json").write_bytes(content)
    assert key(study) == first
    assert len(files_read) == 14


def test_a_cache_that_cannot_be_written_is_no_cache(study: Study, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert key(study)


def test_a_file_of_this_second_is_not_remembered(
    study: Study, files_read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    key(study)
    monkeypatch.setattr(cohort_cache, "YOUNG_S", 60.0)
    os.utime(Path(study.cohort) / "P001" / "t1c.nii.gz", ns=(0, 0))
    key(study)
    key(study)
    assert len(files_read) == 9


def test_a_digest_with_a_turned_bit_is_not_believed(study: Study, files_read: list[Path], tmp_path: Path) -> None:
    first = key(study)
    cache = tmp_path / "cache" / "cohorts.json"
    content = bytearray(cache.read_bytes())
    at = content.index(b'":["') + 4
    content[at] = ord("0") if content[at] != ord("0") else ord("1")
    cache.write_bytes(content)
    assert key(study) == first
    assert len(files_read) == 14


def test_to_verify_forgets_no_other_cohort(study: Study, files_read: list[Path], tmp_path: Path) -> None:
    other = make_cohort(tmp_path / "other", patients=4)
    others = study.model_copy(update={"cohort": str(other)})
    key(study)
    key(others)
    key(study, verify=True)
    read = len(files_read)
    key(others)
    assert len(files_read) == read
