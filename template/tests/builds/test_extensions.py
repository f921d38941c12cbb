"""Compile a package for the GPU against torch, with NVIDIA's compiler from locked wheels.

Torch is a stub. The CUDA runtime, whose headers every GPU program includes, is the real one.
"""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from template.tests.common import REPOSITORY, TOP, unpatched
from torchcrate.build import default_gpu_build
from torchcrate.stages.locks.split_locks import EXTENSIONS
from torchcrate.testing.images import Image

GPU = default_gpu_build()
KERNEL = {
    "pyproject.toml": """
[project]
name = "kernel-of-mine"
version = "1.0"
dependencies = ["torch"]

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
""",
    "setup.py": """
import os, subprocess
import setuptools, torch

assert os.environ["FORCE_CUDA"] == "1" and int(os.environ["MAX_JOBS"]) > 0
archs = os.environ["TORCH_CUDA_ARCH_LIST"].replace(".", "").split(";")
code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
nvcc = [os.environ["CUDA_HOME"] + "/bin/nvcc", "--shared", "--compiler-options=-fPIC", *code]
command = [*nvcc, "--cudart=shared", "kernel.cu", "--output-file=kernel_of_mine/kernel.so"]
subprocess.run(command, check=True)
setuptools.setup(packages=["kernel_of_mine"], package_data={"kernel_of_mine": ["*.so"]})
""",
    "kernel_of_mine/__init__.py": "",
    "kernel.cu": """
__global__ void twice(float *x) { x[threadIdx.x] *= 2; }

extern "C" int devices() {
    int count = 0;
    return cudaGetDeviceCount(&count) ? -1 : count;
}
""",
}
# The extension finds the CUDA runtime that torch has loaded.
CALLS = """
import ctypes, pathlib
site = pathlib.Path("/app/.venv/lib/python3.11/site-packages")
ctypes.CDLL(next(site.rglob("libcudart.so.*")), ctypes.RTLD_GLOBAL)
print(ctypes.CDLL(site / "kernel_of_mine/kernel.so").devices())
"""


def runtime_of(text):
    """Return the lines of NVIDIA's CUDA runtime in a torch lock."""
    return re.search(r"^nvidia-cuda-runtime==(.+\\\n)+.+\n", text, re.MULTILINE).group()


