"""`metsweep slices ...`: slice sets for other programs, and from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sweep.cli import talk
from sweep.cli.options import Out, Slices
from sweep.text import count_text

Form = Literal["yolo", "coco", "nnunet"]


def export(
    slices: Slices,
    out: Out,
    to: Annotated[Form, typer.Option(help="Format of the folder.")],
) -> None:
    """Write a slice set as pictures for another program.

    yolo: images/, labels/ and data.yaml for Ultralytics; coco: images/ and annotations/instances_*.json; nnunet: a raw
    data set of 2-D pictures, boxes painted as masks. slices.csv holds patient, scanner and volume of each picture.
    Synthetic slices are exported in the same way.

    \b
    Example:
      metsweep slices export slices --to yolo --out for-yolo
    """
    from sweep.cli.checksums import checked
    from sweep.cli.console import progress
    from sweep.cli.result import result_folder
    from trainers.data.slice_export import export_slices
    from trainers.data.slice_set import open_slice_set

    opened = open_slice_set(checked(slices))
    with result_folder(out) as unfinished, progress("slices export") as on_progress:
        merged = export_slices(opened, to, unfinished.result, on_progress)
    counts = f"{count_text(len(opened.images), 'slice')} and {count_text(len(opened.boxes), 'box', 'boxes')}"
    talk.say(f"{counts}: {out}")
    if merged:
        talk.say(f"Note: {count_text(merged, 'box', 'boxes')} touch others and are part of their mask.")


def import_(
    form: Annotated[Form, typer.Argument(metavar="yolo|coco|nnunet", help="Format of the folder.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder with the pictures.")],
    out: Out,
    patients: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="image, patient_id, and if known split, scanner, volume, z, kind."),
    ] = None,
    size: Annotated[int | None, typer.Option(min=32, max=1024, help="Pad to squares and scale to SIZE x SIZE.")] = None,
) -> None:
    """Make a slice set of pictures with boxes.

    Each picture's patient is needed, as no patient may be in two splits: slices.csv in the folder, which `metsweep
    slices export` writes, or --patients. Splits are those of the table or of the folders; boxes of nnU-Net's masks
    surround their parts. Pictures are grey, 8 bits.

    \b
    Example:
      metsweep slices import yolo for-yolo --out slices-again
    """
    from sweep.cli.checksums import write_checksums
    from sweep.cli.console import progress
    from sweep.cli.result import result_folder
    from trainers.data.slice_import import import_slices
    from trainers.data.slice_set import open_slice_set

    with result_folder(out) as unfinished, progress("slices import") as on_progress:
        import_slices(form, source, unfinished.result, on_progress, patients, size)
        write_checksums(unfinished.result)
    opened = open_slice_set(out)
    patients_of = opened.slices.groupby("split")["patient_id"].nunique()
    talk.say(
        f"{count_text(len(opened.images), 'slice')} and {count_text(len(opened.boxes), 'box', 'boxes')}; patients: "
        f"{', '.join(f'{split} {count}' for split, count in patients_of.items())}."
    )
    talk.note(f"Slice set: {out}. Next: metsweep train detector {out} --out detector")
