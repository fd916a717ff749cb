"""What an artifact was made on: the same stage key makes other last digits on another kind of machine."""

from __future__ import annotations

import platform
import re
import sys
from functools import cache
from pathlib import Path

from trainers.config import Config


class Machine(Config):
    """Kind of machine and of numerical library; two that differ in it round differently."""

    cpu: str
    """Model of the processor."""
    gpu: str = ""
    """Model of the GPU; empty where none was used."""
    torch: str = ""
    """Version; empty where the process had no need of torch, and so of what follows."""
    kernels: str = ""
    """Instructions that torch's kernels use on the processor, e.g. AVX2."""
    blas: str = ""
    """Libraries of its linear algebra."""
    cuda: str = ""
    """Versions of CUDA and cuDNN; empty where no GPU was used."""

    @staticmethod
    def this(gpus: float = 0.0) -> Machine:
        """What this process computes on.

        Args:
            gpus: that its work occupies.
        """
        # A process that has not imported it did not compute with it, and importing it takes seconds.
        torch = sys.modules.get("torch")
        if torch is None:
            return Machine(cpu=_cpu())
        on_gpu = gpus > 0 and torch.cuda.is_available()
        return Machine(
            cpu=_cpu(),
            gpu=torch.cuda.get_device_name() if on_gpu else "",
            torch=torch.__version__,
            kernels=torch.backends.cpu.get_cpu_capability(),
            blas=_blas(torch.__config__.show()),
            cuda=f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}" if on_gpu else "",
        )

    @property
    def without_gpu(self) -> Machine:
        """What is beside its GPU."""
        return self.model_copy(update={"gpu": "", "cuda": ""})

    def __str__(self) -> str:
        torch = f"torch {self.torch} {self.kernels}" if self.torch else ""
        return ", ".join(filter(None, (self.gpu, self.cuda, self.cpu, torch, self.blas)))


@cache
def _cpu() -> str:
    try:
        model = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    except OSError:
        model = None
    return model[1].strip() if model else platform.processor() or platform.machine()


def _blas(build: str) -> str:
    """BLAS and oneDNN, from what torch says of its build."""
    libraries = re.findall(r"(?:MKL-DNN|oneDNN|Math Kernel Library Version|OpenBLAS) v?[\d.]+\d", build)
    named = re.search(r"BLAS_INFO=(\w+)", build)
    texts = [text.replace("Math Kernel Library Version", "MKL").replace("MKL-DNN v", "oneDNN ") for text in libraries]
    return ", ".join(dict.fromkeys([*([named[1].upper()] if named and not texts else []), *texts]))
