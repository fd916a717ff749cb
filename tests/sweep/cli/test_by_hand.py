"""The stages by hand, on real volumes of phantoms."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.sweep.cli.conftest import SIZE, Metsweep
from trainers.data.slice_set import open_slice_set


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def weights(gan: Path) -> dict[str, torch.Tensor]:
    return torch.load(gan / "generator.pt", weights_only=True)


def test_stages_one_after_the_other(metsweep: Metsweep, cohort: Path, slices: Path, fidelity: Path, gan: Path) -> None:
    assert open_slice_set(slices).size == SIZE
    assert names(gan) == {"generator.pt", "config.json", "history.jsonl", "figures"}

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


def test_a_detector_that_finds_nothing_says_so(metsweep: Metsweep, slices: Path, fidelity: Path) -> None:
    blind = ("--set", "detector.selection_confidence=0.99")
    ended = metsweep("train", "detector", slices, "--fidelity", fidelity, *blind, "--out", "detector")
    assert ended.code == 0, ended.err
    assert json.loads(Path("detector/selection.json").read_text())["sensitivity"] == 0
    assert "finds no lesion of the validation split at 99 % confidence" in ended.out
    assert "detector.steps; it had 6" in ended.out


def test_result_that_is_there_is_not_touched(metsweep: Metsweep, slices: Path, fidelity: Path, gan: Path) -> None:
    before = (gan / "generator.pt").stat()
    ended = metsweep("train", "gan", slices, "--out", gan, "--fidelity", fidelity)
    assert ended.code == 2
    assert "gan is not empty" in ended.err
    assert (gan / "generator.pt").stat() == before
    assert names(gan.parent) == {"gan"}


def test_stopped_training_continues(metsweep: Metsweep, slices: Path, fidelity: Path, gan: Path) -> None:
    command = ("train", "gan", slices, "--out", "stopped", "--fidelity", fidelity)

    def press_ctrl_c() -> None:
        deadline = time.time() + 60
        while not list(Path().glob(".stopped.unfinished/checkpoints/*/latest/*")) and time.time() < deadline:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_ctrl_c).start()
    ended = metsweep(*command)
    assert ended.code == 130
    assert ended.err.endswith("Stopped. The same command continues.\n")
    assert names(Path.cwd()) == {".stopped.unfinished"}

    assert metsweep(*command).code == 0
    assert names(Path.cwd()) == {"stopped"}
    history = [json.loads(line) for line in Path("stopped/history.jsonl").read_text().splitlines()]
    assert history[-1]["images"] == 30
    for name, value in weights(gan).items():
        assert torch.equal(weights(Path("stopped"))[name], value), name


def test_other_settings_do_not_continue_a_stopped_run(metsweep: Metsweep, slices: Path, fidelity: Path) -> None:
    foreign = Path(".gan.unfinished/checkpoints/0123456789abcdef/latest")
    foreign.mkdir(parents=True)
    ended = metsweep("train", "gan", slices, "--out", "gan", "--fidelity", fidelity, "--set", "gan.seed=5")
    assert ended.code == 0, ended.err
    assert json.loads(Path("gan/config.json").read_text())["seed"] == 5
    assert names(Path.cwd()) == {"gan"}


@pytest.mark.slow
def test_training_with_two_ray_workers(metsweep: Metsweep, slices: Path, fidelity: Path) -> None:
    ended = metsweep("train", "gan", slices, "--out", "gan", "--fidelity", fidelity, "--workers", 2)
    assert ended.code == 0, ended.err
    assert "generator.pt" in names(Path("gan"))
    assert names(Path.cwd()) == {"gan"}
