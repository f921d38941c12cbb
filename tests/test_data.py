"""All digits are there, and none is both trained on and held out."""

from collections import namedtuple

import pytest
import torch
from torch.utils.data import TensorDataset

from digits import data


def test_shape_and_range():
    images, labels = data.load()
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0, 1)
    assert labels.unique().tolist() == list(range(10))


def test_split():
    training, held_out = data.split(1797, seed=0)
    assert len(held_out) == 359
    assert torch.cat([training, held_out]).sort().values.equal(torch.arange(1797))


def test_split_seed():
    assert data.split(100, seed=1)[1].equal(data.split(100, seed=1)[1])
    assert not data.split(100, seed=1)[1].equal(data.split(100, seed=2)[1])


@pytest.fixture
def shared_memory(monkeypatch):
    """Return a function that pretends to have so many bytes of shared memory left."""
    usage = namedtuple("Usage", "total used free")
    return lambda free: monkeypatch.setattr(
        data.shutil, "disk_usage", lambda _: usage(free, 0, free)
    )


NUMBERS = TensorDataset(torch.arange(100.0))  # 4 bytes each


def test_workers(shared_memory, capsys):
    shared_memory(4 * 10 * 5)
    loader = data.loader(NUMBERS, batch_size=10, workers=2)
    assert loader.num_workers == 2
    assert capsys.readouterr().err == ""
    assert sorted(torch.cat([batch for (batch,) in loader]).tolist()) == list(range(100))


def test_little_shared_memory_advice(shared_memory, capsys):
    shared_memory(4 * 10 * 5 - 1)
    assert data.loader(NUMBERS, batch_size=10, workers=2).num_workers == 0
    assert "--shm-size" in capsys.readouterr().err
