"""The stages by hand, on real volumes of phantoms."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.sweep.cli.conftest import SIZE, Metsweep
from trainers.checkpoints import FolderCheckpoints
from trainers.data.slice_set import open_slice_set


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def weights(gan: Path) -> dict[str, torch.Tensor]:
    return torch.load(gan / "generator.pt", weights_only=True)


@pytest.fixture
def stop_at_first_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Called, it presses Ctrl-C as soon as the next command has a checkpoint."""
    save = FolderCheckpoints.save

    def save_and_press_ctrl_c(checkpoints: FolderCheckpoints, write: Callable[[Path], None]) -> None:
        save(checkpoints, write)
        patched.undo()
        os.kill(os.getpid(), signal.SIGINT)

    # A shell that starts the tests in the background makes them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patched:
        yield lambda: patched.setattr(FolderCheckpoints, "save", save_and_press_ctrl_c)
    signal.signal(signal.SIGINT, before)


def test_stages_one_after_the_other(metsweep: Metsweep, cohort: Path, slices: Path, fidelity: Path, gan: Path) -> None:
    assert open_slice_set(slices).size == SIZE
    assert names(gan) == {"generator.pt", "config.json", "history.jsonl", "source.json", "figures", "SHA256SUMS"}

    assert metsweep("synthesize", gan, slices, "--out", "synthetic", "--count", 6).code == 0
    drawn = open_slice_set(Path("synthetic"))
    assert len(drawn.images) == 6
    assert metsweep("synthesize", gan, slices, "--out", "fewer", "--count", 4).code == 0
    assert np.array_equal(open_slice_set(Path("fewer")).images, drawn.images[:4])

    detector = ("train", "detector", slices, "--synthetic", "synthetic", "--count", 5, "--fidelity", fidelity)
    ended = metsweep(*detector, "--out", "detector")
    assert ended.code == 0, ended.err
    assert "6 of 6" in ended.err
    assert json.loads(Path("detector/selection.json").read_text())["synthetic_slices"] == 5

    ended = metsweep("evaluate", "detector", slices, "--out", "evaluation")
    assert ended.code == 0, ended.err
    assert "sensitivity" in ended.out
    assert {"metrics.json", "detections.parquet", "lesions.parquet", "coco"} <= names(Path("evaluation"))

    volume = cohort / "P000" / "t1c.nii.gz"
    ended = metsweep("detect", volume, "--model", "detector", "--out", "found", "--confidence", 0.001, "--stripped")
    assert ended.code == 0, ended.err
    boxes = pd.read_csv("found/boxes.csv")
    assert len(boxes) == len(json.loads(Path("found/boxes.json").read_text())["boxes"]) > 0
    assert len(names(Path("found/overlays"))) == boxes["z"].nunique()
    # Nothing but the results: no hidden folders of unfinished runs, no database.
    assert names(Path.cwd()) == {"synthetic", "fewer", "detector", "evaluation", "found"}


def test_an_inpainter_draws_into_real_slices(metsweep: Metsweep, slices: Path) -> None:
    tiny = {"window": 16, "rim": 1, "widths": "[8,8]", "batch_size": 4, "total_kimg": 0.02, "sampling_steps": 2}
    settings = [part for key, value in tiny.items() for part in ("--set", f"inpaint.{key}={value}")]
    ended = metsweep("train", "inpainter", slices, "--out", "inpainter", *settings)
    assert ended.code == 0, ended.err
    assert "synthesize inpainter" in ended.out
    assert {"inpainter.pt", "config.json", "lesions.npz", "SHA256SUMS"} <= names(Path("inpainter"))
    for count in (4, 6):
        ended = metsweep("synthesize", "inpainter", slices, "--out", f"drawn-{count}", "--count", count)
        assert ended.code == 0, ended.err
    fewer, more = (open_slice_set(Path(f"drawn-{count}")) for count in (4, 6))
    assert np.array_equal(fewer.images, more.images[:4])
    assert more.meta["source"].startswith("inpaint-")
    ended = metsweep("train", "inpainter", slices, "--out", "wide", "--set", "inpaint.window=64")
    assert (ended.code, "32 pixels wide, but inpaint.window is 64" in ended.err) == (2, True)
    ended = metsweep("synthesize", slices, slices, "--out", "none", "--count", 4)
    assert (ended.code, "is not a trained GAN" in ended.err) == (2, True)
    assert not {"wide", "none"} & names(Path.cwd())


