"""torch has the build and the version in the locks."""

import json

import pytest

from torchcrate.stages.locks import split_locks
from torchcrate.testing import wheels

PROBE = """
import json, torch
print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.is_available()]))
"""
NAMES = """
import importlib.metadata as m, json
print(json.dumps(sorted(d.metadata["Name"] for d in m.distributions())))
"""


@pytest.fixture(scope="session")
def probed(inside):
    """Return how PROBE ended. It runs once, since importing torch takes seconds."""
    return inside().run("python -c %s", PROBE)


def probe(probed):
    """Return torch's version, its CUDA version and whether there is a GPU."""
    assert probed.rc == 0, f"torch cannot be imported: {probed.stderr}"
    return json.loads(probed.stdout)


def test_version(probed, torch_lock, image, seen):
    """torch's version is the lock's, and its local part, such as +cpu, names the build."""
    version, _, _ = probe(probed)
    public, _, local = torch_lock["torch"].partition("+")
    assert version == f"{public}+{local or image.build}", f"torch {version}"
    seen(version)


def test_torchvision(host, torch_lock, image, seen):
    """torchvision's version is the lock's too."""
    if "torchvision" not in torch_lock:
        pytest.skip(f"locks/torch.{image.build}.txt of this image's project has no torchvision")
    version = host.check_output("python -c 'import torchvision; print(torchvision.__version__)'")
    public, _, local = torch_lock["torchvision"].partition("+")
    assert version == f"{public}+{local or image.build}"
    seen(version)


def test_cuda(probed, pytorch_build, seen):
    """torch.version.cuda is the build's, and None for cpu. A build of your own may have any."""
    _, cuda, _ = probe(probed)
    if pytorch_build:
        assert cuda == wheels.cuda(pytorch_build), f"torch.version.cuda is {cuda}"
    seen(f"CUDA {cuda}")


def test_without_driver(probed, seen):
    """Without a driver torch can be imported, and says that CUDA is not available."""
    _, _, available = probe(probed)
    assert available is False
    seen("torch.cuda.is_available() is False")


def test_cuda_packages(host, torch_lock, image, pytorch_build, seen):
    """torch's CUDA packages are exactly the lock's. CPU images have none."""
    installed = map(split_locks.normalize, json.loads(host.check_output("python -c %s", NAMES)))
    installed = {name for name in installed if split_locks.BUILD_PACKAGE.fullmatch(name)}
    # Other packages have such names too: nvidia-ml-py is an ordinary dependency.
    poetry_lock = split_locks.read_lock(image.project)
    installed -= split_locks.versions(poetry_lock).keys() - split_locks.family(poetry_lock)
    locked = torch_lock.keys() - set(split_locks.ROOTS)
    assert installed == locked, f"missing, or not in the lock: {sorted(installed ^ locked)}"
    assert not installed or pytorch_build != "cpu"
    seen(f"{len(installed)} packages")
