"""One file a stage: what it reads, which config decides it, and how it calls `trainers`."""

from sweep.stages.detector import DetectorStage
from sweep.stages.evaluate import EvaluateStage
from sweep.stages.gan import GANStage
from sweep.stages.prepare import PrepareStage
from sweep.stages.realism import RealismStage
from sweep.stages.stage import Findings, Stage
from sweep.stages.synthesize import SynthesizeStage

__all__ = [
    "DetectorStage",
    "EvaluateStage",
    "Findings",
    "GANStage",
    "PrepareStage",
    "RealismStage",
    "Stage",
    "SynthesizeStage",
]