def test_a_detector_teaches_a_gan(metsweep: Metsweep, slices: Path, fidelity: Path) -> None:
    assert metsweep("train", "detector", slices, "--fidelity", fidelity, "--out", "detector").code == 0
    # 30 images in steps of 2; the last resolution fades in after 10.
    command = ("train", "gan", slices, "--fidelity", fidelity, "--variant", "cpggan+detector", "--detector", "detector")
    ended = metsweep(*command, "--set", "gan.detector_ramp_kimg=0.01", "--out", "gan")
    assert ended.code == 0, ended.err
    assert json.loads(Path("gan/config.json").read_text())["variant"] == "cpggan+detector"
    reports = [json.loads(line) for line in Path("gan/history.jsonl").read_text().splitlines()]
    assert {report["images"] for report in reports if report["gan/detector_loss"] > 0} == set(range(14, 32, 2))

    assert metsweep("synthesize", "gan", slices, "--out", "drawn", "--count", 2).code == 0
    ended = metsweep("realism", "drawn", "--slices", slices, "--detector", "detector", "--out", "realism")
    assert ended.code == 2
    assert "detector is the detector that taught the GAN of drawn" in ended.err

    ended = metsweep("train", "gan", slices, "--fidelity", fidelity, "--detector", "detector", "--out", "other")
    assert ended.code == 2
    assert "gan.variant is cpggan, which learns from no detector, but" in ended.err
    ended = metsweep(*command, "--set", "gan.resolution=64", "--set", "gan.total_kimg=1", "--out", "other")
    assert ended.code == 2
    assert "trained on slices of 32 x 32 pixels, but gan.resolution is 64" in ended.err
    assert names(Path.cwd()) == {"detector", "gan", "drawn"}


def test_a_detector_that_finds_nothing_says_so(metsweep: Metsweep, slices: Path, fidelity: Path) -> None:
    blind = ("--set", "detector.selection_confidence=0.99")
    ended = metsweep("train", "detector", slices, "--fidelity", fidelity, *blind, "--out", "detector")
    assert ended.code == 0, ended.err
    assert json.loads(Path("detector/selection.json").read_text())["sensitivity"] == 0
    assert "finds no lesion of the validation split at 99 % confidence" in ended.out
    assert "detector.steps, now 6" in ended.out


def test_result_that_is_there_is_not_touched(metsweep: Metsweep, slices: Path, fidelity: Path, gan: Path) -> None:
    before = (gan / "generator.pt").stat()
    ended = metsweep("train", "gan", slices, "--out", gan, "--fidelity", fidelity)
    assert ended.code == 2
    assert "gan is not empty" in ended.err
    assert (gan / "generator.pt").stat() == before
    assert names(gan.parent) == {"gan"}


def test_stopped_training_continues(
    metsweep: Metsweep, slices: Path, fidelity: Path, gan: Path, stop_at_first_checkpoint: Callable[[], None]
) -> None:
    command = ("train", "gan", slices, "--out", "stopped", "--fidelity", fidelity)

    stop_at_first_checkpoint()
    ended = metsweep(*command)
    assert ended.code == 130
    assert ended.err.endswith("Stopped. Run the same command again to resume.\n")
    assert names(Path.cwd()) == {".stopped.unfinished"}

    assert metsweep(*command).code == 0
    assert names(Path.cwd()) == {"stopped"}
    history = [json.loads(line) for line in Path("stopped/history.jsonl").read_text().splitlines()]
    assert history[-1]["images"] == 30
    for name, value in weights(gan).items():
        assert torch.equal(weights(Path("stopped"))[name], value), name


