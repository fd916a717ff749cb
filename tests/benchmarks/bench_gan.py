"""Speed and memory of GAN training and of synthesis against pro-gan-pth 3.4: `make bench-gan`.

    python -m tests.benchmarks.bench_gan [--pairs N]

Widths, batch, loss, precision and threads are equal; every contender lives in a process of its own, so that none warms
the memory of another, and they take turns. A ratio is the median over the turns of a ratio within one turn, in brackets
its quartiles. `bench_gpu` measures a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from tests.benchmarks.gan_contenders import CONTENDERS, iteration, synthesis
from tests.benchmarks.machine import Verdict, machine
from trainers.flops import count_flops
from trainers.gan.config import GANConfig

ROOT = Path(__file__).parents[2]
PAIRS, MEMORY_RUNS, MEMORY_STEPS = 8, 2, 3
RESOLUTIONS, BATCHES = (64, 256), (4, 8, 16, 32)
FASTER = {64: 1.6, 256: 2.0}
SYNTHESIS_FASTER, MEMORY_SHARE = 2.0, 0.7
GAINS = {
    "architecture first": (("peer", "plain"), ("plain", "ours")),
    "engineering first": (("unfused", "ours"), ("peer", "unfused")),
}
"""Which contenders' ratios are the gains of architecture and of engineering."""
CPU = torch.device("cpu")


class Seconds(NamedTuple):
    """What one turn took."""

    cpu: float
    wall: float


def config_of(resolution: int) -> GANConfig:
    """Quarter width; batch 4 and WGAN-GP are the default."""
    return GANConfig(resolution=resolution, width=0.25, latent_size=128)


def work(activity: str, name: str, resolution: int) -> None:
    """A contender's process: answers the lines of its input, one JSON value a line."""
    torch.set_num_threads(1)
    config = config_of(resolution)
    if activity == "memory":
        step = iteration(name, config, CPU)
        before = resident("VmRSS")
        for _ in range(MEMORY_STEPS):
            step()
        answer(resident("VmHWM") - before)
    elif activity == "training":
        step = iteration(name, config, CPU)
        answer(count_flops(step))
        for _ in sys.stdin:
            answer(timed(step))
    else:
        draw = synthesis(name, config, CPU)
        for line in sys.stdin:
            count = int(line)
            answer(timed(lambda count=count: draw(count)))


def answer(value: object) -> None:
    print(json.dumps(value), flush=True)


