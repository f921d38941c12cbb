"""torch computes, on the CPU."""

import re

import pytest

from torchcrate.testing import wheels

pytestmark = pytest.mark.real

CONVOLUTION = """
import torch
layer = torch.nn.Conv2d(1, 2, 3)
layer(torch.ones(1, 1, 5, 5)).sum().backward()
print(float(layer.weight.grad.sum()))
"""
WORKERS = """
import torch
from torch.utils.data import DataLoader, TensorDataset
numbers = TensorDataset(torch.arange(64.0))
loader = DataLoader(numbers, batch_size=8, num_workers=2)
print(sum(float(batch.sum()) for (batch,) in loader))
"""
BOXES = """
import torch, torchvision
boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6]])
print(torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5).tolist())
"""

# What `python -m torch.utils.collect_env` prints. In torch 2.0 that fails without pip.
REPORT = """
from torch.utils import collect_env
collect_env.get_pip_packages = lambda *_: ("pip", "")
print(collect_env.get_pretty_env_info())
"""


def test_convolution(host, seen):
    """A convolution and its backward pass give the right numbers."""
    found = host.check_output("python -c %s", CONVOLUTION)
    assert float(found) == 2 * 9 * 9  # every weight meets 9 ones, in both channels
    seen(f"gradient {found}")


def test_dataloader(host, seen):
    """A DataLoader gets batches from worker processes."""
    found = host.check_output("python -c %s", WORKERS)
    assert float(found) == sum(range(64))
    seen("2 workers, 8 batches")


def test_torchvision_operators(host, torch_lock, image, seen):
    """torchvision's compiled operators fit this torch."""
    if "torchvision" not in torch_lock:
        pytest.skip(f"locks/torch.{image.build}.txt of this image's project has no torchvision")
    assert host.check_output("python -c %s", BOXES) == "[0, 2]"
    seen("nms keeps boxes 0 and 2")


def test_torch_report(host, pytorch_build, torch_lock, seen):
    """PyTorch's own reports, torch.__config__ and collect_env, name the same build."""
    cuda = wheels.cuda(pytorch_build) if pytorch_build else None
    config = host.check_output("python -c 'import torch; print(torch.__config__.show())'")
    if pytorch_build:
        assert ("USE_CUDA=ON" in config or "USE_CUDA=1" in config) == bool(cuda), config
    report = host.check_output("python -c %s", REPORT)
    facts = dict(re.findall(r"^([^:\n]+): (.+)$", report, re.MULTILINE))
    assert facts["PyTorch version"].partition("+")[0] == torch_lock["torch"].partition("+")[0]
    assert not pytorch_build or facts["CUDA used to build PyTorch"] == (cuda or "None")
    assert facts["Is CUDA available"] == "False"
    seen(f"built with CUDA {facts['CUDA used to build PyTorch']}")
