"""`make image` and `make check`: the image that users build keeps the contract, labels and all."""

import os
import subprocess

import pytest

import build as build_script
from images import REPOSITORY


@pytest.fixture
def make(stub_projects, engine, base_image, index_url):
    """Return a function that runs make in a project with stub wheels, for the CPU."""
    project = stub_projects["cpu"]
    wheels = project.arguments[0].partition("wheels=")[2]
    environment = {**os.environ, "IMAGE": REPOSITORY, "INDEX_URL": index_url}

    def run(*arguments):
        command = ["make", "BUILD=cpu", f"WHEELS={wheels}", *arguments]
        return subprocess.run(
            command, cwd=project.folder, env=environment, capture_output=True, text=True
        )

    yield run
    engine.images.remove(f"{REPOSITORY}:cpu", force=True)


def test_image_and_check(make, stub_projects, engine):
    done = make("image")
    assert done.returncode == 0, done.stdout + done.stderr
    tag = f"IMAGE={REPOSITORY}:cpu"
    # A part of the contract: contract/ holds all of it against such an image.
    some = "PYTEST_ARGS=--stub -q -p no:cacheprovider -k 'test_it_says or test_torch_is'"
    done = make("check", tag, some)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    done = make("check", tag, f"BUILD={build_script.default_gpu_build()}", some)
    assert done.returncode != 0
    assert "AssertionError: torch.version.cuda is None" in done.stdout

    labels = engine.images.get(f"{REPOSITORY}:cpu").labels
    folder = stub_projects["cpu"].folder
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True)
    prefix = "org.opencontainers.image."
    assert labels[f"{prefix}version"] == build_script.version()
    assert labels[f"{prefix}revision"].startswith(head.stdout.strip())
    assert labels[f"{prefix}source"] == "https://example.com/me/project.git"
