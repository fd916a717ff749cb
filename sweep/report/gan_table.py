"""The report's table of synthetic slices: are tumours at their boxes, and do they leak patients?"""

from __future__ import annotations

from collections.abc import Sequence

from sweep.report.results import Results
from sweep.report.section import MISSING, Line, Section, Value
from trainers.evaluation.outcome import iou_text
from trainers.evaluation.realism.box_fidelity import Found
from trainers.evaluation.realism.report import Figures, SyntheticFigures, read_realism


def gan_section(results: Results) -> Section | None:
    """One row per GAN, or other source, with realism in the store; None without any."""
    real: Figures | None = None
    held_out = ""
    gans: dict[str, SyntheticFigures] = {}
    keys: dict[str, tuple[str, ...]] = {}
    of_training_slices: set[str] = set()
    first_with = {trial.realism.key: trial for trial in reversed(results.plan.trials) if trial.realism}
    for trial in (trial for trial in results.plan.trials if trial in first_with.values()):
        artifact = results.made.get(trial.realism.key) if trial.realism else None
        if artifact is not None and trial.realism is not None:
            variant = f"{trial.variant}{trial.evaluate.detector.slices.fold_text}"
            name = variant if trial.number is None else f"t{trial.number} {variant}"
            report = read_realism(artifact.path)
            if real is None:
                real, held_out = report.real, f"real held-out slices{trial.evaluate.detector.slices.fold_text}"
            gans[name] = report.synthetic[trial.variant]
            if trial.gan is None:
                of_training_slices.add(name)
            keys[name] = (trial.realism.key, trial.realism.source.key)
    if real is None:
        return None
    fidelity = next(iter(gans.values())).box_fidelity
    ious = list(fidelity)
    what = ("box recall", "recall at random boxes")
    columns = ["variant", *(f"{recall} @ {iou_text(iou)}" for iou in ious for recall in what)]
    recalls = (cell for at_iou in fidelity.values() for cell in (str(at_iou.real), ""))
    yardstick = [held_out, *recalls, *_distances(real)]
    lines = []
    for name, gan in gans.items():
        recalls = (str(boxes) for iou in ious for boxes in _asked_and_random(gan, iou).values())
        lines.append(Line([name, *recalls, *_distances(gan)], _values(name, gan, ious), keys[name]))
    pasted = " and ".join(name for name in gans if name in of_training_slices)
    made_of = f" By construction, slices of {pasted} are training slices with something drawn in." if pasted else ""
    return Section(
        "gans",
        "Synthetic slices",
        [*columns, "sliced Wasserstein", "MS-SSIM of pairs"],
        [Line(yardstick, {"gan": "real", "sliced_wasserstein": real.sliced_wasserstein}), *lines],
        "Box recall: share of the conditioning boxes (of real slices: the lesion boxes) that the detector of real "
        "slices finds; random boxes: of the same sizes in the same slices. Brackets: 95% bootstrap intervals over "
        "slices (of real slices: over patients). Sliced Wasserstein distance to training slices: lower is closer. "
        "MS-SSIM: higher than real means that slices are too alike. Patient leakage: "
        + "; ".join(f"{name}, {gan.memorisation.verdict.sentence}" for name, gan in gans.items())
        + f".{made_of}",
    )


def _values(name: str, gan: SyntheticFigures, ious: Sequence[str]) -> dict[str, Value]:
    values: dict[str, Value] = {"gan": name}
    for iou in ious:
        for what, boxes in _asked_and_random(gan, iou).items():
            column = f"{what}_recall_{iou}"
            low, high = boxes.interval
            values |= {column: boxes.recall, f"{column}_low": low, f"{column}_high": high}
    return values | {
        "sliced_wasserstein": gan.sliced_wasserstein,
        "ms_ssim": gan.ms_ssim and gan.ms_ssim.mean,
        "memorisation": gan.memorisation.verdict.sentence,
    }


def _asked_and_random(gan: SyntheticFigures, iou: str) -> dict[str, Found]:
    fidelity = gan.box_fidelity[iou]
    return {"conditioned": fidelity.conditioned, "random": fidelity.random}


def _distances(figures: Figures) -> list[str]:
    likeness = figures.ms_ssim
    return [f"{figures.sliced_wasserstein:.1f}", MISSING if likeness is None else f"{likeness.mean:.3f}"]
