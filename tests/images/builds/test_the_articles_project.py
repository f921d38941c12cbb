"""The article's own project, in examples/article, is adopted by its README's commands and built.

Its torch, 2.3 GB of CUDA 11.8, is a stub of that name, version and needs;
.github/workflows/weekly.yml builds it for real.
"""

import os
import re
import shutil
import subprocess

import pytest

import existing
import lock
import split_locks
import wheelhouse
from images import REPOSITORY, TOP, Image

pytestmark = pytest.mark.template

ARTICLE = TOP / "examples" / "article"
BUILD = "cu118"


def test_its_lock_is_what_its_digests_say():
    poetry_lock = split_locks.read(ARTICLE / "poetry.lock")
    made = lock.torch_lock(BUILD, poetry_lock, None, ARTICLE / "digests.toml")
    assert (ARTICLE / f"locks/torch.{BUILD}.txt").read_text() == made
    assert split_locks.pins(made) == {
        "torch": "2.0.1+cu118",
        "torchvision": "0.15.2+cu118",
        "triton": "2.0.0",
    }


def test_adopt_build_and_contract(docker_build, hold, engine, tmp_path):
    folder, wheels = tmp_path / "article", tmp_path / "wheels"
    shutil.copytree(ARTICLE, folder)
    existing.commit(folder)
    commands = (TOP / "examples/article/README.md").read_text()
    (adopt,) = re.findall(r"^\$ (make adopt INTO=)\.\./article( .+)", commands, re.MULTILINE)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = f"{adopt[0]}{folder}{adopt[1]}"
    done = subprocess.run(
        command, shell=True, cwd=TOP, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    wheelhouse.stub(folder, BUILD, wheels)
    existing.commit(folder)

    image = Image(f"{REPOSITORY}:article", "runtime", BUILD, folder)
    done = docker_build(
        folder,
        *(f"--tag={image.tag}", f"--build-context=wheels={wheels}", "--build-arg=VERSION=0.1.0"),
    )
    assert done.code == 0, done.output
    found = hold(image, False, "torch", "runtime/test_every_file_is_accounted_for.py")
    assert "torch/test_torch_is_the_build.py::test_cuda" in found
    assert set(found.values()) == {""}, found
    engine.images.remove(image.tag, force=True)
