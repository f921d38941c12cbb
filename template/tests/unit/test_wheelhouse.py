"""Stub wheels and the locks that pin them."""

import hashlib
import tomllib

import pytest

from template.tests import wheelhouse
from torchcrate.stages.locks import split_locks
from torchcrate.testing import wheels

LOCK = """\
--index-url https://index.example/whl/cu118
# The torch family of build cu118, made by `./crate lock`. Do not edit.
nvidia-cublas-cu11==11.11.3.6 \\
    --hash=sha256:aa
torch==2.0.1+cu118 ; platform_machine == "x86_64" \\
    --hash=sha256:bb
"""
POETRY_LOCK = """\
[[package]]
name = "torch"
version = "2.0.1"
groups = ["main"]
[package.dependencies]
jinja2 = "*"
nvidia-cublas-cu11 = "*"

[[package]]
name = "jinja2"
version = "3.1"
groups = ["main"]

[[package]]
name = "nvidia-cublas-cu11"
version = "11.11.3.6"
groups = ["main"]
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks/torch.cu118.txt").write_text(LOCK)
    (tmp_path / "poetry.lock").write_text(POETRY_LOCK)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def test_only_digests_change(project):
    wheelhouse.stub(project, "cu118", project / "wheels")
    text = (project / "locks/torch.cu118.txt").read_text()
    for name in ("torch-2.0.1+cu118", "nvidia_cublas_cu11-11.11.3.6"):
        file = project / "wheels" / f"{name}-py3-none-any.whl"
        assert f"    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n" in text
    without = [line for line in text.splitlines() if "--hash" not in line]
    assert without == [line for line in LOCK.splitlines() if "--hash" not in line]
    assert split_locks.pins(text) == split_locks.pins(LOCK)


def test_requirements_of_torch():
    found = wheelhouse.requirements(tomllib.loads(POETRY_LOCK), "torch", LOCK)
    assert found == ["jinja2", "nvidia-cublas-cu11==11.11.3.6"]


def test_same_stub_twice(tmp_path):
    files = [
        wheelhouse.wheel(tmp_path / str(i), "torch", "2.0.1+cpu", "cpu", ["jinja2"]).read_bytes()
        for i in range(2)
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    "build, cuda", [("cu118", "11.8"), ("cu130", "13.0"), ("cpu", None), ("rocm6.4", None)]
)
def test_cuda_version(build, cuda):
    assert wheels.cuda(build) == cuda
