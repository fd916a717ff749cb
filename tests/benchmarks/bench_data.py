"""What preparation takes: speed and memory beside a plain loop, OpenCV and deepbet's own command.

    PYTHONPATH=.:build/peers python -m tests.benchmarks.bench_data [--rows memory,plan]

Volumes are made cheaply: memory and `plan` see phantoms and noise, the rest the demo's heads and the MNI152 brain.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from nibabel.funcs import as_closest_canonical
from nibabel.loadsave import load
from nibabel.nifti1 import Nifti1Image

from search_spaces.study import load_study
from sweep.machine_use import peak_memory
from sweep.plan.plan import make_trial_maker
from tests.benchmarks.machine import Verdict, machine
from tests.trainers.data.phantom import make_cohort, package_file, save, voxels, write_manifest
from tests.trainers.data.plain_slice import plain_slice
from trainers.data.cohort import open_cohort
from trainers.data.prepare import prepare
from trainers.data.prepare_volume import PrepareConfig
from trainers.data.processes import Processes
from trainers.data.slice_set import open_slice_set
from trainers.data.volume import volume_slices
from trainers.one_thread import use_one_thread

BRAIN = package_file("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
CONFIG = PrepareConfig(size=256, lesion_free_slices="keep")


def alone(work: Callable[..., Any], *arguments: object) -> Any:
    """The result of a function in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def prepared(folder: Path, out: Path, workers: int) -> tuple[float, float, int]:
    """Seconds, peak memory in bytes and slices of a preparation with no cache."""
    with peak_memory() as memory:
        began = time.perf_counter()
        prepare(open_cohort(folder), CONFIG, out, lambda *_: None, Processes(workers))
        took = time.perf_counter() - began
    return took, memory.highest, len(open_slice_set(out).slices)


def box_of(number: int) -> str:
    """A boxes file that no other number has."""
    return f"z,x0,y0,x1,y1\n80,{30 + number % 100},{40 + number // 100},150,160\n"


def bench_memory(root: Path) -> Iterator[Verdict]:
    """Phantoms of 60 x 70 x 40 voxels, all slices kept at 256 pixels: 400 volumes make a slice set of 0.9 GB."""
    peaks = {}
    for volumes in (50, 400):
        folder = make_cohort(root / f"cohort{volumes}", patients=volumes - 1)
        _, peaks[volumes], slices = alone(prepared, folder, root / f"slices{volumes}", 2)
        print(f"{volumes} volumes, {slices} slices: {peaks[volumes] / 2**20:,.0f} MiB", flush=True)
    share = peaks[400] / peaks[50]
    yield Verdict("peak memory, 400 against 50 volumes", f"{share:.2f}", "0.90 to 1.10", 0.9 <= share <= 1.1)


def bench_stripped(root: Path) -> Iterator[Verdict]:
    """The MNI152 brain 24 times at 1 mm, with so much noise that they do not count as copies of each other."""
    image = as_closest_canonical(load(BRAIN))
    brain = np.asarray(image.dataobj, dtype=np.float32)  # pyright: ignore[reportAttributeAccessIssue]
    subjects = []
    for number in range(24):
        noise = np.random.default_rng(number).normal(0, 0.2 * brain.max(), brain.shape)
        volume = np.where(brain > 0, brain + noise, 0).clip(0).astype(np.float32)
        name = f"P{number:03d}"
        save(root / "brains" / name / "t1c.nii.gz", volume, spacing=(1.0, 1.0, 1.0))
        (root / "brains" / name / "boxes.csv").write_text(box_of(number))
        files = {"volume": f"{name}/t1c.nii.gz", "boxes": f"{name}/boxes.csv"}
        subjects.append({"patient_id": name, "kind": "tumour", "stripped": True, **files})
    write_manifest(root / "brains", subjects)
    ours, _, slices = alone(prepared, root / "brains", root / "stripped", 2)
    theirs, count = alone(plain_loop, root / "brains", root / "stripped")
    ratio = (slices / ours) / (count / theirs)
    print(f"stripped: {slices / ours:.1f} slices/s, plain loop {count / theirs:.1f}", flush=True)
    yield Verdict("stripped volumes, slices/s against a plain loop", f"{ratio:.1f}x", ">= 3x", ratio >= 3)
    differ = alone(differing, root / "brains" / "P000" / "t1c.nii.gz")
    yield Verdict("their pixels that differ by more than a grey level", f"{differ:.1%}", "0 %", differ == 0)


