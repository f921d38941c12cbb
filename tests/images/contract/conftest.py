"""The image's contract: what every image promises, asserted of each image that there is.

Laid out like the stages: `base`, `torch`, `dev`, `runtime`. An image keeps the promises of the
stages that it is made from, so tests of `base` run in all of them. Each test's docstring is its
promise; with `seen` it notes what it saw, for the report (reports/contract.md and junit.xml).

By default the images are built: on stub wheels (marker `stub`) and on the real torch (`real`),
GPU and CPU. `--image TAG --build BUILD --stage STAGE` holds the contract against an image that is
there already; with `--stub` only as far as an image of stub wheels can keep it.
"""

import os
import shutil
import subprocess
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
import testinfra
from packaging.markers import Marker

import build as build_script
import layers
import split_locks
import wheelhouse
from images import CANARY, ENVIRONMENT, LABEL, Image

HERE = Path(__file__).resolve().parent
# The stages that keep the promises of each folder.
STAGES = {
    "base": ("base", "runtime", "dev"),
    "torch": ("runtime", "dev"),
    "dev": ("dev",),
    "runtime": ("runtime",),
}
# Which images there are: (kind, stage) and the marker. A base is the same whatever is built on it,
# and where stubs could tell the two Dockerfiles apart is torch alone.
IMAGES = {
    ("stub-gpu", "base"): "stub",
    ("stub-gpu", "runtime"): "stub",
    ("stub-gpu", "dev"): "stub",
    ("stub-cpu", "runtime"): "stub",
    ("debian-13", "base"): "stub",
    ("gpu", "runtime"): "real",
    ("gpu", "dev"): "real",
    ("cpu", "runtime"): "real",
    ("cpu", "dev"): "real",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Hold each promise against the images of its stages, or against the one that is named."""
    if "image" not in metafunc.fixturenames:
        return
    folder = Path(metafunc.module.__file__).relative_to(HERE).parts[0]
    stages = STAGES[folder]
    needs_torch = metafunc.definition.get_closest_marker("real")
    needs_stub = metafunc.definition.get_closest_marker("stub")
    option = metafunc.config.getoption
    if option("--image"):
        unfit = needs_torch if option("--stub") else needs_stub
        fits = option("--stage") in stages and not unfit
        parameters = [pytest.param(("given", option("--stage")), id="given")] if fits else []
    else:
        parameters = [
            pytest.param(
                (kind, stage),
                id=f"{kind}-{stage}",
                marks=[getattr(pytest.mark, mark), *([pytest.mark.cpu] if kind == "cpu" else [])],
            )
            for (kind, stage), mark in IMAGES.items()
            if stage in stages
            and not (needs_torch if mark == "stub" else needs_stub)
            and (kind != "stub-cpu" or folder == "torch")
        ]
    metafunc.parametrize("image", parameters, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop the promises that an image's stage does not make, rather than skip them.

    And those that are asked of one image alone: the GPU's, or the one that is named.
    """

    def drop(item: pytest.Item) -> bool:
        if "image" not in getattr(item, "fixturenames", ()):
            return False
        image = item.callspec.params["image"]
        if not isinstance(image, tuple):
            return True
        return bool(item.get_closest_marker("once")) and image[0] not in ("gpu", "given")

    none = [item for item in items if drop(item)]
    if none:
        config.hook.pytest_deselected(items=none)
        items[:] = [item for item in items if item not in none]


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest, engine: docker.DockerClient) -> Iterator[Image]:
    """Return the image that a test asserts something of; each is built once.

    It stays until the end of the session, since tests of an image are not all in a row.
    """
    kind, stage = request.param
    option = request.config.getoption
    if kind == "given":
        project, arguments = option("--project").absolute(), tuple(option("--build-arg"))
        yield Image(option("--image"), stage, option("--build"), project, arguments)
        return
    yield request.getfixturevalue("images_ahead")[kind, stage][0].result()


@pytest.fixture(scope="session")
def contents(request: pytest.FixtureRequest, image: Image) -> layers.Contents:
    """Return what the image holds, read from its layers without a container."""
    if not request.config.getoption("--image"):
        for read in request.getfixturevalue("images_ahead").values():
            if read[1] and read[0].done() and read[0].result() == image:
                read[1].result()
    return layers.read(image.tag, CANARY.encode())


