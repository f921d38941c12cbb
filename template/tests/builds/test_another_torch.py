"""Build an old torch with the packages of its time, and a torch of your own.

For each commit test_article_project.py builds an old torch too, and test_dependencies.py builds
a torch of your own, in test_remove.
"""

import dataclasses
import re
import shutil
import subprocess

import pytest

from template.tests.common import REPOSITORY, TOP, Project, unpatched
from torchcrate import build as build_script
from torchcrate.stages.locks import split_locks
from torchcrate.testing.images import Image

pytestmark = pytest.mark.slow

BUILD = "torch/test_torch_build.py"
LOCKS = "torch/test_locked_packages.py"
# torch and torchvision from the default index, then with CUDA 11.7, and a NumPy of their time.
OLD = {"torch": "2.0.1", "torchvision": "0.15.2"}
OLD_NUMPY = '"numpy (>=1.26,<2.0)"'
# What its triton and CUDA need. Poetry sees that only if the index lists a wheel for Linux first.
# If not, `./crate lock` says what to add.
OLD_NEEDS = ("cmake", "lit", "setuptools", "wheel")
OLD_BUILD = "cu117"


def crate(folder, *words):
    """Run a command of ./crate in a project and return its output. It must succeed."""
    command = ["./crate", *words]
    done = subprocess.run(command, cwd=folder, env=unpatched(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def built(docker_build, engine):
    """Return a function that builds the runtime image of a project's torch build."""
    made = []

    def build(project, *arguments):
        image = Image(f"{REPOSITORY}:{project.build}", "runtime", project.build, project.folder)
        made.append(image.tag)
        done = docker_build(
            project.folder,
            *(f"--tag={image.tag}", f"--build-arg=TORCH_BUILD={project.build}"),
            *project.arguments,
        )
        assert done.code == 0, done.output
        return image

    yield build
    for tag in made:
        engine.images.remove(tag, force=True)


@pytest.fixture
def wheels(cpu_project, tmp_path):
    """Return a folder with torch's wheels for the CPU: the given one, or a new one."""
    for argument in cpu_project.arguments:
        if argument.startswith("--build-context=wheels="):
            return argument.partition("wheels=")[2]
    download = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    download += ["--python-version=3.11", "--platform=manylinux_2_28_x86_64", "--require-hashes"]
    download += [f"--dest={tmp_path}/wheels", f"--requirement={TOP}/locks/torch.cpu.txt"]
    subprocess.run([TOP / ".tools/uv/bin/python", *download], check=True)
    return tmp_path / "wheels"


def test_own_torch(cpu_project, built, hold, tmp_path, wheels):
    folder = tmp_path / "project"
    shutil.copytree(cpu_project.folder, folder, symlinks=True)
    crate(folder, "lock", "--build=mine", f"--wheels={wheels}")
    lock = (folder / "locks" / "torch.mine.txt").read_text()
    assert "--index-url" not in lock
    context = (f"--build-context=wheels={wheels}",)
    project = dataclasses.replace(cpu_project, folder=folder, build="mine", arguments=context)
    said = hold(built(project), True, f"{BUILD}::test_version", f"{BUILD}::test_cuda", LOCKS)
    assert set(said.values()) == {""}, said


def old(_, fork):
    """Return a copy of the repository that has the old torch and its locks."""
    folder = fork()
    pyproject = folder / "pyproject.toml"
    text = pyproject.read_text()
    for name, version in OLD.items():
        text, count = re.subn(rf'"{name} \(==[^"]*"', f'"{name} (=={version})"', text)
        assert count == 1, f"pyproject.toml does not name {name}"
    text, count = re.subn(r'"numpy \([^"]*"', OLD_NUMPY, text)
    more = [f'"{name}"' for name in OLD_NEEDS] + [OLD_NUMPY] * (not count)
    pyproject.write_text(text.replace("\n]\n", f"\n    {', '.join(more)},\n]\n", 1))
    said = crate(folder, "lock", f"--build={OLD_BUILD}")
    for build in build_script.builds():  # their locks are out of date now
        assert f"run `./crate lock --build {build}`" in said
    pins = split_locks.pins((folder / "locks" / f"torch.{OLD_BUILD}.txt").read_text())
    assert pins.items() >= OLD.items()
    assert pins["triton"] == "2.0.0"
    assert "nvidia-cudnn-cu11" in pins
    return folder


@pytest.mark.locked(old, "fork")
def test_old_torch(locked, built, hold):
    folder = locked
    image = built(Project(folder, OLD_BUILD))
    promises = ("torch/test_torch_computes.py", BUILD, LOCKS)
    said = hold(image, True, *promises, "runtime/test_files.py")
    assert set(said.values()) == {""}, said