def differing(path: Path) -> float:
    """Share of the pixels of a volume's slices, every 16th, that are not those of a plain loop that averages points."""
    slices = volume_slices(path, CONFIG, stripped=True)
    differ: list[np.ndarray] = []
    for row in range(0, len(slices.z), 16):
        plain, clear = plain_slice(voxels(path), slices, row)
        differ.append((np.abs(slices.images[row] - plain) > 1)[clear])
    return float(np.concatenate(differ).mean())


def plain_loop(folder: Path, made: Path) -> tuple[float, int]:
    """nibabel and scikit-image on one core, with the crop, to whole voxels, and the intensities that metsweep chose:
    seconds and slices. It samples points, so its pixels are others than metsweep's averages."""
    from skimage.transform import resize  # pyright: ignore[reportMissingImports]

    slices = open_slice_set(made)
    took, count = 0.0, 0
    for name, about in slices.meta["volumes"].items():
        rows = np.flatnonzero(slices.slices["volume"] == name)
        place = about["geometry"]
        began = time.perf_counter()
        image = as_closest_canonical(load(folder / name))
        volume = np.asarray(image.dataobj, dtype=np.float32)  # pyright: ignore[reportAttributeAccessIssue]
        white = 2.25 * np.median(volume[volume > 0])
        side = round(place["mm_per_pixel"] * 256)
        right, anterior = round(place["right"]), round(place["anterior"])
        padded = np.pad(volume, ((side, side), (side, side), (0, 0)))[right : right + side, anterior : anterior + side]
        drawn = []
        for z in slices.slices["z"].to_numpy()[rows]:
            plane = np.rot90(padded[:, :, z], 2).T
            small = resize(plane, (256, 256), order=1, anti_aliasing=side > 256)
            drawn.append(np.rint(np.clip(small * (255 / white), 0, 255)).astype(np.uint8))
        took, count = took + time.perf_counter() - began, count + len(drawn)
    return took, count


def bench_random(root: Path) -> Iterator[Verdict]:
    """2,000 slices of these brains, in batches of 64, from the memory map and as PNG files by OpenCV."""
    images = open_slice_set(root / "stripped").images
    rows = np.random.default_rng(0).integers(0, len(images), (30, 64))
    (root / "png").mkdir()
    for row in np.unique(rows):
        cv2.imwrite(str(root / "png" / f"{row}.png"), np.asarray(images[row]))

    def seconds(read: Callable[[np.ndarray], np.ndarray]) -> float:
        read(rows[0])
        began = time.perf_counter()
        for batch in rows:
            read(batch)
        return time.perf_counter() - began

    def png(batch: np.ndarray) -> np.ndarray:
        pictures = (cv2.imread(str(root / "png" / f"{row}.png"), cv2.IMREAD_GRAYSCALE) for row in batch)
        return np.stack([picture for picture in pictures if picture is not None])

    ratio = seconds(png) / seconds(lambda batch: images[batch])
    yield Verdict("batches of 64 slices against PNG files by OpenCV", f"{ratio:.0f}x", ">= 10x", ratio >= 10)


def demo(root: Path) -> Path:
    """Eight patients of the demo, made once."""
    if not (root / "demo" / "cohort.json").exists():
        _command(root, "cohort", "demo", str(root / "demo"), "--patients", "8", "--normals", "0")
    return root / "demo"


def bench_deepbet(root: Path) -> Iterator[Verdict]:
    folder, heads = demo(root), root / "heads"
    heads.mkdir()
    for number in range(1, 9):
        (heads / f"P{number:03d}.nii.gz").symlink_to(folder / f"P{number:03d}" / "t1c.nii.gz")
    theirs = alone(_cpu_of_deepbet, heads, root / "deepbet")
    ours = alone(_cpu_of_ours, folder, root / "of demo")
    print(f"CPU seconds of 8 heads: {ours:.1f}, deepbet-cli {theirs:.1f}", flush=True)
    yield Verdict("CPU time against deepbet-cli", f"{ours / theirs:.2f}x", "<= 1.15x", ours <= 1.15 * theirs)


