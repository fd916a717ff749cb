"""What a GPU does is what a CPU does, within rounding, and the same each time: `make test-gpu`."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.devices import GPU
from tests.trainers.disc_slices import FolderContext, tiny_config
from tests.trainers.gan.compared_runs import differences, history, weights
from tests.trainers.gan.tiny_runs import Interruptible, KilledError, make_slices, tiny
from trainers.data.slice_set import SliceSet, open_slice_set
from trainers.detector.history import SENSITIVITY
from trainers.detector.prediction import load_detector, predict
from trainers.detector.training import train_detector
from trainers.evaluation.config import EvaluationConfig
from trainers.evaluation.evaluate import evaluate
from trainers.evaluation.metrics_file import read_metrics
from trainers.gan.arithmetic import arithmetic
from trainers.gan.batches import TrainingSlices
from trainers.gan.checkpoint import TrainingState
from trainers.gan.config import GANConfig, SynthesisConfig
from trainers.gan.review import Review
from trainers.gan.step import Inputs, course_at, inputs_of, run_update
from trainers.gan.synthesis import synthesize
from trainers.gan.training import train_gan

pytestmark = pytest.mark.gpu
CPU = "cpu"


@pytest.fixture(scope="module")
def tumours(tmp_path_factory: pytest.TempPathFactory) -> SliceSet:
    return make_slices(tmp_path_factory.mktemp("slices"))


@pytest.fixture(scope="module")
def trained(discs: SliceSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that a GPU has trained in mixed precision until it finds discs."""
    folder = tmp_path_factory.mktemp("detector")
    config = tiny_config(
        width=0.125, steps=200, evaluate_every=100, batch=8, learning_rate=3e-3, warmup_steps=20, amp=True
    )
    train_detector(config, discs, [], 0, folder, FolderContext(folder / "checkpoint", device=GPU))
    return folder


def run(config: GANConfig, slices: SliceSet, out: Path, device: str = GPU, kill_after: int | None = None) -> Path:
    out.mkdir(exist_ok=True)
    train_gan(config, slices, out, Interruptible(out / "checkpoints", kill_after, device=device))
    return out


def updated(config: GANConfig, slices: SliceSet, device: str) -> tuple[Tensor, dict[str, Tensor]]:
    """Statistics and the generator after one update with the same random numbers on every device."""
    state = TrainingState.initial(config, torch.device(device))
    data = TrainingSlices(config, slices, 0, 1)
    state.images = config.total_images
    drawn = inputs_of(state.initial(config, torch.device(CPU)), data.batch(0), data.share, torch.device(CPU))
    inputs = Inputs(**{name: value.to(device) for name, value in vars(drawn).items()})
    context = Interruptible(Path("unused"), device=device)
    with arithmetic(config, context.device):
        statistics = run_update(state, inputs, course_at(config, state.images), None, context)
    return statistics.cpu(), {name: value.cpu() for name, value in state.generator.state_dict().items()}


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("tf32", 2e-2), ("bf16", 1e-1)])
@pytest.mark.parametrize("changes", [{}, {"variant": "image2image", "augment": "diffaugment"}], ids=str)
def test_an_update_is_that_of_the_cpu(
    changes: dict[str, Any], precision: str, tolerance: float, tumours: SliceSet
) -> None:
    config = tiny(precision=precision, **changes)
    expected, _ = updated(tiny(**changes), tumours, CPU)
    statistics, network = updated(config, tumours, GPU)
    torch.testing.assert_close(statistics[:4], expected[:4], rtol=tolerance, atol=tolerance)
    before = TrainingState.initial(config, torch.device(CPU)).generator.state_dict()
    steps = [(network[name] - before[name]).abs().max() for name in network]
    assert max(steps) == pytest.approx(config.learning_rate, rel=0.01), "Adam's first step"


@pytest.mark.parametrize(
    "changes",
    [{}, {"augment": "adaptive", "augment_kimg": 0.05}, {"precision": "bf16", "penalty_interval": 3}],
    ids=str,
)
def test_recorded_updates_are_those_that_are_launched_and_repeat_themselves(
    changes: dict[str, Any], tumours: SliceSet, tmp_path: Path
) -> None:
    plain, recorded = tiny(total_kimg=0.4, **changes), tiny(total_kimg=0.4, cuda_graph=True, **changes)
    launched = history(run(plain, tumours, tmp_path / "launched"))
    whole = run(recorded, tumours, tmp_path / "whole")
    early = [line["gan/d_loss"] for line in history(whole)][:8]
    assert early == pytest.approx([line["gan/d_loss"] for line in launched][:8], rel=0.05, abs=0.05)
    assert not (unlike := differences(whole, run(recorded, tumours, tmp_path / "again"))), f"two whole runs:\n{unlike}"
    with pytest.raises(KilledError):
        run(recorded, tumours, tmp_path / "parts", kill_after=3)
    assert not (unlike := differences(whole, run(recorded, tumours, tmp_path / "parts"))), f"resumed:\n{unlike}"


