from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.utils.deterministic

from tests.trainers.gan.tiny_runs import tiny
from trainers.gan.arithmetic import arithmetic

torch_deterministic: Any = torch.utils.deterministic


def settings() -> dict[str, object]:
    cudnn = torch.backends.cudnn
    return {
        "repeats": torch.are_deterministic_algorithms_enabled(),
        "cudnn_repeats": cudnn.deterministic,
        "benchmark": cudnn.benchmark,
        "tf32": cudnn.allow_tf32,
        "fills": torch_deterministic.fill_uninitialized_memory,
    }


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_torch_rounds_and_repeats_as_the_config_says_and_as_before_afterwards(
    precision: str, exact: bool, device: str
) -> None:
    before = settings()
    with arithmetic(tiny(precision=precision, deterministic=exact), torch.device(device)):
        within = settings()
    assert within == {
        "repeats": exact and device == "cuda",
        "cudnn_repeats": exact,
        "benchmark": not exact,
        "tf32": precision != "fp32",
        "fills": not (exact and device == "cuda"),
    }
    assert settings() == before
    if exact and device == "cuda":
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_how_a_gpu_computes_is_part_of_the_result_only_where_it_may_change_it() -> None:
    assert {"deterministic", "cuda_graph"}.isdisjoint(tiny().model_dump())
    assert (
        tiny(deterministic=False, cuda_graph=True).model_dump().items()
        >= {
            "deterministic": False,
            "cuda_graph": True,
        }.items()
    )
