"""What MLflow shows of a run: the params and metrics by which runs are compared, few enough to read.

A run holds the rest as files: `config/*.yaml` all values of its configs, `history/*.jsonl` all of its training,
`figures.json` of an evaluation or of a GAN's realism all its figures. MLflow's page that compares runs opens on the
first metric by name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from trainers.evaluation.measures import TABLE1
from trainers.evaluation.metrics_file import Metrics, rate

PARAMS = (
    "detector.model", "detector.steps", "detector.learning_rate", "prepare.size", "paste.variant", "inpaint.total_kimg",
    "gan.variant", "gan.resolution", "gan.total_kimg", "gan.learning_rate", "gan.seed",
)  # fmt: skip
"""Values of configs, beside those that the study draws."""
HISTORY = (
    "detector/loss", "validation/*",
    "gan/d_loss", "gan/g_loss", "gan/distance", "gan/overfitting", "gan/detector_loss", "gan/resolution",
    "inpainter/loss",
)  # fmt: skip
"""Of training, against steps or images."""
FINDINGS = (
    "gan/box_contrast", "gan/box_contrast_real", "gan/discard_rate", "lesions/*",
    "inpainter/box_contrast", "inpainter/box_contrast_real", "inpainter/discard_rate",
    "realism/box_fidelity/*/recall", "realism/detector/kid/mean", "realism/wavelet/kid/mean",
    "realism/held_out/wavelet/kid/mean", "realism/ms_ssim/mean", "realism/held_out/ms_ssim/mean",
    "realism/sliced_wasserstein", "realism/held_out/sliced_wasserstein", "realism/memorisation/copies",
    "realism/memorisation/p",
)  # fmt: skip
"""Of synthetic slices."""
SYSTEM = ("cpu_utilization_percentage", "process_memory_usage_megabytes", "gpu_*_utilization_percentage")
"""Of the machine."""


def chosen(values: Mapping[str, str], drawn: Collection[str]) -> dict[str, str]:
    """The params of a run, from all values of its configs and the names that the study draws."""
    return {name: value for name, value in values.items() if name in PARAMS or name in drawn}


def shown(name: str, patterns: Iterable[str]) -> bool:
    """Whether a metric is one of those named by patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def evaluation_figures(evaluated: Metrics) -> dict[str, float]:
    """Metrics of an evaluation: Table 1 on both splits; on the test split at the first IoU threshold more."""
    metrics = {
        f"{split}/{measure.name}_{iou}": rate(figures, measure.name)
        for split, ious in evaluated.items()
        for iou, figures in ious.items()
        for measure in TABLE1
    }
    iou, test = next(iter(evaluated["test"].items()))
    finer = {f"sensitivity_at_{fps}_fps": point["sensitivity"] for fps, point in test["at_fps_per_slice"].items()}
    if test["lesion_level"]:
        finer["lesion_sensitivity"] = test["lesion_level"]["sensitivity"]
        finer["lesion_fps_per_volume"] = test["lesion_level"]["fps_per_volume"]
    if test["chance"]:
        finer["chance_sensitivity"] = test["chance"]["sensitivity"]
    if test["calibration"] and test["calibration"]["error"] is not None:
        finer["calibration_error"] = test["calibration"]["error"]
    return metrics | {f"test/{name}_{iou}": value for name, value in finer.items()}
