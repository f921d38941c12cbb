"""Generated files match their source, and the linters find nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from torchcrate import check
from torchcrate.host import TOP

GENERATED = check.generated(TOP)


def test_there_are_two():
    names = {str(file.relative_to(TOP)) for file in GENERATED}
    assert names == {"Dockerfile.cpu", ".devcontainer/cpu/devcontainer.json"}


@pytest.mark.parametrize("file", GENERATED, ids=lambda file: file.name)
def test_they_are_as_made(file):
    assert file.read_text() == GENERATED[file], "run `./crate check --write`"


def test_heredoc():
    text = (
        "# The GPU image.\n\n# Why.\nCOPY <<-'END' /run\n#!/bin/sh\n# why\n\tEND\n# Why.\nUSER 1\n"
    )
    made = check.cpu_dockerfile(text).partition("\n\n")[2]
    assert made == "COPY <<-'END' /run\n#!/bin/sh\n# why\n\tEND\nUSER 1\n"


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.cpu"])
def test_hadolint(name):
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, TOP / name], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_no_frontend_is_fetched():
    assert "syntax=" not in (TOP / "Dockerfile").read_text()


@pytest.mark.parametrize("arguments", [["check"], ["format", "--check"]], ids=" ".join)
def test_ruff(arguments):
    ruff = Path(sys.executable).parent / "ruff"
    done = subprocess.run([ruff, *arguments, TOP], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
