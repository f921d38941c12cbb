"""The handwritten digits in this package (see data/README.md)."""

import gzip
import shutil
import sys
from importlib import resources

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

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


def loader(dataset: Dataset, batch_size: int, workers: int) -> DataLoader:
    """Return a DataLoader that shuffles, without workers if shared memory is too small.

    Workers pass batches in /dev/shm, and Docker gives a container 64 MB. If it is full, a worker
    fails with "unable to allocate shared memory", in older torch with a bus error. Here a sentence
    on stderr says so first.
    """
    if workers:
        tensors = default_collate([dataset[0]])
        # Each worker prepares two batches ahead (DataLoader's default), and one more is in use.
        needed = sum(tensor.nbytes for tensor in tensors) * batch_size * (2 * workers + 1)
        free = shutil.disk_usage("/dev/shm").free
        if needed > free:
            print(
                f"NOTE: /dev/shm has {free / 2**20:.0f} MB free, and the batches of {workers} "
                f"workers take up to {needed / 2**20:.0f} MB: loading without workers. Give the "
                "container more with `docker run --shm-size 8g` or `--ipc host`.",
                file=sys.stderr,
            )
            workers = 0
    return DataLoader(
        dataset, batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