def timed(run: Callable[[], None]) -> Seconds:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def resident(key: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at its peak."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


class Contender:
    """A contender in a process of its own."""

    def __init__(self, activity: str, name: str, resolution: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, "--work", activity, name, str(resolution)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def read(self) -> Any:
        """Its next answer."""
        line = self._process.stdout.readline()  # pyright: ignore[reportOptionalMemberAccess]
        if not line:
            sys.exit(f"{self._process.args} failed")
        return json.loads(line)

    def turn(self, line: str = "") -> Seconds:
        """Have it do its work once."""
        print(line, file=self._process.stdin, flush=True)
        return Seconds(*self.read())

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its input, at which it ends


def in_turns(contenders: dict[str, Contender], lines: dict[str, str], pairs: int) -> dict[str, np.ndarray]:
    """Pairs x (CPU, wall) seconds of each; every other turn goes the other way round."""
    taken: dict[str, list[Seconds]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(pairs):
        for name in order:
            taken[name].append(contenders[name].turn(lines[name]))
        order.reverse()
    return {name: np.array(turns) for name, turns in taken.items()}


def ratio(of: np.ndarray, to: np.ndarray) -> tuple[float, str]:
    """Median of the ratios, and how it is printed: with their quartiles."""
    low, median, high = np.percentile(of / to, (25, 50, 75))
    return float(median), f"{median:.2f} ({low:.2f}-{high:.2f})"


def compare_training(resolution: int, pairs: int) -> Verdict:
    """Prints a table of all contenders."""
    with ExitStack() as processes:
        contenders = {name: processes.enter_context(Contender("training", name, resolution)) for name in CONTENDERS}
        operations = {name: contender.read() for name, contender in contenders.items()}
        taken = in_turns(contenders, dict.fromkeys(contenders, ""), pairs)
    print(f"\nOne iteration at {resolution} px, {pairs} turns:\n")
    print(
        "| | GFLOP | CPU s | wall s | GFLOP/CPU s | peer / it, CPU | peer / it, wall |\n|---|---|---|---|---|---|---|"
    )
    for name, turns in taken.items():
        cpu, wall = np.median(turns, axis=0)
        gflop = operations[name] / 1e9
        by_cpu, by_wall = (ratio(taken["peer"][:, clock], turns[:, clock])[1] for clock in (0, 1))
        print(f"| {name} | {gflop:.1f} | {cpu:.3f} | {wall:.3f} | {gflop / cpu:.0f} | {by_cpu} | {by_wall} |")
    print(f"\n| gain in CPU time at {resolution} px | of the architecture | of the engineering |\n|---|---|---|")
    for row, (architecture, engineering) in GAINS.items():
        gains = (ratio(taken[before][:, 0], taken[after][:, 0])[1] for before, after in (architecture, engineering))
        print(f"| {row} | {' | '.join(gains)} |")
    found, printed = ratio(taken["peer"][:, 0], taken["ours"][:, 0])
    return Verdict(f"iteration at {resolution} px, peer / ours", printed, f">= {FASTER[resolution]}",
                   found >= FASTER[resolution])  # fmt: skip


def compare_synthesis(resolution: int, pairs: int) -> Verdict:
    """Prints a table of both sides, each at the batch size that suits it best."""
    with Contender("synthesis", "peer", resolution) as peer, Contender("synthesis", "ours", resolution) as ours:
        contenders = {"peer": peer, "ours": ours}
        speeds = {
            name: {count: count / contender.turn(str(count)).cpu for count in BATCHES * 2}  # the second time counts
            for name, contender in contenders.items()
        }
        best = {name: max(speed, key=speed.__getitem__) for name, speed in speeds.items()}
        taken = in_turns(contenders, {name: str(count) for name, count in best.items()}, pairs)
    rates = {name: best[name] / turns for name, turns in taken.items()}
    print(f"\nSynthesis at {resolution} px, {pairs} turns:\n")
    print("| | batch | images/CPU s | images/s, wall | it / peer, CPU | at other batches, images/CPU s |")
    print("|---|---|---|---|---|---|")
    for name, rate in rates.items():
        cpu, wall = np.median(rate, axis=0)
        others = ", ".join(f"{count}: {speed:.1f}" for count, speed in speeds[name].items() if count != best[name])
        by_cpu = ratio(rate[:, 0], rates["peer"][:, 0])[1]
        print(f"| {name} | {best[name]} | {cpu:.1f} | {wall:.1f} | {by_cpu} | {others} |")
    found, printed = ratio(rates["ours"][:, 0], rates["peer"][:, 0])
    return Verdict(f"synthesis at {resolution} px, ours / peer", printed, f">= {SYNTHESIS_FASTER}",
                   found >= SYNTHESIS_FASTER)  # fmt: skip


def compare_memory(resolution: int) -> Verdict:
    """Prints a table of all contenders."""
    peaks: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(MEMORY_RUNS):
        for name, found in peaks.items():
            with Contender("memory", name, resolution) as contender:
                found.append(contender.read())
    print(f"\nPeak memory of {MEMORY_STEPS} iterations at {resolution} px beyond what imports, networks and optimisers "
          f"take, MiB, mean of {MEMORY_RUNS} processes (least-most):\n\n| {' | '.join(peaks)} |")  # fmt: skip
    print("|---" * len(peaks) + "|")
    print("| " + " | ".join(f"{np.mean(m):.0f} ({min(m):.0f}-{max(m):.0f})" for m in peaks.values()) + " |")
    found, printed = ratio(np.array(peaks["ours"]), np.array(peaks["peer"]))
    return Verdict(f"peak memory at {resolution} px, ours / peer", printed, f"<= {MEMORY_SHARE}", found <= MEMORY_SHARE)


def compare(pairs: int) -> None:
    """Print everything, as Markdown."""
    print(f"{machine()}; torch {torch.__version__}, 1 thread; batch 4, quarter width, 1 channel, fp32, WGAN-GP at "
          "every step, EMA; medians (quartiles)", flush=True)  # fmt: skip
    verdicts = [compare_training(resolution, pairs) for resolution in RESOLUTIONS]
    verdicts.append([compare_synthesis(resolution, pairs) for resolution in RESOLUTIONS][-1])  # 64 px has no target
    verdicts.append(compare_memory(RESOLUTIONS[-1]))
    print(f"\nLoad {os.getloadavg()[0]:.1f} at the end.\n\n| | measured | target | met |\n|---|---|---|---|")
    for verdict in verdicts:
        print(f"| {verdict.figure} | {verdict.measured} | {verdict.target} | {'yes' if verdict.met else 'no'} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=PAIRS, help="turns of every contender")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if find_spec("pro_gan_pytorch") is None:
        sys.exit("pro-gan-pth is not installed: `make bench-gan` does it, apart from metsweep's own packages.")
    if arguments.work:
        activity, name, resolution = arguments.work
        work(activity, name, int(resolution))
    else:
        compare(arguments.pairs)
