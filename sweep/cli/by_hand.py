"""The stages run by hand: each writes the same folder as in a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli import talk
from sweep.cli.options import Fidelity, Out, Overrides, ProcessCount, Slices, Verify, Workers
from sweep.text import count_text
from trainers.variants import GANS

TAUGHT = " or ".join(name for name, gan in GANS.items() if gan.needs_detector)


def prepare(
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", help="Folder with a cohort.json.")],
    out: Out,
    size: Annotated[int | None, typer.Option(help="Side of a slice in pixels, instead of the fidelity's.")] = None,
    fidelity: Fidelity = "laptop",
    overrides: Overrides = None,
    workers: ProcessCount = None,
    verify: Verify = False,
) -> None:
    """Make a slice set of a cohort.

    Every volume is stripped of its skull, cropped to the brain, cut into axial slices of one size and scaled to grey
    levels; the annotation becomes boxes. Patients whose split the cohort does not set are divided into train,
    validation and test. What was made of a volume is kept for a month in the folder METSWEEP_CACHE, so that an
    interrupted command continues and a patient who is added takes only their own time.

    \b
    Example:
      metsweep prepare demo-cohort --out slices --size 64
    """
    from search_spaces.study import section_config
    from sweep.cli.checksums import write_checksums
    from sweep.cli.console import progress
    from sweep.cli.result import result_folder
    from sweep.doctor import usable_cores
    from sweep.settings import cache_folder
    from trainers.data import prepare as preparation
    from trainers.data.cohort import open_cohort
    from trainers.data.cohort_cache import CohortCache
    from trainers.data.processes import Processes

    sized = [] if size is None else [f"prepare.size={size}"]
    config = section_config(
        "prepare", preparation.PrepareConfig, fidelity=fidelity, overrides=[*(overrides or ()), *sized]
    )
    opened = open_cohort(cohort)
    run, cache = Processes(workers or usable_cores()), CohortCache(cache_folder(), verify)
    with result_folder(out) as unfinished, progress("prepare") as on_progress:
        preparation.prepare(opened, config, unfinished.result, on_progress, run, cache)
        write_checksums(unfinished.result)
    talk.note(f"Slice set: {out}. Next: metsweep train gan {out} --out gan")


def train_gan(
    slices: Slices,
    out: Out,
    variant: Annotated[str, typer.Option(help=f"{', '.join(GANS)}.")] = "cpggan",
    detector: Annotated[
        Path | None,
        typer.Option(
            metavar="DETECTOR",
            help=f"Detector trained on real slices; its loss also trains the generator ({TAUGHT} only).",
        ),
    ] = None,
    fidelity: Fidelity = "laptop",
    overrides: Overrides = None,
    workers: Workers = 1,
) -> None:
    """Train a GAN on the training split of a slice set.

    Checkpoints are kept beside OUT until the training has ended. If interrupted, run the same command again to resume.
    The result holds the averaged generator, its config, and the history of losses and figures.

    \b
    Example:
      metsweep train gan slices --out gan --variant cpggan --set gan.learning_rate=1e-4
      metsweep train gan slices --out gan --variant cpggan+detector --detector detector
    """
    import torch

    from search_spaces.study import section_config
    from sweep.cli.checksums import checked
    from sweep.cli.result import result_folder
    from sweep.cli.training import gan_run, train
    from trainers.data.slice_set import open_slice_set
    from trainers.gan.batches import check_fits
    from trainers.gan.config import GANConfig
    from trainers.gan.feedback import open_feedback

    config = section_config("gan", GANConfig, fidelity=fidelity, variant=variant, overrides=overrides or ())
    opened = open_slice_set(checked(slices))
    run = gan_run(config, opened.path.absolute(), detector and checked(detector).absolute())
    with result_folder(out) as unfinished:
        open_feedback(config, detector, torch.device("cpu"))  # before Ray starts, which takes its time
        check_fits(config, opened, workers)
        train(run, unfinished, workers)
    talk.note(f"GAN: {out}. Next: metsweep synthesize {out} {slices} --out synthetic --count 200")


def train_inpainter(
    slices: Slices, out: Out, fidelity: Fidelity = "laptop", overrides: Overrides = None, workers: Workers = 1
) -> None:
    """Train a diffusion model that draws lesions into real slices.

    It learns to redraw windows around the lesions of the training split. Checkpoints are kept beside OUT until the
    training has ended. If interrupted, run the same command again to resume. The result holds the averaged network, its
    config, the lesions that it learnt from, and pictures.

    \b
    Example:
      metsweep train inpainter slices --out inpainter
    """
    from search_spaces.study import section_config
    from sweep.cli.checksums import checked
    from sweep.cli.result import result_folder
    from sweep.cli.training import inpainter_run, train
    from trainers.data.slice_set import open_slice_set
    from trainers.inpainting.config import InpaintConfig
    from trainers.inpainting.training import fitting_lesions

    config = section_config("inpaint", InpaintConfig, fidelity=fidelity, overrides=overrides or ())
    opened = open_slice_set(checked(slices))
    with result_folder(out) as unfinished:
        fitting_lesions(config, opened, workers)  # before Ray starts, which takes its time
        train(inpainter_run(config, opened.path.absolute()), unfinished, workers)
    talk.note(f"Inpainter: {out}. Next: metsweep synthesize {out} {slices} --out synthetic --count 200")


def synthesize(
    gan: Annotated[
        Path, typer.Argument(metavar="GAN", help="Folder of `metsweep train gan`, or of `train inpainter`.")
    ],
    slices: Slices,
    out: Out,
    count: Annotated[int, typer.Option(min=1, help="Number of synthetic slices.")],
    fidelity: Fidelity = "laptop",
    overrides: Overrides = None,
    review: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Keep/discard list; overrides the automatic decision.")
    ] = None,
) -> None:
    """Generate synthetic slices with a trained GAN, or draw lesions into real ones with an inpainter.

    A GAN's boxes are sampled from the training annotations; an inpainter's are added to those of a real slice. Slice i
    depends only on the network and i, so a set of 200 equals the first 200 slices of a set of 1000. Options such as
    `--set synthesis.max_shift=0.05` change how boxes are sampled. A slice whose tumours do not stand out is generated
    again (`--set synthesis.curate=false` keeps it); a list with the columns slice_id and decision (keep or discard)
    overrides the automatic decision. If interrupted, run the same command again to resume. The result includes
    pictures: samples, and of a GAN interpolations, a moving box and discarded slices.

    \b
    Example:
      metsweep synthesize gan slices --out synthetic --count 200
    """
    from search_spaces.study import section_config
    from sweep.cli.checksums import checked
    from sweep.cli.result import result_folder
    from sweep.cli.training import load_source, synthesis_run, train
    from trainers.data.slice_set import open_slice_set
    from trainers.gan.config import SynthesisConfig
    from trainers.gan.review import read_review, review_of
    from trainers.gan.shard import read_shard

    overridden = [*(overrides or ()), f"synthesis.shard_size={count}"]
    config = section_config("synthesis", SynthesisConfig, fidelity=fidelity, overrides=overridden)
    if review is not None:
        config = config.model_copy(update={"review": str(review)})
    variant = load_source(checked(gan)).config.variant
    decided = review_of(config, variant, 0)
    run = synthesis_run(config, gan, open_slice_set(checked(slices)).path.absolute(), decided)
    with result_folder(out) as unfinished:
        train(run, unfinished, workers=1)
    curation = read_shard(out).curation
    if curation.threshold is not None:
        talk.say(
            f"Curation: {100 * curation.discard_rate:.1f} % of {curation.attempts} attempts discarded, threshold "
            f"of visibility {curation.threshold:.2f}; slices that remained unclear: {curation.unclear}."
        )
    if config.review is not None:
        talk.say(
            f"{config.review}: {curation.kept_by_review} kept and {curation.discarded_by_review} discarded of "
            "these slices."
        )
        if others := len(read_review(Path(config.review)).attempts) - len(decided.attempts):
            talk.say(
                f"{config.review}: {count_text(others, 'decision')} for images beyond --count {count} or of a GAN of "
                "another variant, so not for these slices."
            )
    made = count_text(count, "synthetic slice")
    talk.note(f"{made}: {out}. Next: metsweep train detector {slices} --synthetic {out} --out detector")


def train_detector(
    slices: Slices,
    out: Out,
    synthetic: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Synthetic slices to add; may be repeated.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=0, help="Use the first COUNT synthetic slices; default: all.")
    ] = None,
    fidelity: Fidelity = "laptop",
    overrides: Overrides = None,
    workers: Workers = 1,
) -> None:
    """Train a detector on real and synthetic slices: YOLOv3, or what detector.model names.

    The detector learns from the training split of a slice set and, if given, from synthetic slices. The weights with
    the best sensitivity on the validation split are kept; the test split is never read. Checkpoints are kept beside OUT
    until the training has ended. If interrupted, run the same command again to resume.

    \b
    Example:
      metsweep train detector slices --synthetic synthetic --count 100 --out detector
    """
    from search_spaces.study import section_config
    from sweep.cli.checksums import checked
    from sweep.cli.result import result_folder
    from sweep.cli.training import detector_run, train
    from trainers.data.slice_set import open_slice_set
    from trainers.detector.config import DetectorConfig
    from trainers.detector.selection import read_selection
    from trainers.detector.training import open_checked

    config = section_config("detector", DetectorConfig, fidelity=fidelity, overrides=overrides or ())
    real = open_slice_set(checked(slices))
    shards = [open_slice_set(checked(folder)) for folder in synthetic or ()]
    wanted = sum(len(shard.images) for shard in shards) if count is None else count
    run = detector_run(config, real.path.absolute(), [shard.path.absolute() for shard in shards], wanted)
    with result_folder(out) as unfinished:
        open_checked(config, real, shards, wanted, workers)  # before Ray starts, which takes its time
        train(run, unfinished, workers)
    talk.note(f"Detector: {out}. Next: metsweep evaluate {out} {slices} --out evaluation")
    selected = read_selection(out)
    if selected is not None and not selected.sensitivity:
        talk.say(
            f"Warning: the detector finds no lesion of the validation split at {100 * selected.confidence:g} % "
            f"confidence. Train longer (detector.steps, now {selected.steps}) or faster (detector.learning_rate)."
        )


def evaluate(
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="Folder of `metsweep train detector`.")],
    slices: Slices,
    out: Out,
    fidelity: Fidelity = "laptop",
    overrides: Overrides = None,
) -> None:
    """Measure a detector's sensitivity and false positives.

    Shows sensitivity and false positives (FPs) per slice on the validation and the test split at each IoU threshold,
    with intervals over patients, by lesion diameter and scanner, for 3D lesions and by chance; writes them
    with all lesions and detections (also as COCO files) and pictures.

    \b
    Example:
      metsweep evaluate detector slices --out evaluation
    """
    from search_spaces.study import section_config
    from sweep.cli.checksums import checked
    from sweep.cli.console import output, progress
    from sweep.cli.metric_tables import show_metrics
    from sweep.cli.result import result_folder
    from trainers.data.slice_set import open_slice_set
    from trainers.distributed import Placement
    from trainers.evaluation import evaluate as evaluation
    from trainers.evaluation.metrics_file import METRICS_FILE, read_metrics

    config = section_config("evaluation", evaluation.EvaluationConfig, fidelity=fidelity, overrides=overrides or ())
    opened = open_slice_set(checked(slices))
    with result_folder(out) as unfinished, progress("evaluate") as on_progress:
        evaluation.evaluate(checked(detector), opened, config, unfinished.result, on_progress, Placement.alone().device)
    console = output()
    for split, metrics in read_metrics((out / METRICS_FILE).read_text(), out / METRICS_FILE).items():
        show_metrics(metrics, console, title=f"{split} split of {slices}")
    talk.note(f"Tables, pictures and COCO files: {out}")
