"""Generated files are what their source says, and the linters have nothing to say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[3]


def test_dockerfile_cpu_is_made_from_dockerfile(tmp_path):
    for name in ("Dockerfile", "Makefile"):
        shutil.copy(TOP / name, tmp_path)
    subprocess.run(["make", "Dockerfile.cpu"], cwd=tmp_path, check=True, capture_output=True)
    made, here = (tmp_path / "Dockerfile.cpu").read_text(), (TOP / "Dockerfile.cpu").read_text()
    assert made == here, "edit Dockerfile and run `make Dockerfile.cpu`"


def test_the_cpus_devcontainer_is_made_from_the_gpus(tmp_path):
    name = ".devcontainer/cpu/devcontainer.json"
    shutil.copytree(TOP / ".devcontainer", tmp_path / ".devcontainer")
    shutil.copy(TOP / "Makefile", tmp_path)
    command = ["make", "--always-make", name]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    made, here = (tmp_path / name).read_text(), (TOP / name).read_text()
    assert made == here, f"edit the one in gpu/ and run `make {name}`"


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


def test_make_lists_what_there_is():
    done = subprocess.run(["make"], cwd=TOP, capture_output=True, text=True, check=True)
    for target in ("make run", "make test", "make lock", "make engine-stop"):
        assert target in done.stdout