def project(parent, stub_projects):
    """Return the GPU's stub project with a package to compile, and the real CUDA runtime."""
    there = stub_projects["gpu"]
    folder = parent / "project"
    shutil.copytree(there.folder, folder, symlinks=True)
    for name, text in KERNEL.items():
        file = folder / "packages/kernel-of-mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    lock = folder / f"locks/torch.{GPU}.txt"
    real = runtime_of((TOP / "locks" / lock.name).read_text())
    lock.write_text(lock.read_text().replace(runtime_of(lock.read_text()), real))
    command = ["./crate", "add", "--group", EXTENSIONS, "./packages/kernel-of-mine"]
    done = subprocess.run(command, cwd=folder, env=unpatched(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"locks/nvcc.{GPU}.txt written" in done.stdout
    stubs, wheels = Path(there.arguments[0].partition("=wheels=")[2]), parent / "wheels"
    shutil.copytree(stubs, wheels, ignore=shutil.ignore_patterns("nvidia_cuda_runtime-*"))
    (parent / "real.txt").write_text(real)
    download = ["-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    download += ["--only-binary=:all:", f"--dest={wheels}", f"--requirement={parent}/real.txt"]
    subprocess.run([TOP / ".tools/uv/bin/python", *download], check=True)
    context = (f"--build-context=wheels={wheels}",)
    return dataclasses.replace(there, folder=folder, arguments=context)


@pytest.fixture
def build(locked, docker_build, engine):
    """Return a function that builds a stage of the project, with more options."""
    tag = f"{REPOSITORY}:extensions"

    def run(stage, *more):
        words = (f"--target={stage}", f"--tag={tag}", *locked.arguments, *more)
        return docker_build(locked.folder, *words), Image(tag, stage, GPU, locked.folder)

    yield run
    for image in engine.images.list(REPOSITORY):
        if tag in image.tags:
            engine.images.remove(tag, force=True)


@pytest.mark.locked(project, "stub_projects")
def test_compiled_for_the_gpu(build, docker_run, hold, docker_build, engine, tmp_path):
    done, _ = build("extensions", "--build-arg=TORCH_CUDA_ARCH_LIST=5.0")
    assert done.code
    says = "cannot compile for TORCH_CUDA_ARCH_LIST=5.0: it knows 7.5, 8.0"
    assert says in done.sentence
    done, image = build("runtime", "--build-arg=TORCH_CUDA_ARCH_LIST=8.0;9.0")
    assert done.code == 0, done.output
    ran = docker_run(image, "python", "-c", CALLS)
    assert (ran.returncode, ran.stdout.strip()) == (0, "-1"), ran.stderr  # no driver
    image = dataclasses.replace(image, build_args=("TORCH_CUDA_ARCH_LIST=8.0;9.0",))
    promises = ("torch/test_extensions.py", "runtime/test_slim.py", "runtime/test_files.py")
    said = hold(image, False, *promises)
    assert set(said.values()) == {""}, said
    # What the contract says of an image for other GPUs, and of one that lacks a library.
    other = dataclasses.replace(image, build_args=("TORCH_CUDA_ARCH_LIST=8.0;10.0",))
    says = hold(other, False, "torch/test_extensions.py")[
        "torch/test_extensions.py::test_extensions"
    ]
    assert "has code for [80, 90], not for [100]" in says


SCATTERS = """
import torch, torch_scatter
found = torch_scatter.scatter(torch.arange(4.0), torch.tensor([0, 1, 0, 1]), reduce="sum")
print(found.tolist(), torch.ops.torch_scatter.cuda_version())
"""


def with_scatter(version, build):
    """Return a function that makes a project with torch-scatter, and perhaps another torch."""

    def make(_, fork):
        folder = fork()
        pyproject = folder / "pyproject.toml"
        if version:
            text = re.sub(r'"torch \(==[^"]*"', f'"torch (=={version})"', pyproject.read_text())
            pyproject.write_text(re.sub(r'.*"torchvision .*\n', "", text))
            for lock in folder.glob("locks/torch.*.txt"):
                lock.unlink()
        for command in (
            ("lock", f"--build={build}"),
            ("add", "--group", EXTENSIONS, "torch-scatter==2.1.2"),
        ):
            done = subprocess.run(
                ["./crate", *command], cwd=folder, env=unpatched(), capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
        return folder

    return make


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(GPU, marks=pytest.mark.locked(with_scatter("", GPU), "fork")),
        pytest.param("cu132", marks=pytest.mark.locked(with_scatter("2.15.0", "cu132"), "fork")),
    ],
)
def test_torch_scatter(locked, build, docker_build, docker_run, hold, engine):
    """A package that people add, for one GPU generation. Then another edit compiles nothing."""
    given = (f"--build-arg=TORCH_BUILD={build}", "--build-arg=TORCH_CUDA_ARCH_LIST=9.0")
    image = Image(f"{REPOSITORY}:scatter", "runtime", build, locked, given[1:])
    image = dataclasses.replace(image, build_args=("TORCH_CUDA_ARCH_LIST=9.0",))
    done = docker_build(locked, f"--tag={image.tag}", *given)
    assert done.code == 0, done.output
    ran = docker_run(image, "python", "-c", SCATTERS)
    cuda = f"{build[2:-1]}0{build[-1]}0"
    assert ran.stdout == f"[2.0, 4.0] {cuda}\n", ran.stderr
    promises = ("torch/test_extensions.py", "torch/test_torch_build.py", "runtime/test_files.py")
    said = hold(image, True, *promises)
    assert set(said.values()) == {""}, said
    command = ["./crate", "add", "einops"]
    subprocess.run(command, cwd=locked, env=unpatched(), check=True, capture_output=True)
    done = docker_build(locked, f"--tag={image.tag}", *given)
    steps = re.findall(r"^#(\d+) \[extensions +\d+/\d+\] RUN", done.output, re.MULTILINE)
    assert steps and all(f"\n#{step} CACHED" in done.output for step in steps)
    engine.images.remove(image.tag, force=True)