def _cpu_of_deepbet(heads: Path, out: Path) -> float:
    program = str(Path(sys.executable).with_name("deepbet-cli"))
    where = ["-i", str(heads), "-o", str(out), "-m", f"{out}-masks", "-v", f"{out}-ml", "--no_gpu"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    for folder in (out, Path(f"{out}-masks"), Path(f"{out}-ml")):
        folder.mkdir()
    subprocess.run([program, *where], check=True, capture_output=True, env=one_thread)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu_of_ours(folder: Path, out: Path) -> float:
    use_one_thread()
    prepare(open_cohort(folder), CONFIG, out, lambda *_: None)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def bench_again(root: Path) -> Iterator[Verdict]:
    """`metsweep prepare` with one process: of seven patients, again, and with the eighth."""
    folder = demo(root)
    whole = json.loads((folder / "cohort.json").read_text())
    (folder / "cohort.json").write_text(json.dumps(whole | {"subjects": whole["subjects"][:7]}))
    took = {name: _command(root, "prepare", str(folder), "--out", str(root / name), "--workers", "1")
            for name in ("first", "again")}  # fmt: skip
    (folder / "cohort.json").write_text(json.dumps(whole))
    grown = _command(root, "prepare", str(folder), "--out", str(root / "grown"), "--workers", "1")
    patient = (took["first"] - took["again"]) / 7
    yield Verdict("`prepare` again", f"{took['again']:.1f} s", "< 3 s", took["again"] < 3)
    yield Verdict("`prepare` with one patient added", f"{grown:.1f} s", f"< {patient + 3:.1f} s", grown < patient + 3)


def bench_plan(root: Path) -> Iterator[Verdict]:
    """500 volumes of 10 MB of noise, each with a box."""
    subjects, folder = [], root / "large"
    for number in range(500):
        name = f"P{number:03d}"
        (folder / name).mkdir(parents=True)
        voxels = np.random.default_rng(number).integers(0, 2**15, (200, 200, 125), dtype=np.int16)
        Nifti1Image(voxels, np.eye(4)).to_filename(folder / name / "t1c.nii")
        (folder / name / "boxes.csv").write_text(box_of(number))
        files = {"volume": f"{name}/t1c.nii", "boxes": f"{name}/boxes.csv"}
        subjects.append({"patient_id": name, "kind": "tumour", "stripped": True, **files})
    write_manifest(folder, subjects)
    study = load_study("quickstart", cohort=str(folder))
    os.environ["METSWEEP_CACHE"] = str(root / "cache")
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        make_trial_maker(study)
        seconds.append(time.perf_counter() - began)
    _command(root, "plan", "quickstart", "--cohort", str(folder))
    command = _command(root, "plan", "quickstart", "--cohort", str(folder))
    print(f"plan of 500 volumes: first {seconds[0]:.0f} s, then {seconds[1]:.2f} s", flush=True)
    yield Verdict("cohort of 500 volumes, second time", f"{seconds[1]:.2f} s", "< 2 s", seconds[1] < 2)
    yield Verdict("`plan` of them, second time", f"{command:.1f} s", "< 2 s", command < 2)


def _command(root: Path, *arguments: str) -> float:
    """Seconds of a metsweep command."""
    environment = os.environ | {"METSWEEP_CACHE": str(root / "cache"), "METSWEEP_STORE": str(root / "store")}
    began = time.perf_counter()
    command = [sys.executable, "-m", "sweep.cli", *arguments]
    subprocess.run(command, check=True, env=environment, capture_output=True, cwd=root)
    return time.perf_counter() - began


ROWS = {
    "memory": bench_memory, "stripped": bench_stripped, "random": bench_random, "deepbet": bench_deepbet,
    "again": bench_again, "plan": bench_plan,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="of: %(default)s; random needs stripped")
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="bench-data-") as folder:
        for row in parser.parse_args().rows.split(","):
            verdicts += ROWS[row](Path(folder))
    print(f"\n{machine()}\n\n| | measured | target | met |\n|---|---|---|---|")
    for verdict in verdicts:
        print(f"| {verdict.figure} | {verdict.measured} | {verdict.target} | {'yes' if verdict.met else '**no**'} |")


if __name__ == "__main__":
    main()
