"""Lock another CUDA from an index like PyTorch's, build it and hold the contract.

The index has stub wheels of build cu118. Like PyTorch's, it has local versions such as +cu118 and a
hash in each link.
"""

import functools
import http.server
import threading
from contextlib import contextmanager

import pytest

from template.tests import wheelhouse
from template.tests.common import REPOSITORY, Project
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import ROOTS
from torchcrate.testing.images import Image

BUILD = "cu118"


@contextmanager
def serving(folder):
    """Serve a folder as PyTorch serves its index, and give the address."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def lock(parent, fork):
    """Return a copy of the repository with a lock made from an index, and the index's folder."""
    folder = parent / "index" / BUILD
    project = fork()
    poetry_lock = split_locks.read(project / "poetry.lock")
    versions = split_locks.versions(poetry_lock)
    cuda = {"nvidia-cublas-cu11": "11.999.1", "nvidia-cudnn-cu11": "9.999.1"}
    roots = {name: f"{next(iter(versions[name]))}+{BUILD}" for name in ROOTS if name in versions}
    for name, version in roots.items():
        needs = [f"{n}=={v}" for n, v in cuda.items()] if name == "torch" else ["torch"]
        wheelhouse.wheel(folder, name, version, BUILD, needs)
    for name, version in cuda.items():
        wheelhouse.wheel(folder, name, version, BUILD, [])
    wheelhouse.pages(folder)

    with serving(folder.parent) as url:
        command = ("./crate", "lock", f"--build={BUILD}", f"--torch-index-url={url}")
        Project(project, BUILD, lock_command=command).lock()
    lock = (project / f"locks/torch.{BUILD}.txt").read_text()
    assert lock.startswith(f"--index-url https://download.pytorch.org/whl/{BUILD}\n")
    assert split_locks.pins(lock) == roots | cuda
    return project, folder.parent


@pytest.fixture
def project_and_url(locked, engine):
    """Return the project and the address of the index, which is served again."""
    if engine.info()["OperatingSystem"] == "Docker Desktop":
        pytest.skip("Docker Desktop's builds run in a virtual machine, which cannot reach this one")
    project, folder = locked
    with serving(folder) as url:
        yield project, url


@pytest.mark.locked(lock, "fork")
def test_contract(project_and_url, docker_build, hold, engine):
    project, url = project_and_url
    # Only this step may reach the index on this machine; the others come from the cache.
    dockerfile = project / "Dockerfile"
    before, stage, after = dockerfile.read_text().partition("FROM base AS torch\n")
    dockerfile.write_text(before + stage + after.replace("RUN ", "RUN --network=host ", 1))
    image = Image(f"{REPOSITORY}:{BUILD}", "runtime", BUILD, project)
    done = docker_build(
        project,
        *(f"--tag={image.tag}", "--allow=network.host"),
        *(f"--build-arg=TORCH_BUILD={BUILD}", f"--build-arg=TORCH_INDEX_URL={url}"),
    )
    assert done.code == 0, done.output
    found = hold(image, False, "torch", "runtime/test_files.py")
    assert "torch/test_torch_build.py::test_cuda" in found
    assert set(found.values()) == {""}, found
    engine.images.remove(image.tag, force=True)
