"""`metsweep realism`: synthetic slices beside real ones, by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import Fidelity, Out, Overrides

if TYPE_CHECKING:
    from trainers.evaluation.realism.report import RealismReport


def realism(
    synthetic: Annotated[
        list[Path], typer.Argument(metavar="SYNTHETIC...", help="Slice sets of `metsweep synthesize`.")
    ],
    slices: Annotated[Path, typer.Option(help="Slice set that the GANs were trained on.")],
    detector: Annotated[Path, typer.Option(help="Folder of a detector trained on real slices only.")],
    out: Out,
    fidelity: Fidelity = "laptop",
    overrides: Overrides = None,
) -> None:
    """Measure realism and patient leakage of synthetic slices.

    Compares each set with real training slices; real slices of held-out patients are the baseline. Shows whether the
    detector finds the requested boxes, and whether slices are closer to training patients than expected by chance. The
    t-SNE shows all sets together. Distances are measured in the features of an extractor
    (realism.extractors): compare them only within one extractor and detector, and not with published FIDs.

    \b
    Example:
      metsweep realism synthetic --slices slices --detector detector --out realism
    """
    from search_spaces.study import section_config
    from sweep.cli.checksums import checked
    from sweep.cli.console import output, progress
    from sweep.cli.result import result_folder
    from sweep.console import TextTable
    from trainers.data.slice_set import open_slice_set
    from trainers.distributed import Placement
    from trainers.evaluation.config import EvaluationConfig
    from trainers.evaluation.realism import realism as comparison
    from trainers.evaluation.realism.config import RealismConfig
    from trainers.evaluation.realism.report import read_realism
    from trainers.gan.source import check_judges

    config = section_config("realism", RealismConfig, fidelity=fidelity, overrides=overrides or ())
    evaluation = section_config("evaluation", EvaluationConfig, fidelity=fidelity)
    sets = {name: [open_slice_set(checked(folder))] for name, folder in _named(synthetic).items()}
    opened = open_slice_set(checked(slices))
    checked(detector)
    for (drawn,) in sets.values():
        check_judges(drawn, opened, detector)
    with result_folder(out) as unfinished, progress("realism") as on_progress:
        comparison.realism(
            sets, opened, detector, config, evaluation, unfinished.result, on_progress, Placement.alone().device
        )
    report = read_realism(out)
    console = output()
    console.say(
        f"{report.compared_slices:,} slices per side. In brackets: 95 % intervals; after ±: the spread over subsets. "
        f"Memorisation in features of {config.memorisation_extractor}."
    )
    title = "Synthetic slices beside real ones of held-out patients"
    console.print(TextTable.of(title, ("", "held-out real", *report.synthetic), _rows(report), whole=("",)))
    console.say(
        "Box recall: share of the requested boxes (of real slices: the lesion boxes) in which the detector finds a "
        "lesion. Random boxes have the same sizes and lie elsewhere in the same slices."
    )
    for name, figures in report.synthetic.items():
        console.say(f"Patient leakage of {name}: {figures.memorisation.verdict.sentence}.")
    for note in report.notes:
        console.say(note)
    talk.note(f"All figures and pictures: {out}")


def _named(folders: list[Path]) -> dict[str, Path]:
    """Sets by the names of their folders, or by their paths where two folders have the same name.

    Raises:
        ConfigError: a folder is named twice.
    """
    from trainers.exceptions import ConfigError

    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(f"SYNTHETIC: {', '.join(map(str, folders))} names a folder twice; allowed: each once.")
    names = [folder.absolute().name for folder in folders]
    return {
        name if names.count(name) == 1 and name != "real" else str(folder): folder
        for name, folder in zip(names, folders, strict=True)
    }


def _rows(report: RealismReport) -> Iterator[tuple[str, ...]]:
    """Label, the cell of held-out real slices, and one cell per set."""
    from trainers.evaluation.outcome import iou_text, with_interval

    sets = list(report.synthetic.values())
    every = [report.real, *sets]
    for extractor in report.real.features:
        distances = [figures.features[extractor] for figures in every]
        yield (
            f"{extractor}: kernel distance (KID)",
            *(f"{distance.kid.mean:.3g} ± {distance.kid.sd:.2g}" for distance in distances),
        )
        yield (
            f"{extractor}: Frechet distance (FID)",
            *("-" if distance.fid is None else f"{distance.fid:.1f}" for distance in distances),
        )
        for figure in ("precision", "recall", "density", "coverage"):
            yield f"{extractor}: {figure}", *(f"{getattr(distance, figure):.3f}" for distance in distances)
    yield "sliced Wasserstein distance", *(f"{figures.sliced_wasserstein:.1f}" for figures in every)
    pairs = [figures.ms_ssim for figures in every]
    yield (
        "MS-SSIM of pairs (higher: collapse)",
        *("-" if pair is None else with_interval(pair.mean, (pair.low, pair.high), 3) for pair in pairs),
    )
    for iou in sets[0].box_fidelity:
        fidelity = [figures.box_fidelity[iou] for figures in sets]
        requested = (str(at_iou.conditioned) for at_iou in fidelity)
        yield f"box recall, IoU {iou_text(iou)}", str(fidelity[0].real), *requested
        yield f"recall at random boxes, IoU {iou_text(iou)}", "", *(str(at_iou.random) for at_iou in fidelity)
    tests = [figures.memorisation for figures in sets]
    shares = [tests[0].close_share_held_out, *(test.close_share for test in tests)]
    yield "close to a training slice", *(f"{share:.1%}" for share in shares)
    yield "copies of a training slice", "", *(str(test.copies) for test in tests)
    nearest = [with_interval(test.nearest_is_training, test.nearest_interval, 2) for test in tests]
    yield "nearest is a training patient", "0.50 expected", *nearest
    yield "p, if nothing leaks", "", *(f"{test.p:.4f}" for test in tests)
    yield "p, if the splits are alike", "", *(f"{test.splits_alike_p:.4f}" for test in tests)
