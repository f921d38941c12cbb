"""The handwritten digits that the package carries (see data/README.md)."""

import gzip
from importlib import resources

import numpy as np
import torch

SIZE = 8
CLASSES = 10
MAXIMUM = 16  # of a pixel


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """Return all images, float32 (1797, 1, 8, 8) in [0, 1], and labels, int64 (1797,)."""
    source = resources.files(__package__) / "data" / "digits.csv.gz"
    with source.open("rb") as packed, gzip.open(packed) as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    images = torch.from_numpy(table[:, :-1]).float().div(MAXIMUM).reshape(-1, 1, SIZE, SIZE)
    return images, torch.from_numpy(table[:, -1]).clone()


def split(count: int, seed: int, held_out: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the indices (int64) to train on and the indices held out, the same for one seed."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    cut = round(count * held_out)
    return order[cut:], order[:cut]
