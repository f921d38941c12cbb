"""The article's project, in template/examples, is adopted by its README's command and built.

Its torch, 2.3 GB with CUDA 11.8, comes from PyTorch's index. If that does not answer, it is a stub
with the same name, version and dependencies.
"""

import re
import shlex
import shutil
import subprocess
from functools import partial

import pytest

from template.digests import from_digests
from template.tests import existing, wheelhouse
from template.tests.common import REPOSITORY, TOP, unpatched
from torchcrate import host, lock
from torchcrate.stages.locks import split_locks
from torchcrate.testing.images import Image

pytestmark = pytest.mark.template

ARTICLE = TOP / "template" / "examples" / "article"
BUILD = "cu118"


def test_lock(monkeypatch):
    of_file = partial(from_digests, ARTICLE / "digests.toml")
    monkeypatch.setattr(lock, "from_index", of_file)
    poetry_lock = split_locks.read(ARTICLE / "poetry.lock")
    made = lock.torch_lock(BUILD, poetry_lock, None)
    assert (ARTICLE / f"locks/torch.{BUILD}.txt").read_text() == made
    assert split_locks.pins(made) == {
        "torch": "2.0.1+cu118",
        "torchvision": "0.15.2+cu118",
        "triton": "2.0.0",
    }


def test_adopt(docker_build, hold, engine, tmp_path):
    folder, wheels = tmp_path / "article", tmp_path / "wheels"
    shutil.copytree(ARTICLE, folder)
    existing.commit(folder)
    commands = (ARTICLE / "README.md").read_text()
    (adopt,) = re.findall(r"^\$ (\./crate adopt .+)", commands, re.MULTILINE)
    command = [str(folder) if word == "../article" else word for word in shlex.split(adopt)]
    done = subprocess.run(command, cwd=TOP, env=unpatched(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    index = (ARTICLE / f"locks/torch.{BUILD}.txt").read_text().split()[1]
    real = host.answers(f"{index}/torch/")
    arguments = ["--build-arg=VERSION=0.1.0"]
    if not real:
        wheelhouse.stub(folder, BUILD, wheels)
        arguments.append(f"--build-context=wheels={wheels}")
    existing.commit(folder)

    image = Image(f"{REPOSITORY}:article", "runtime", BUILD, folder)
    done = docker_build(folder, f"--tag={image.tag}", *arguments)
    assert done.code == 0, done.output
    found = hold(image, real, "torch", "runtime/test_files.py")
    assert "torch/test_torch_build.py::test_cuda" in found
    assert set(found.values()) == {""}, found
    engine.images.remove(image.tag, force=True)
