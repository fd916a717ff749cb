from __future__ import annotations

import torch

# Tests run in as many processes as there are cores; and sums, to the last bit, depend on how many threads share them.
torch.set_num_threads(1)
