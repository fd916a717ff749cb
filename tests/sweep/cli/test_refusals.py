"""Bad input is refused with one message, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.sweep.cli.conftest import Metsweep
from tests.trainers.data.phantom import make_cohort, read_manifest, write_manifest
from trainers.data.slice_set import open_slice_set, write_slice_set

STUDY: dict[str, Any] = {"name": "own", "cohort": "cohort", "fidelity": "laptop", "arms": [{"variant": "none"}]}


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.fixture
def refused(metsweep: Metsweep):
    """Asserts that a command is refused in one message that holds all of `parts`."""

    def check(*arguments: object, parts: tuple[str, ...]) -> None:
        before = everything(Path.cwd())
        ended = metsweep(*arguments)
        assert ended.code == 2, ended
        assert ended.err.startswith("error: "), ended.err
        assert ended.err.count("error: ") == 1, ended.err
        assert "Traceback" not in ended.err
        for part in parts:
            assert part in ended.err
        assert everything(Path.cwd()) == before

    return check


def own_study(**changes: Any) -> Path:
    path = Path("own.yaml")
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return path


@pytest.mark.parametrize("command", ["plan", "launch", "report", "promote"])
def test_unknown_study(refused, command: str) -> None:
    refused(command, "quickstrat", parts=("'quickstrat'", "Did you mean 'quickstart'?", "table1"))


def test_unknown_fidelity(refused) -> None:
    refused("plan", "quickstart", "--fidelity", "labtop", parts=("'labtop'", "Did you mean 'laptop'?", "paper"))


def test_unknown_key(refused) -> None:
    refused("plan", own_study(detectr={"steps": 3}), parts=("own.yaml", "detectr", "unknown key"))
    refused("plan", "quickstart", "--set", "detector.stepz=3", parts=("detector.stepz", "unknown key", "3"))


def test_setting_of_another_stage(refused, slices: Path) -> None:
    refused(
        "train", "gan", slices, "--out", "gan", "--set", "detector.steps=3",
        parts=("detector.steps=3", "gan.*", "learning_rate"),
    )  # fmt: skip
    refused(
        "train", "gan", slices, "--out", "gan", "--set", "gan.learning_rate=-1",
        parts=("gan.learning_rate", "greater than 0", "-1"),
    )  # fmt: skip


def test_misspelt_variant(refused, slices: Path) -> None:
    refused("plan", own_study(arms=[{"variant": "cpgan", "counts": [4]}]), parts=("arms.0", "cpgan", "image2image"))
    refused("train", "gan", slices, "--out", "gan", "--variant", "cpgan", parts=("gan.variant", "cpgan", "image2image"))


def test_a_gan_without_the_detector_that_it_needs(refused, slices: Path) -> None:
    train = ("train", "gan", slices, "--out", "gan")
    refused(*train, "--variant", "cpggan+detector", parts=("gan.variant is cpggan+detector", "but none is given"))
    refused(*train, "--variant", "cpggan+detector", "--detector", slices, parts=("is not a trained detector",))


def test_negative_count(refused, slices: Path) -> None:
    refused("plan", own_study(arms=[{"variant": "cpggan", "counts": [-4]}]), parts=("arms.0.counts", "-4"))
    refused("synthesize", "gan", slices, "--out", "drawn", "--count", -4, parts=("--count", "-4"))
    refused("train", "detector", slices, "--out", "detector", "--count", -4, parts=("--count", "-4"))


def test_more_synthetic_slices_than_there_are(refused, slices: Path) -> None:
    refused("train", "detector", slices, "--out", "detector", "--count", 7, parts=("7 synthetic", "hold 0"))


def test_real_slices_given_as_synthetic(refused, slices: Path) -> None:
    refused(
        "train", "detector", slices, "--synthetic", slices, "--out", "detector",
        parts=(str(slices), "given as synthetic", "metsweep synthesize"),
    )  # fmt: skip


def test_batch_that_workers_cannot_share(refused, slices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before Ray starts: at that address there is none."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    refused(
        "train", "detector", slices, "--out", "detector", "--workers", 2, "--set", "detector.batch=7",
        parts=("batch is 7 for 2 workers",),
    )  # fmt: skip


def test_a_gan_that_cannot_be_trained_is_refused_before_ray_starts(
    refused, slices: Path, fidelity: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    without = open_slice_set(slices)
    tumour = without.slices.assign(subject_kind="tumour")
    write_slice_set(Path("tumours"), without.images, tumour, without.boxes, {})

    def train(slices: Path, *options: object, parts: tuple[str, ...]) -> None:
        command = ("train", "gan", slices, "--out", "gan", "--fidelity", fidelity, "--workers", 2)
        refused(*command, *options, parts=parts)

    train(slices, "--set", "gan.batch_size=5000", parts=("gan.batch_size is 5000", "allowed: 1 to"))
    train(Path("tumours"), "--variant", "cpggan+normal", parts=("tumours", "0 slices of normal subjects"))
    train(slices, "--variant", "cpggan+detector", parts=("gan.variant is cpggan+detector", "but none is given"))
    train(slices, "--detector", slices, parts=("gan.variant is cpggan, which learns from no detector, but",))


def test_slices_that_the_gan_was_not_trained_on(refused, slices: Path, gan: Path) -> None:
    own = open_slice_set(slices)
    write_slice_set(Path("others"), 255 - own.images, own.slices, own.boxes, {})
    refused(
        "synthesize", gan, "others", "--out", "drawn", "--count", 2,
        parts=("others (fingerprint", "is not the slice set that the GAN of", str(gan), own.fingerprint[:12]),
    )  # fmt: skip


def test_cohorts_that_cannot_be_used(refused) -> None:
    refused("prepare", "nowhere", "--out", "slices", parts=("nowhere", "metsweep cohort demo"))

    write_manifest(Path("empty"), [])
    refused("prepare", "empty", "--out", "slices", parts=("empty/cohort.json", "`subjects` is empty"))

    make_cohort(Path("cohort"))
    whole = read_manifest(Path("cohort"))
    (Path("cohort") / whole[1]["volume"]).rename("elsewhere.nii.gz")
    refused("prepare", "cohort", "--out", "slices", parts=("P001", "there is no file", whole[1]["volume"]))
    refused("launch", own_study(), parts=("P001", "there is no file"))
    Path("elsewhere.nii.gz").rename(Path("cohort") / whole[1]["volume"])

    twice = [{**whole[0], "split": "train"}, {**whole[1], "patient_id": whole[0]["patient_id"], "split": "test"}]
    write_manifest(Path("cohort"), [*twice, *whole[2:]])
    refused("prepare", "cohort", "--out", "slices", parts=("P000", "test and train"))

    (Path("cohort") / whole[1]["boxes"]).write_text("z,x0,y0,x1,y1\n")
    splits = ("train", "validation", "test", "train")
    write_manifest(Path("cohort"), [{**subject, "split": split} for subject, split in zip(whole, splits, strict=True)])
    refused("cohort", "check", "cohort", parts=("P001", "boxes.csv: holds no box"))
    refused("prepare", "cohort", "--out", "slices", parts=("P001", "boxes.csv: holds no box"))


def test_result_folders_that_cannot_be_made(refused, slices: Path) -> None:
    Path("file").write_text("something")
    evaluate = ("evaluate", "detector", slices, "--out")
    refused(*evaluate, "file", parts=("--out file is a file",))
    refused(*evaluate, "file/below", parts=("does not exist",))
    refused(*evaluate, "missing/parent", parts=("does not exist", "missing"))
    refused(*evaluate, "/proc/evaluation", parts=("--out /proc/evaluation", "cannot be made"))
    refused(*evaluate, "evaluation", parts=("detector is not a trained detector",))


def test_slice_set_that_is_none(refused) -> None:
    Path("slices").mkdir()
    refused("train", "gan", "slices", "--out", "gan", parts=("slices is not a slice set", "metsweep prepare"))


def test_a_cohort_without_the_normal_subjects_that_an_arm_needs(refused) -> None:
    make_cohort(Path("cohort"), normals=0)
    study = own_study(arms=[{"variant": "cpggan+normal", "counts": [4000]}])
    for command in ("plan", "launch"):
        refused(command, study, parts=("cohort/cohort.json", "0 of 3 subjects", "cpggan+normal", "Add normal subjects"))


def test_volumes_that_cannot_be_read(refused) -> None:
    refused("detect", "nowhere.nii.gz", "--out", "found", parts=("nowhere.nii.gz",))
    Path("text.nii.gz").write_text("not a volume")
    refused("detect", "text.nii.gz", "--out", "found", parts=("text.nii.gz", "NIfTI"))


def test_no_champion_yet(refused, cohort: Path) -> None:
    volume = cohort / "P000" / "t1c.nii.gz"
    refused("detect", volume, "--out", "found", parts=("no champion yet: `metsweep promote STUDY`",))


def test_port_in_use(refused) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused("ui", "--port", port, parts=(f"Port {port}", "in use", f"--port {port + 1}"))


def test_stores_that_cannot_be_used(refused, cohort: Path) -> None:
    Path("file").write_text("something")
    study = own_study(cohort=str(cohort))
    refused("launch", study, "--store", "file/store", parts=("file/store", "cannot be written", "METSWEEP_STORE"))
    refused("launch", study, "--store", "/proc/store", parts=("/proc/store", "cannot be written"))
    # More than any disk has, so that the room on this one does not matter.
    greedy = own_study(
        cohort=str(cohort),
        arms=[{"variant": "cpggan", "counts": [10**7]}],
        count_scale=1000.0,
        synthesis={"shard_size": 10**6},
    )
    refused("launch", greedy, "--store", "store", parts=("MB free", "are needed", "METSWEEP_STORE"))


@pytest.mark.parametrize("command", ["status", "watch", "stop", "retry", "report", "track", "promote", "plan"])
def test_a_name_is_looked_for_where_there_is_no_store(refused, command: str) -> None:
    refused(
        command,
        "small",
        "--store",
        "/nowhere",
        parts=("Unknown study 'small'", "The store /nowhere does not exist either: set METSWEEP"),
    )


def test_names_of_stores_that_cannot_be(refused, cohort: Path) -> None:
    study = own_study(cohort=str(cohort))
    for store, told in {
        "a" * 300: "File name too long",
        "a\0b": "control character",
        "s3:/bucket": "not a place for a store",
        "s3://a": "The bucket of the store is 'a'",
        f"s3://bucket/{'p' * 2000}": "has 2000 bytes",
    }.items():
        for command in (("store", "ls"), ("status", study), ("plan", study), ("launch", study)):
            refused(*command, "--store", store, parts=(told, "--store"))


def test_ray_that_cannot_be_reached(refused, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = own_study(cohort=str(cohort))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    refused("launch", study, "--store", "store", parts=("Cannot connect to Ray at 127.0.0.1:1", "RAY_ADDRESS"))
    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    refused("launch", study, "--store", "store", parts=("RAY_ADDRESS: ray_address", "'somewhere'", "host:port"))


def test_refusals_come_in_order(refused, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Study, cohort, store, Ray: what is cheapest to look at comes first."""
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    refused("launch", own_study(seeds=[]), "--store", "/proc/store", parts=("seeds",))
    refused("launch", own_study(cohort="nowhere"), "--store", "/proc/store", parts=("nowhere",))
    refused("launch", own_study(cohort=str(cohort)), "--store", "/proc/store", parts=("/proc/store",))


