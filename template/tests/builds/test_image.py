"""`./crate image` builds an image that `./crate contract` accepts, with its labels."""

import os
import subprocess
import sys

import pytest

from template.tests.common import REPOSITORY
from torchcrate import build as build_script


@pytest.fixture
def crate(stub_projects, engine, base_image, index_url):
    """Return a function that runs ./crate in a project with stub wheels, for the CPU."""
    project = stub_projects["cpu"]
    wheels = project.arguments[0].partition("wheels=")[2]
    environment = {**os.environ, "IMAGE": REPOSITORY, "INDEX_URL": index_url, "WHEELS": wheels}

    def run(*arguments, **more):
        command = [sys.executable, "crate", *arguments]
        how = {"cwd": project.folder, "env": environment | more, "text": True}
        return subprocess.run(command, capture_output=True, **how)

    yield run
    for image in engine.images.list(f"{REPOSITORY}:cpu"):
        engine.images.remove(image.id, force=True)


def test_image(crate, stub_projects, engine):
    # A variable that is set but empty is as good as unset.
    done = crate("image", "--build=cpu", PRUNE="", DEPENDENCY_GROUPS="")
    assert done.returncode == 0, done.stdout + done.stderr
    # A part of the contract. test_stub_images.py holds all of it against such an image.
    some = (f"{REPOSITORY}:cpu", "--stub", "-q", "-k", "test_labels or test_torch_build")
    done = crate("contract", "--build=cpu", *some)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    done = crate("contract", f"--build={build_script.default_gpu_build()}", *some)
    assert done.returncode != 0
    assert "AssertionError: torch.version.cuda is None" in done.stdout

    labels = engine.images.get(f"{REPOSITORY}:cpu").labels
    folder = stub_projects["cpu"].folder
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True)
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}version"] == build_script.version()
    assert labels[f"{prefix}revision"].startswith(head.stdout.strip())
    assert labels[f"{prefix}source"] == "https://example.com/me/project.git"


def test_bad_choice(crate):
    done = crate("image", "--build=cpu", PRUNE="maybe")
    assert done.returncode != 0
    assert "Validation failed; PRUNE is neither yes nor no: choose one." in done.stderr
    assert "[base " not in done.stderr, "the build began"