def test_a_gan_that_learns_from_a_detector_repeats_itself(discs: SliceSet, trained: Path, tmp_path: Path) -> None:
    config = tiny(
        variant="cpggan+detector", resolution=32, widths=(16, 16, 8, 8), initial_resolution=16, augment="diffaugment",
        detector_start_kimg=0.0, detector_ramp_kimg=0.1, cuda_graph=True,
    )  # fmt: skip
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        train_gan(config, discs, tmp_path / name, Interruptible(tmp_path / f"kept-{name}", device=GPU), trained)
    assert not (unlike := differences(tmp_path / "one", tmp_path / "other")), unlike
    assert history(tmp_path / "one")[-1]["gan/detector_loss"] > 0


def train_alone(folder: Path, slices: Path) -> None:
    torch.set_num_threads(1)
    run(tiny(), open_slice_set(slices), folder)


def test_two_gans_share_a_gpu(tumours: SliceSet, tmp_path: Path) -> None:
    alone = run(tiny(), tumours, tmp_path / "alone")
    spawning = multiprocessing.get_context("spawn")
    places = [(tmp_path / name, tumours.path) for name in ("one", "other")]
    both = [spawning.Process(target=train_alone, args=place, daemon=True) for place in places]
    for process in both:
        process.start()
    for process in both:
        process.join(240)
        assert process.exitcode == 0
    for name in ("one", "other"):
        assert not (unlike := differences(alone, tmp_path / name)), f"{name}:\n{unlike}"


def test_a_detector_trains_validates_and_predicts(trained: Path, discs: SliceSet) -> None:
    lines = (trained / "history.jsonl").read_text()
    assert SENSITIVITY in lines
    images = discs.images[discs.indices("test", "tumour")]
    here, there = (predict(load_detector(trained, device), images, 0.25) for device in (GPU, CPU))
    assert len(here) == len(there) >= 6
    np.testing.assert_allclose(here.to_numpy(), there.to_numpy(), atol=0.05)


def test_evaluation_counts_as_on_the_cpu(trained: Path, discs: SliceSet, tmp_path: Path) -> None:
    config = EvaluationConfig(confidence=0.05, froc_confidence=0.01, bootstraps=100)
    for device in (GPU, CPU):
        evaluate(trained, discs, config, tmp_path / device[:4], lambda *_: None, torch.device(device))
    files = [tmp_path / device[:4] / "metrics.json" for device in (GPU, CPU)]
    one, other = (read_metrics(file.read_text(), file) for file in files)
    assert one["test"]["iou50"]["sensitivity"] == other["test"]["iou50"]["sensitivity"]


def test_synthetic_slices_repeat_themselves_and_are_those_of_the_cpu_but_for_rounding(
    tumours: SliceSet, tmp_path: Path
) -> None:
    gan = run(tiny(), tumours, tmp_path / "gan")
    config = SynthesisConfig(shard_size=10, batch_size=4, curate=False)
    for name, device in (("gpu", GPU), ("again", GPU), ("cpu", CPU)):
        context = Interruptible(tmp_path / f"kept-{name}", device=device)
        synthesize(gan, tumours, config, 0, Review(), tmp_path / name, context)
    one, again, other = (open_slice_set(tmp_path / name).images.astype(int) for name in ("gpu", "again", "cpu"))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() <= 2
    assert all(value.isfinite().all() for value in weights(gan).values())


def test_a_registry_model_predicts_on_the_gpu(trained: Path, discs: SliceSet) -> None:
    pytest.importorskip("mlflow", reason="wheels for trainers alone")
    from mlflow.pyfunc.model import PythonModelContext

    from sweep.detect import SLICES_FILE
    from sweep.models.detector_model import DetectorModel
    from trainers.data.volume import SliceConfig

    (trained / SLICES_FILE).write_text(SliceConfig(size=discs.size).model_dump_json())
    context = PythonModelContext({"config": str(trained / "config.json")}, {})
    model = DetectorModel()
    model.load_context(context)
    assert model._detector.device.type == torch.device(GPU).type
    images = np.array(discs.images[discs.indices("test", "tumour")])
    boxes = model.predict(context, images, {"confidence": 0.25, "stripped": None})
    assert len(boxes) == len(predict(load_detector(trained, GPU), images, 0.25)) >= 6
