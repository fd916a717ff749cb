"""`metsweep detect`: a trained detector on one volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sweep.cli.options import Out
from sweep.text import count_text


def detect(
    volume: Annotated[Path, typer.Argument(metavar="VOLUME", help="NIfTI volume, T1 after contrast.")],
    out: Out,
    model: Annotated[
        str | None, typer.Option(help="Folder of a detector, or models:/NAME@ALIAS; default: the champion.")
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.0, max=1.0, help="Leave out less confident boxes.")] = 0.2,
    slices: Annotated[
        Path | None, typer.Option(help="Slice set of the training, needed if the detector does not record it.")
    ] = None,
    stripped: Annotated[
        bool | None, typer.Option("--stripped/--with-skull", help="Skull-stripped or not; default: detected.")
    ] = None,
) -> None:
    """Find lesions in a volume.

    The volume is prepared as the detector's training slices were. Writes boxes.csv and boxes.json (the slice, the box
    in pixels of the prepared slice, in voxels of the file and in millimetres, RAS+, and the confidence) and an overlay
    picture of every slice with a detection (radiological orientation). Boxes that overlap from slice to slice are a
    lesion: lesions.csv lists them, lesions.nii.gz is their label map, lesions.mrk.json opens in 3D Slicer as points.
    One line shows the detector's validation figures. For research, not for diagnosis.

    \b
    Example:
      metsweep detect demo-cohort/P003/t1c.nii.gz --out found
    """
    from dataclasses import asdict

    from sweep import detect as detection
    from sweep.cli.checksums import checked
    from sweep.cli.console import output
    from sweep.cli.result import result_folder
    from sweep.console import TextTable
    from sweep.registry.champion import CHAMPION, champion_folder
    from sweep.registry.quality import quality_in_tags, quality_of_folder
    from sweep.registry.versions import tags_of_model
    from sweep.settings import Settings
    from trainers.data.volume_file import load_image

    load_image(volume)
    name = model or CHAMPION
    if name.startswith("models:/"):
        tracking_uri = Settings.from_environment().tracking_uri
        folder = champion_folder(name, tracking_uri)
        quality = quality_in_tags(tags_of_model(name, tracking_uri))
    else:
        folder = checked(Path(name))
        quality = quality_of_folder(folder, confidence)
    config = detection.slice_config(folder) if slices is None else detection.slice_config_of_set(checked(slices))
    with result_folder(out) as unfinished:
        detected = detection.detect(
            volume,
            folder,
            config,
            unfinished.result,
            confidence=confidence,
            model=name,
            quality=quality and asdict(quality),
            stripped=stripped,
        )
    most = detected.boxes.sort_values("confidence", ascending=False).head(10)
    boxes, on = count_text(len(detected.boxes), "box", "boxes"), count_text(detected.boxes["z"].nunique(), "slice")
    columns = ("slice", "confidence", "centre in the file (voxels)", "centre (mm, RAS+)")
    table = TextTable.of(f"{boxes} on {on}", columns, left=())
    for row in most.to_dict("records"):
        voxel = [(row[f"{axis}0"] + row[f"{axis}1"]) / 2 for axis in "ijk"]
        world = [(row[f"mm_{axis}0"] + row[f"mm_{axis}1"]) / 2 for axis in "xyz"]
        table.add_row(
            str(row["z"]),
            f"{row['confidence']:.2f}",
            ", ".join(f"{value - 0.5:.0f}" for value in voxel),  # boxes run from edge to edge, indices name centres
            ", ".join(f"{value:.1f}" for value in world),
        )
    console = output()
    unknown = "Validation figures of this detector are unknown: no evaluation was recorded with it."
    console.say(unknown if quality is None else quality.sentence(confidence))
    console.print(table)
    console.say(
        f"All boxes: {out / 'boxes.csv'}, {out / 'boxes.json'}; lesions: {out / 'lesions.csv'}, "
        f"{out / 'lesions.nii.gz'}, {out / 'lesions.mrk.json'} (3D Slicer); pictures: {out / 'overlays'}"
    )
