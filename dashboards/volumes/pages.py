"""The pages of a study's volumes: the scan with lesions and detections as a mask, and pictures of the same slices."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import pandas as pd
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from dashboards.slices.sets import Sets
from dashboards.volumes.findings import FALSE_POSITIVE, FOUND, HIT, MISSED, Finding, findings, frames, middle
from dashboards.volumes.view import View, patients_of
from dashboards.web.pages import page, png, shown, study_path
from sweep.lesions import on_grid
from sweep.report.results import Results
from sweep.store import Store
from trainers.data.slice_set import CORNERS, SliceSet
from trainers.exceptions import CohortError

LABELS = {
    FOUND: "lesion, found",
    MISSED: "lesion, missed",
    HIT: "detection that hits",
    FALSE_POSITIVE: "false positive",
}
MOST_FALSE = 200
"""False positives that a page lists."""
MOST_PICTURES = 60
KEEP = {"Cache-Control": "private, max-age=3600"}
"""Slices and volumes do not change while a study is looked at."""


def volume_routes(results_of: Callable[[str], Results], store: Store, sets: Sets) -> list[Route]:
    """Routes below `/study/NAME/volumes`.

    Args:
        results_of: name of a study -> its results; raises where there is none.
        sets: keeps what was opened last.
    """

    def opened(name: str) -> tuple[Results, SliceSet]:
        results = results_of(name)
        return results, sets.real(store, results.plan).slices

    def listing(request: Request) -> Response:
        name = request.path_params["name"]
        patients = patients_of(opened(name)[1])
        content = {"study": name, "study_path": f"/{study_path(name)}", "patients": patients, "path_of": volumes_path}
        return page(request, "volumes/list.html.jinja", **content)

    def asked(request: Request) -> View:
        return View.of(request, *opened(request.path_params["name"]))

    def view(request: Request) -> Response:
        return page(request, "volumes/volume.html.jinja", **_content(asked(request), request.query_params.get("slice")))

    def scan(request: Request) -> Response:
        """The file of the cohort as it is."""
        return FileResponse(asked(request).scan, headers=KEEP, media_type="application/octet-stream")

    def marks(request: Request) -> Response:
        """The boxes as a mask on the grid of that file."""
        shown = asked(request)
        image, geometry = shown.image, shown.geometry
        assert geometry is not None, "else there is no image"
        mask = on_grid(image, frames(shown.boxes, geometry))
        content = gzip.compress(mask.to_bytes(), compresslevel=1)
        return Response(content, headers={"Cache-Control": "no-store"}, media_type="application/octet-stream")

    def picture(request: Request) -> Response:
        pixels = asked(request).picture(request.path_params["z"])
        return Response(png(pixels), headers=KEEP, media_type="image/png")

    patient = "/study/{name}/volumes/{patient:path}"  # whose name may have slashes
    volume = f"{patient}/{{number:int}}"
    return [
        Route("/study/{name}/volumes", listing),
        Route(f"{volume}/scan.nii", scan),
        Route(f"{volume}/scan.nii.gz", scan),
        Route(f"{volume}/marks.nii.gz", marks),
        Route(f"{volume}/slices/{{z:int}}.png", picture),
        Route(patient, view),
    ]


def volumes_path(study: str, patient: str) -> str:
    """Where the page of a patient's volumes is."""
    return f"/{study_path(study)}/volumes/{quote(patient, safe='')}"


def _content(view: View, slice_id: str | None) -> dict[str, Any]:
    """What the template names; `slice_id` is the slice to open at."""
    path, geometry = volumes_path(view.study, view.patient), view.geometry
    rows = [row for row in view.results.rows if row.artifacts]
    trial = {"seed": view.seed, "iou": f"{view.iou:g}", "confidence": f"{view.confidence:g}"}
    trial |= {} if view.row is None else {"arm": view.row.name}
    found = findings(view.boxes)
    false = [finding for finding in found if finding.kind == FALSE_POSITIVE]
    listed = [finding for finding in found if finding.kind != FALSE_POSITIVE] + false[:MOST_FALSE]
    try:
        scan, problem = view.scan.name, ""
    except CohortError as error:
        scan, problem = "", shown(error)
    return {
        "view": view,
        "labels": LABELS,
        "path": path,
        "study_path": f"/{study_path(view.study)}",
        "arms": [row.name for row in rows],
        "seeds": [] if view.row is None else list(view.row.artifacts),
        "ious": [f"{iou:g}" for iou in view.results.plan.study.evaluation.ious],
        "trial": trial,
        "findings": [(finding, geometry and middle(finding.box, finding.z, geometry)) for finding in listed],
        "left_out": len(found) - len(listed),
        "problem": problem,
        "scan": f"{path}/{view.number}/scan.nii{'.gz' if scan.lower().endswith('.gz') else ''}",
        "marks": f"{path}/{view.number}/marks.nii.gz?{urlencode(trial)}",
        "at": _begin(view, listed, slice_id),
        "pictures": _pictures(view.boxes),
    }


def _begin(view: View, listed: list[Finding], slice_id: str | None) -> list[float] | None:
    """The place to open at: in the middle of a slice that the address names, else of the first finding."""
    if view.geometry is None:
        return None
    slices, size = view.slices.slices, float(view.slices.size)
    if slice_id in set(slices.loc[slices["volume"] == view.volume, "slice_id"]):
        z = int(slices.loc[slices["slice_id"] == slice_id, "z"].item())
        return middle((0.0, 0.0, size, size), z, view.geometry)
    return middle(listed[0].box, listed[0].z, view.geometry) if listed else None


def _pictures(boxes: pd.DataFrame) -> list[tuple[int, list[dict[Any, Any]]]]:
    """Slices and their boxes, from inferior to superior; of many, those with lesions and with the surest detections."""
    surest = boxes.assign(lesions=boxes["lesion"].notna()).groupby("z")[["lesions", "confidence"]].max()
    chosen = surest.sort_values(["lesions", "confidence"], ascending=False).index[:MOST_PICTURES]
    by_z = boxes[boxes["z"].isin(chosen)].groupby("z")
    return [(int(str(z)), rows[["kind", *CORNERS]].to_dict("records")) for z, rows in by_z]