def test_stopped_synthesis_continues(
    metsweep: Metsweep,
    slices: Path,
    gan: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at_first_checkpoint: Callable[[], None],
) -> None:
    from trainers.gan import filling

    strict = ("--count", 60, "--set", "synthesis.threshold_quantile=0.9", "--set", "synthesis.batch_size=2")
    ended = metsweep("synthesize", gan, slices, "--out", "whole", *strict)
    assert ended.code == 0, ended.err
    assert re.search(r"% of \d+ attempts discarded, threshold of visibility -?\d", ended.out)

    monkeypatch.setattr(filling, "CHECKPOINT_SECONDS", 0.0)
    stop_at_first_checkpoint()
    ended = metsweep("synthesize", gan, slices, "--out", "stopped", *strict)
    assert ended.code == 130
    assert ended.err.endswith("Stopped. Run the same command again to resume.\n")
    assert names(Path.cwd()) == {"whole", ".stopped.unfinished"}

    ended = metsweep("synthesize", gan, slices, "--out", "stopped", *strict)
    assert ended.code == 0, ended.err
    assert names(Path.cwd()) == {"whole", "stopped"}
    for name in ("images.npy", "slices.parquet", "boxes.parquet", "meta.json"):
        assert (Path("stopped") / name).read_bytes() == (Path("whole") / name).read_bytes(), name


def test_review_list_overrides_the_curation(metsweep: Metsweep, slices: Path, gan: Path) -> None:
    Path("list.csv").write_text("slice_id,decision\nsynthetic-000000-3,keep\nsynthetic-000001-0,discard\n")
    ended = metsweep("synthesize", gan, slices, "--out", "reviewed", "--count", 3, "--review", "list.csv")
    assert ended.code == 0, ended.err
    attempts = open_slice_set(Path("reviewed")).slices["attempt"]
    assert attempts[0] == 3
    assert attempts[1] > 0
    assert "list.csv: 1 kept and 1 discarded" in ended.out
    assert "beyond --count" not in ended.out

    Path("list.csv").write_text("slice_id,decision\nsynthetic-000000-3,keep\nsynthetic-000009-0,discard\n")
    ended = metsweep("synthesize", gan, slices, "--out", "fewer", "--count", 3, "--review", "list.csv")
    assert "list.csv: 1 decision for images beyond --count 3 or of a GAN of another variant" in ended.out

    Path("list.csv").write_text("slice_id,decision\nsynthetic-000000-3,maybe\n")
    ended = metsweep("synthesize", gan, slices, "--out", "other", "--count", 3, "--review", "list.csv")
    assert ended.code == 2
    assert "list.csv, line 2: decision 'maybe'; allowed: keep, discard" in ended.err
    assert names(Path.cwd()) == {"reviewed", "fewer", "list.csv"}


def test_other_settings_do_not_continue_a_stopped_run(metsweep: Metsweep, slices: Path, fidelity: Path) -> None:
    foreign = Path(".gan.unfinished/checkpoints/0123456789abcdef/latest")
    foreign.mkdir(parents=True)
    ended = metsweep("train", "gan", slices, "--out", "gan", "--fidelity", fidelity, "--set", "gan.seed=5")
    assert ended.code == 0, ended.err
    assert json.loads(Path("gan/config.json").read_text())["seed"] == 5
    assert names(Path.cwd()) == {"gan"}


@pytest.mark.slow
def test_training_with_two_ray_workers_on_a_ray_that_starts_at_the_second_attempt(
    metsweep: Metsweep, slices: Path, fidelity: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray
    from ray._private import services

    from tests.services.patient_ray import get_node_patiently, start_raylet_with_ports

    start, attempts = ray.init, []

    def start_late(*address: str, **options: object) -> object:
        attempts.append(address)
        if len(attempts) == 1:
            raise Exception("The current node timed out during startup.")
        return start(*address, **options)

    monkeypatch.setattr(ray, "init", start_late)
    monkeypatch.setattr(services, "get_node", get_node_patiently)
    monkeypatch.setattr(services, "start_raylet", start_raylet_with_ports)
    ended = metsweep(
        "train", "gan", slices, "--out", "gan", "--fidelity", fidelity, "--workers", 2, "--set", "gan.stddev_group=1"
    )
    assert ended.code == 0, ended.err
    assert attempts == [("local",), ("local",)]
    assert "generator.pt" in names(Path("gan"))
    assert names(Path.cwd()) == {"gan"}
