"""The kind of machine that made an artifact: the same stage key gives other last digits on another kind."""

from __future__ import annotations

import platform
import re
import sys
from functools import cache
from pathlib import Path

from trainers.config import Config


class Machine(Config):
    """Kind of machine and of numerical libraries; two different kinds round differently."""

    cpu: str
    """Model of the processor."""
    gpu: str = ""
    """Model of the GPU; empty if none was used."""
    torch: str = ""
    """Version; empty, like what follows, if the process did not use torch."""
    kernels: str = ""
    """Instructions that torch's kernels use on the processor, e.g. AVX2."""
    blas: str = ""
    """Linear algebra libraries of torch."""
    cuda: str = ""
    """Versions of CUDA and cuDNN; empty if no GPU was used."""

    @staticmethod
    def this(gpus: float = 0.0) -> Machine:
        """The machine of this process, whose work occupies so many GPUs."""
        # A process that has not imported torch did not compute with it, and the import takes seconds.
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
        """The same machine without its GPU."""
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
    """BLAS and oneDNN, from torch's description of its build."""
    libraries = re.findall(r"(?:MKL-DNN|oneDNN|Math Kernel Library Version|OpenBLAS) v?[\d.]+\d", build)
    named = re.search(r"BLAS_INFO=(\w+)", build)
    texts = [text.replace("Math Kernel Library Version", "MKL").replace("MKL-DNN v", "oneDNN ") for text in libraries]
    return ", ".join(dict.fromkeys([*([named[1].upper()] if named and not texts else []), *texts]))
