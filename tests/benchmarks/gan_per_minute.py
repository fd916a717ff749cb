"""Which settings give `laptop`'s GANs the most per CPU second? Trains them one after the other, and prints a table.

    python -m tests.benchmarks.gan_per_minute SLICES OUT [NAME ...]

SLICES is a slice set of 64 pixels; each GAN takes four minutes of one core. What OUT holds is not made again. Columns:
CPU seconds of the training; sliced Wasserstein distance to training slices; share of the boxes that a detector of real
slices finds at IoU 0.5; slices closer to a training slice than held-out slices are; energy of the spectrum within a bin
of the axes over that well off them at half and at the whole of the highest frequency (a weave has much there); energy
off the axes at the highest frequency, dB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.benchmarks.gpu_weave import axis_energies
from trainers.data.slice_set import open_slice_set
from trainers.evaluation.realism.report import read_realism
from trainers.gan.filling import annotated_slices

Settings = dict[str, str | float | bool]
FORMER: Settings = {
    "blur": False, "loss": "wgan-gp", "gradient_penalty": 10, "penalty_interval": 1, "learning_rate": 0.001,
    "detector_weight": 1,
}  # fmt: skip
"""What `laptop` had before these runs; its other settings are as they were."""
BLUR = FORMER | {"blur": True}
R1 = BLUR | {"loss": "r1", "gradient_penalty": 0.1, "penalty_interval": 8, "learning_rate": 0.002}
SMALL_BATCH = {"batch_size": 4}
RELATIVISTIC = R1 | {"loss": "relativistic"}
RUNS: dict[str, tuple[str, Settings]] = {
    "former": ("cpggan", FORMER),
    "former, seed 1": ("cpggan", FORMER | {"seed": 1}),
    "former, seed 2": ("cpggan", FORMER | {"seed": 2}),
    "blur": ("cpggan", BLUR),
    "relativistic": ("cpggan", RELATIVISTIC | {"blur": False}),
    "blur, r1, penalty 1": ("cpggan", R1 | {"gradient_penalty": 1, "learning_rate": 0.001, "total_kimg": 14}),
    "blur, batch 4": ("cpggan", BLUR | SMALL_BATCH | {"learning_rate": 0.002}),
    "blur, r1, batch 4": ("cpggan", R1 | SMALL_BATCH | {"total_kimg": 13}),
    "its rate doubled": ("cpggan", R1 | SMALL_BATCH | {"total_kimg": 11.5, "learning_rate": 0.004, "ema": 0.99}),
    "its growth halved": ("cpggan", R1 | SMALL_BATCH | {"total_kimg": 10, "fade_kimg": 0.2, "stable_kimg": 0.5}),
    "blur, relativistic": ("cpggan", RELATIVISTIC | {"total_kimg": 14}),
    "blur, relativistic, batch 4": ("cpggan", RELATIVISTIC | SMALL_BATCH | {"total_kimg": 10.5}),
    "taught, former": ("cpggan+detector", FORMER),
    "taught, r1, batch 4": ("cpggan+detector", R1 | SMALL_BATCH | {"total_kimg": 10}),
    "taught, relativistic": ("cpggan+detector", RELATIVISTIC),
    "taught, weight 0.1, batch 4": (
        "cpggan+detector",
        RELATIVISTIC | SMALL_BATCH | {"total_kimg": 10, "detector_weight": 0.1},
    ),
    "taught, weight 0.2": ("cpggan+detector", RELATIVISTIC | {"detector_weight": 0.2}),
    "image2image": ("image2image", RELATIVISTIC),
}


def metsweep(*arguments: str) -> float:
    """Run a command on one thread; returns its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "sweep.cli", *arguments, "--quiet"], check=True, env=os.environ | one_thread)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def detector(slices: Path, out: Path, seed: int) -> Path:
    """A detector of real slices, trained unless it is there."""
    if not out.exists():
        metsweep("train", "detector", str(slices), "--out", str(out), "--set", f"detector.seed={seed}")
    return out


def judged(name: str, slices: Path, out: Path) -> Path:
    """A run's folder, with its GAN, slices and realism made unless they are there."""
    variant, settings = RUNS[name]
    folder = out / name.replace(", ", "-").replace(" ", "_")
    if not (folder / "realism").exists():
        folder.mkdir(parents=True, exist_ok=True)
        overrides = [text for key, value in settings.items() for text in ("--set", f"gan.{key}={value}")]
        teacher = ["--detector", str(detector(slices, out / "teacher", 2))] if variant == "cpggan+detector" else []
        gan, synthetic = str(folder / "gan"), str(folder / "synthetic")
        seconds = metsweep("train", "gan", str(slices), "--out", gan, "--variant", variant, *teacher, *overrides)
        (folder / "cpu_seconds.json").write_text(json.dumps(seconds))
        metsweep("synthesize", gan, str(slices), "--out", synthetic, "--count", "400")
        judge = str(detector(slices, out / "judge", 1))
        metsweep("realism", synthetic, "--slices", str(slices), "--detector", judge, "--out", str(folder / "realism"))
    return folder


def spectrum(images: np.ndarray) -> str:
    """The last columns of the table, of N x S x S grey levels."""
    energies = axis_energies(images)
    (on_half, off_half), (on_last, off_last) = energies[1], energies[-1]
    return f"{on_half / off_half:.1f}, {on_last / off_last:.1f} | {10 * np.log10(off_last / 255**2):.1f}"


def line(name: str, folder: Path) -> str:
    """A run's line of the table."""
    (figures,) = read_realism(folder / "realism").synthetic.values()
    cells = (
        name,
        f"{json.loads((folder / 'cpu_seconds.json').read_text()):.0f}",
        f"{figures.sliced_wasserstein:.1f}",
        f"{figures.box_fidelity['iou50'].conditioned.recall:.3f}",
        f"{figures.memorisation.close_share:.1%}",
        spectrum(np.asarray(open_slice_set(folder / "synthetic").images)),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slices", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, or some of: {'; '.join(RUNS)}")
    given = parser.parse_args()
    if unknown := set(given.names) - RUNS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; allowed: {'; '.join(RUNS)}")
    print("| run | CPU s | sliced Wasserstein | found | close | weave | fine, dB |\n|---|---|---|---|---|---|---|")
    print(f"| training slices | | | | | {spectrum(annotated_slices(open_slice_set(given.slices))[0])} |")
    for name in given.names or RUNS:
        print(line(name, judged(name, given.slices, given.out)), flush=True)


if __name__ == "__main__":
    main()