def test_demo_cohorts_that_cannot_be_made(refused) -> None:
    refused("cohort", "demo", "demo", "--patients", 1, parts=("patients", "3", "got 1"))
    Path("mine").mkdir()
    (Path("mine") / "notes.txt").write_text("something")
    refused("cohort", "demo", "mine", parts=("mine is not empty", "notes.txt"))


def test_commands_that_are_none(refused) -> None:
    refused("lanch", parts=("lanch", "metsweep --help"))
    refused("train", parts=("Missing command", "metsweep train --help"))
    refused("plan", "quickstart", "--fidelty", "laptop", parts=("--fidelty", "metsweep plan --help"))
    refused("prepare", "cohort", parts=("--out", "metsweep prepare --help"))


def test_checkpoints_survive_a_refusal(metsweep: Metsweep, slices: Path, tmp_path: Path) -> None:
    """A stopped run's checkpoints stay when the slice set is gone for a moment."""
    away = tmp_path / "slices"
    shutil.copytree(slices, away)
    (away / "meta.json").write_text(json.dumps({}))
    (away / "images.npy").unlink()
    kept = Path(".gan.unfinished/checkpoints/0123456789abcdef/latest")
    kept.mkdir(parents=True)
    assert metsweep("train", "gan", away, "--out", "gan").code == 2
    assert kept.is_dir()
