"""The digits are all there, and no digit is both trained on and held out."""

import torch

from torchcrate import data


def test_shape_and_range():
    images, labels = data.load()
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0, 1)
    assert labels.unique().tolist() == list(range(10))


def test_split_is_disjoint_and_complete():
    training, held_out = data.split(1797, seed=0)
    assert len(held_out) == 359
    assert torch.cat([training, held_out]).sort().values.equal(torch.arange(1797))


def test_split_follows_the_seed():
    assert data.split(100, seed=1)[1].equal(data.split(100, seed=1)[1])
    assert not data.split(100, seed=1)[1].equal(data.split(100, seed=2)[1])
