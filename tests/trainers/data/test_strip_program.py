"""Programs beside metsweep strip skulls; what they made is not taken for the work of another version."""

from __future__ import annotations

import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.study import Study
from sweep.plan.plan import make_trial_maker
from tests.trainers.data.phantom import make_cohort
from trainers.data.cohort import open_cohort
from trainers.data.cohort_cache import CohortCache
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig, prepare_or_reason
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.data.strip_config import StripConfig
from trainers.data.strip_program import strip_program
from trainers.data.volume_tasks import plan_volumes
from trainers.exceptions import ClusterError, CohortError

HD_BET = PrepareConfig(size=64, strip=StripConfig(method="hd-bet"), on_error="drop")
SYNTHSTRIP = PrepareConfig(size=64, strip=StripConfig(method="synthstrip"))
WRITE_HD_BET = "assert '--save_bet_mask' in sys.argv; mask.to_filename('brain_bet.nii.gz')"
WRITE_SYNTHSTRIP = "mask.to_filename(sys.argv[sys.argv.index('-m') + 1])"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which commands are found."""
    monkeypatch.setenv("PATH", str(tmp_path / "env" / "bin"))
    monkeypatch.delenv("FREESURFER_HOME", raising=False)
    return tmp_path / "env" / "bin"


def command(folder: Path, name: str, last: str) -> None:
    """A program that writes as brain what is above 10, where the real one would write its mask."""
    lines = [
        f"#!{sys.executable}",
        "import sys, nibabel, numpy as np",
        "head = nibabel.load(sys.argv[sys.argv.index('-i') + 1])",
        "mask = nibabel.Nifti1Image((np.asarray(head.dataobj) > 10).astype('uint8'), head.affine)",
        last,
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines))
    (folder / name).chmod(stat.S_IRWXU)


def install(folder: Path, version: str) -> None:
    """What pip writes beside the command hd-bet."""
    packages = folder.parent / "lib" / "python3.11" / "site-packages"
    for older in packages.glob("hd_bet-*"):
        for file in older.iterdir():
            file.unlink()
        older.rmdir()
    info = packages / f"hd_bet-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: hd_bet\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[console_scripts]\nhd-bet = HD_BET.entry_point:main\n")


def prepared(folder: Path, config: PrepareConfig, out: str) -> SliceSet:
    cache = CohortCache(folder.parent / "cache")
    prepare(open_cohort(folder), config, folder.parent / out, lambda *_: None, cache=cache)
    return open_slice_set(folder.parent / out)


def test_a_command_strips_and_is_named(tmp_path: Path, programs: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", stripped=False)
    with pytest.raises(CohortError, match=r"strip\.method is 'hd-bet', but its command \(hd-bet\) is not on the PATH"):
        prepared(folder, HD_BET, "none")
    assert not (tmp_path / "none").exists()
    command(programs, "hd-bet", WRITE_HD_BET)
    install(programs, "2.0.1")
    first = prepared(folder, HD_BET, "first").meta["volumes"]
    assert first["P000/t1c.nii.gz"]["strip"] == {
        "method": "hd-bet", "program": "hd_bet 2.0.1", "parts": 1, "symmetry": 1.0
    }  # fmt: skip
    assert first["P001/t1c.nii.gz"]["strip"]["method"] == "none"
    command(programs, "hd-bet", f"mask.dataobj[:20] = 0; {WRITE_HD_BET}")
    assert prepared(folder, HD_BET, "again").meta["volumes"] == first, "of one version, nothing is made anew"
    install(programs, "2.1.0")
    upgraded = prepared(folder, HD_BET, "upgraded").meta["volumes"]["P000/t1c.nii.gz"]
    assert upgraded["strip"]["program"] == "hd_bet 2.1.0"
    assert upgraded["brain_ml"] < 0.9 * first["P000/t1c.nii.gz"]["brain_ml"]


def test_synthstrip_strips_or_says_what_it_said(tmp_path: Path, programs: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", stripped=False)
    command(programs, "nipreps-synthstrip", WRITE_SYNTHSTRIP)
    assert prepared(folder, SYNTHSTRIP, "synthstrip").meta["volumes"]["P000/t1c.nii.gz"]["brain_ml"] > 1000
    command(programs, "mri_synthstrip", "sys.exit('no weights')")
    with pytest.raises(CohortError, match=r"synthstrip ended with exit code 1 and no mask: no weights"):
        prepared(folder, SYNTHSTRIP, "fails")


def test_a_program_of_no_package_is_told_by_its_content(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(programs, "mri_synthstrip", "1")
    first = strip_program(SYNTHSTRIP.strip)
    assert first.startswith("mri_synthstrip ")
    command(programs, "mri_synthstrip", "2")
    other = strip_program(SYNTHSTRIP.strip)
    assert other != first
    monkeypatch.setenv("FREESURFER_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    told = []
    for weights in (b"old", b"newer"):
        (tmp_path / "models" / "synthstrip.1.pt").write_bytes(weights)
        told.append(strip_program(SYNTHSTRIP.strip))
    assert all(program.startswith(f"{other}, synthstrip.1.pt ") for program in told)
    assert told[0] != told[1]
    assert strip_program(StripConfig()).startswith("deepbet 1.")


def test_a_machine_with_another_version_is_no_reason_to_drop_a_volume(tmp_path: Path, programs: Path) -> None:
    folder = make_cohort(tmp_path / "cohort", stripped=False)
    command(programs, "hd-bet", WRITE_HD_BET)
    install(programs, "2.0.1")
    task = plan_volumes(open_cohort(folder), HD_BET).tasks[0]
    with pytest.raises(ClusterError, match=r"would strip skulls with hd_bet 2\.0\.1, but .* prepared with hd_bet 2\.0"):
        prepare_or_reason(replace(task, program="hd_bet 2.0"), HD_BET)
    (programs / "hd-bet").unlink()
    with pytest.raises(CohortError, match="Install it on every machine"):
        prepare_or_reason(task, HD_BET)


def test_the_version_of_a_command_decides_the_key_of_slices(tmp_path: Path, programs: Path) -> None:
    command(programs, "hd-bet", WRITE_HD_BET)
    folder = make_cohort(tmp_path / "cohort")

    def identity(method: str) -> dict[str, str]:
        study = {"name": "s", "cohort": str(folder), "fidelity": "laptop", "arms": [{"variant": "none"}]}
        study |= {"prepare": {"strip": {"method": method}}}
        return make_trial_maker(Study.model_validate(study)).slices.extra_identity()

    install(programs, "2.0.1")
    assert identity("hd-bet")["strip_program"] == "hd_bet 2.0.1"
    install(programs, "2.1.0")
    assert identity("hd-bet")["strip_program"] == "hd_bet 2.1.0"
    assert identity("deepbet").keys() == {"cohort"}
