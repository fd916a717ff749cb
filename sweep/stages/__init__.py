"""One file per stage: everything that a stage is, from its inputs to what MLflow shows of it."""

from sweep.stages.detector import DetectorStage
from sweep.stages.evaluate import EvaluateStage
from sweep.stages.gan import GANStage
from sweep.stages.inpaint import InpaintStage
from sweep.stages.inpainter import InpainterStage
from sweep.stages.lesions import LesionsStage
from sweep.stages.paste import PasteStage
from sweep.stages.prepare import PrepareStage
from sweep.stages.realism import RealismStage
from sweep.stages.source import ShardStage, SourceStage
from sweep.stages.stage import Stage
from sweep.stages.synthesize import SynthesizeStage

__all__ = [
    "DetectorStage",
    "EvaluateStage",
    "GANStage",
    "InpaintStage",
    "InpainterStage",
    "LesionsStage",
    "PasteStage",
    "PrepareStage",
    "RealismStage",
    "ShardStage",
    "SourceStage",
    "Stage",
    "SynthesizeStage",
]
