"""What one GPU does with full-width networks, trained, drawing and predicting: `make bench-gpu`.

    python -m tests.benchmarks.bench_gpu

Every row is timed for SECONDS after a warm-up, so the whole takes about four minutes on a card that holds the networks.
Rows that have a target come first; a row that fails, hangs or kills its process costs itself alone. Rows are printed as
they come. FLOPs are those that our iteration runs, and the card's rate is that of one large bf16 matrix product,
measured here. Launched updates are set beside recorded ones (`gan.cuda_graph`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from tests.benchmarks.gpu_work import (
    Figures,
    Measure,
    Size,
    drawing,
    learning,
    loading,
    matrix_products,
    prediction,
    shard,
    training,
)  # fmt: skip
from tests.benchmarks.guarded import FailedError, Guarded

ROW_SECONDS = 60.0
"""A row that takes longer has failed."""


def machine_lines() -> Iterator[str]:
    """Card, driver, torch and Python."""
    yield f"{torch.cuda.get_device_name(0)}; Python {sys.version.split()[0]}, torch {torch.__version__}"
    asked = ["nvidia-smi", "--query-gpu=driver_version,memory.total,power.limit", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    yield f"driver, memory, power: {answer or 'nvidia-smi does not tell'}"


class Row(NamedTuple):
    """One line of the table."""

    name: str
    measure: Measure
    changes: dict[str, Any]
    """Of the paper's config, or what else the measurement reads."""
    unit: str = "slices/s"
    target: float | None = None
    """Least speed, or most seconds."""

    def met(self, speed: float) -> str:
        if self.target is None:
            return ""
        return "met" if (speed <= self.target if self.unit == "sec/kimg" else speed >= self.target) else "missed"


def _gan(target: float | None = None, **changes: Any) -> Row:
    name = ", ".join(f"{key} {value}" for key, value in changes.items())
    return Row(f"GAN, {name}", training, changes, "sec/kimg", target)


def _drawing(batch: int, target: float | None, precision: str = "tf32") -> Row:
    name = f"generator, {precision}, calls of {batch}"
    return Row(name, drawing, {"batch": batch, "precision": precision}, target=target)


RECORDED = {"precision": "bf16", "cuda_graph": True}
MATRIX_ROW = Row("bf16 matrix products", matrix_products, {}, "TFLOP/s")
ROWS = (
    _gan(6.0, batch_size=4, **RECORDED),
    _gan(3.0, batch_size=16, **RECORDED),
    _gan(1.9, batch_size=64, **RECORDED),
    _gan(0.4, batch_size=32, **RECORDED, width=0.25, resolution=128),
    _drawing(128, 1500.0),
    Row("predict at 608 px, confidence 1e-5", prediction, {}, target=300.0),
    Row("stage synthesize, tf32", shard, {"precision": "tf32"}),
    Row("detector training at 416 px from 256 px, batch 64, amp", loading, {"amp": True}),
    Row("the same without loading", learning, {"amp": True}),
    Row("the same without loading and amp", learning, {"amp": False}),
    _gan(batch_size=16, precision="tf32", cuda_graph=True),
    _gan(batch_size=4, precision="bf16"),
    _gan(batch_size=16, precision="bf16"),
    _gan(batch_size=64, precision="bf16"),
    _gan(batch_size=16, precision="tf32"),
    _gan(batch_size=16, precision="fp32"),
    _drawing(128, None, "bf16"),
    _drawing(32, None),
    _gan(batch_size=16, **RECORDED, deterministic=False),
)


def table(rows: Sequence[Row], size: Size, device: torch.device, guarded: Callable[..., Figures]) -> Iterator[str]:
    """The table, line by line."""
    yield "| work | | unit | target | | peak GiB | TFLOP/s | share of matrix rate |\n|---|---|---|---|---|---|---|---|"
    rate = 0.0
    for row in (MATRIX_ROW, *rows):
        try:
            found = guarded(row.measure, row.changes, size, device)
        except FailedError as error:
            yield f"| {row.name} | failed: {error} | {row.unit} | {row.target or ''} | | | | |"
            continue
        rate = rate or found.flop_per_second
        cells = [row.name, f"{found.speed:.4g}", row.unit, row.target or "", row.met(found.speed)]
        cells.append(f"{found.peak_gib:.1f}" if found.peak_gib else "")
        if found.flop_per_second:
            cells += [f"{found.flop_per_second / 1e12:.3g}", f"{found.flop_per_second / rate:.0%}"]
        yield f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table of the GPU."""
    if not torch.cuda.is_available():
        sys.exit(f"No GPU: torch {torch.__version__} sees no CUDA device, so nothing was measured.")
    with Guarded(ROW_SECONDS) as guarded:
        for part in (machine_lines(), table(ROWS, Size(), torch.device("cuda", 0), guarded)):
            for line in part:
                print(line, flush=True)


if __name__ == "__main__":
    main()
