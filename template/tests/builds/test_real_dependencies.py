"""Build dependencies that need the real torch: one uses it, one is compiled against it.

For each commit test_dependencies.py has them on stubs.
"""

import dataclasses
import shutil
import subprocess

import pytest
import tomlkit

from template.tests.common import REPOSITORY, unpatched
from torchcrate.stages.locks.split_locks import EXTENSIONS, EXTENSIONS_BUILD
from torchcrate.testing.images import Image

pytestmark = pytest.mark.slow

# A C++ operator as in PyTorch's tutorial (https://docs.pytorch.org/tutorials/advanced/cpp_extension.html).
OPERATOR = {
    "pyproject.toml": """
[project]
name = "operator-of-mine"
version = "1.0"
dependencies = ["torch"]

[build-system]
requires = ["setuptools", "torch"]
build-backend = "setuptools.build_meta"
""",
    "setup.py": """
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

setup(
    packages=[],
    ext_modules=[CppExtension("operator_of_mine", ["operator.cpp"])],
    cmdclass={"build_ext": BuildExtension},
)
""",
    "operator.cpp": """
#include <torch/extension.h>

torch::Tensor twice(torch::Tensor it) { return it * 2; }

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("twice", &twice); }
""",
}
LIBRARIES = "libgl1\nlibglib2.0-0t64|libglib2.0-0\nlibsm6\nlibxext6\n"
LIBRARIES += "g++\nlibpython3.11-dev\n"  # for torch.compile
TRAINS = """
import lightning, torch
lightning.seed_everything(0)
from torch.utils.data import DataLoader, TensorDataset

class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, _):
        x, y = batch
        return torch.nn.functional.mse_loss(self.layer(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)

x = torch.linspace(0, 1, 64)[:, None]
line = Line()
trainer = lightning.Trainer(
    max_epochs=200, logger=False, enable_checkpointing=False, enable_progress_bar=False
)
trainer.fit(line, DataLoader(TensorDataset(x, 3 * x), batch_size=16))
print(round(line(torch.ones(1, 1)).item(), 1))
"""
OPERATES = """
import torch, operator_of_mine
print(operator_of_mine.twice(torch.arange(3)).tolist())
"""
SEES = """
import cv2, numpy, torch
image = numpy.zeros((8, 8, 3), numpy.uint8)
print(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).shape, torch.from_numpy(image).shape)
"""


def project(parent, cpu_project):
    """Return the CPU project with lightning, OpenCV, an NVIDIA package and a C++ operator."""
    folder = parent / "project"
    shutil.copytree(cpu_project.folder, folder, symlinks=True)
    for name, text in OPERATOR.items():
        file = folder / "packages" / "operator-of-mine" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    pyproject = folder / "pyproject.toml"
    document = tomlkit.parse(pyproject.read_text())
    # As `./crate add` writes it, without resolving each time.
    document["dependency-groups"][EXTENSIONS_BUILD] = ["setuptools==84.2.1", "ninja==1.13.2"]
    pyproject.write_text(tomlkit.dumps(document))
    for names in (
        "lightning==2.6.6 opencv-python==5.0.0.93 nvidia-ml-py==13.615.71",
        f"--group {EXTENSIONS} ./packages/operator-of-mine",
    ):
        command = ["./crate", "add", *names.split()]
        done = subprocess.run(command, cwd=folder, env=unpatched(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    packages = folder / "apt" / "runtime.txt"
    packages.write_text(packages.read_text() + LIBRARIES)
    return dataclasses.replace(cpu_project, folder=folder)


@pytest.fixture
def built(locked, docker_build, engine):
    """Return the project's image."""
    project = locked
    image = Image(f"{REPOSITORY}:real-dependencies", "runtime", "cpu", project.folder)
    arguments = ("--file=Dockerfile.cpu", f"--tag={image.tag}", *project.arguments)
    done = docker_build(project.folder, *arguments)
    assert done.code == 0, done.output
    yield image
    engine.images.remove(image.tag, force=True)


@pytest.mark.locked(project, "cpu_project")
def test_dependencies(built, docker_run, hold):
    for code, seen in (
        (SEES, "(8, 8) torch.Size([8, 8, 3])"),
        (OPERATES, "[0, 2, 4]"),
        (TRAINS, "3.0"),
    ):
        done = docker_run(built, "python", "-c", code)
        assert done.stdout.strip().endswith(seen), done.stdout + done.stderr
    build_, locks = "torch/test_torch_build.py::", "torch/test_locked_packages.py"
    promises = (f"{build_}test_version", f"{build_}test_cuda_packages", locks)
    promises += ("runtime/test_files.py", "runtime/test_slim.py", "torch/test_torch_compile.py")
    said = hold(built, True, *promises)
    assert set(said.values()) == {""}, said
