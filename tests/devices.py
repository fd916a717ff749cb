"""The devices of this machine, for tests that hold on all of them."""

from __future__ import annotations

import torch

DEVICES = ("cpu", *(["cuda:0"] if torch.cuda.is_available() else []))