@pytest.fixture(scope="session")
def inside(
    engine: docker.DockerClient, image: Image
) -> Iterator[Callable[..., testinfra.host.Host]]:
    """Return a function that starts the image, as a user, and returns testinfra's host inside."""
    containers: dict[str | None, docker.models.containers.Container] = {}

    def start(user: str | None = None) -> testinfra.host.Host:
        if user not in containers:
            containers[user] = engine.containers.run(
                image.tag,
                ["sleep", "infinity"],
                user=user,
                detach=True,
                init=True,
                labels=dict([LABEL.split("=")]),
                environment=list(ENVIRONMENT),
            )
        return testinfra.get_host(f"docker://{containers[user].id}")

    yield start
    for container in containers.values():
        container.remove(force=True, v=True)


@pytest.fixture
def host(inside: Callable[..., testinfra.host.Host]) -> testinfra.host.Host:
    """Return testinfra's host inside the image, as its own user."""
    return inside()


@pytest.fixture(scope="session")
def machine(image: Image, engine: docker.DockerClient) -> str:
    """Return the image's machine, as Python calls it."""
    names = {"amd64": "x86_64", "arm64": "aarch64"}
    return names[engine.images.get(image.tag).attrs["Architecture"]]


@pytest.fixture
def pytorch_build(image: Image, torch_lock: dict[str, str]) -> str | None:
    """Return which of PyTorch's builds the image has, or None for one of your own.

    The version in the lock says it, such as 2.13.0+cpu, or else the build's name.
    """
    name = torch_lock["torch"].partition("+")[2] or image.build
    return name if name == "cpu" or wheelhouse.cuda(name) else None


@pytest.fixture(scope="session")
def torch_lock(image: Image, machine: str) -> dict[str, str]:
    """Return {name: version} of the torch lock that the image's build names, for its machine."""
    text = (image.project / f"locks/torch.{image.build}.txt").read_text()
    found = {}
    for pin in wheelhouse.BLOCK.finditer(text):
        marker = pin["marker"].strip(" ;")
        if not marker or Marker(marker).evaluate({"platform_machine": machine}):
            found[split_locks.normalize(pin["name"])] = pin["version"]
    return found


@pytest.fixture
def workspace(image: Image, tmp_path: Path) -> Path:
    """Return a copy of the image's project to mount."""
    folder = tmp_path / "workspace"
    ignored = shutil.ignore_patterns(".git", ".tools", ".venv", "images", "results", "reports")
    shutil.copytree(image.project, folder, ignore=ignored, symlinks=True)
    return folder


@pytest.fixture
def shell(
    image: Image, workspace: Path, docker_run: Callable[..., subprocess.CompletedProcess]
) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs bash in the image as `make shell` does, as a user without rights.

    The workspace is that user's, and mounted.
    """

    def run(script: str, *options: str) -> subprocess.CompletedProcess:
        dev = build_script.dev_options(workspace)
        uid = os.getuid() or 12345
        if not os.getuid():
            for path in (workspace, *workspace.rglob("*")):
                os.chown(path, uid, uid)
        options = (f"--user={uid}:{uid}", *dev, *options)
        return docker_run(image, "bash", "-euc", script, options=options)

    return run


@pytest.fixture
def other_torch(tmp_path: Path) -> tuple:
    """Return how to swap torch in the dev image: the script, and the options it needs to run.

    It also brings a package that no other build of torch than that one would want.
    """
    folder = tmp_path / "other"
    stranger = wheelhouse.wheel(folder, "nvidia-other", "1", "other", [])
    torch = wheelhouse.wheel(folder, "torch", "9.9", "other", ["nvidia-other"])
    wheels = " ".join(f"/mnt/other/{file.name}" for file in (torch, stranger))
    swap = f"uv pip install --no-deps {wheels} >&2"
    return namedtuple("Swap", "swap options")(swap, (f"--volume={folder}:/mnt/other:ro",))
