"""The torch inside is the build and the version that the locks say, and it works."""

import json
import re

import pytest

import split_locks

PROBE = """
import json, torch
layer = torch.nn.Conv2d(1, 2, 3)
layer(torch.ones(1, 1, 5, 5)).sum().backward()
print(json.dumps({
    "version": torch.__version__,
    "cuda": torch.version.cuda,
    "available": torch.cuda.is_available(),
    "gradient": float(layer.weight.grad.sum()),
}))
"""


@pytest.fixture(scope="module")
def torch(runtime, inside):
    return json.loads(inside(runtime).check_output("python -c %s", PROBE))


@pytest.fixture
def pins(runtime):
    return split_locks.pins((runtime.project / f"locks/torch.{runtime.build}.txt").read_text())


def test_version(torch, pins):
    assert torch["version"].partition("+")[0] == pins["torch"].partition("+")[0]


def test_cuda(torch, runtime):
    cuda = re.fullmatch(r"cu(\d+)(\d)", runtime.build)
    assert torch["cuda"] == (f"{cuda.group(1)}.{cuda.group(2)}" if cuda else None)


def test_local_version_names_the_build(torch, runtime):
    assert torch["version"].partition("+")[2] == runtime.build


def test_convolution_and_its_gradient(torch):
    assert torch["gradient"] == 2 * 9 * 9  # every weight meets 9 ones, in both channels


def test_it_works_without_a_driver(torch):
    assert torch["available"] is False


def test_torchvisions_compiled_operators(runtime, pins, inside):
    if "torchvision" not in pins:
        pytest.skip("this image's project does not depend on torchvision")
    code = (
        "import torch, torchvision; b = torch.tensor([[0., 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6]]); "
        "print(torchvision.ops.nms(b, torch.tensor([.9, .8, .7]), .5).tolist())"
    )
    assert inside(runtime).check_output("python -c %s", code) == "[0, 2]"
