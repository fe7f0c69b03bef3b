"""Small networks run on one thread."""

from __future__ import annotations

import torch

torch.set_num_threads(1)  # threads that wait for each other spin
