"""The pytest plugin behind `./crate test` and `./crate contract`: fixtures for the image.

The contract is what every image promises. Its tests are in tests/image, in a folder for each
stage: `base`, `torch`, `runtime`, `dev`. An image keeps the promises of its stages, so tests of
`base` run in all images. Each test's docstring is its promise. With `seen` it notes what it saw,
for the report (reports/contract.md and junit.xml).
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
import testinfra
from packaging.markers import Marker

from torchcrate import build as build_script
from torchcrate.host import TOP
from torchcrate.stages.locks import split_locks
from torchcrate.testing import layers, wheels
from torchcrate.testing.images import CANARY, ENVIRONMENT, LABEL, Image
from torchcrate.testing.report import pytest_runtest_makereport, pytest_terminal_summary

__all__ = ["pytest_runtest_makereport", "pytest_terminal_summary"]

# {folder of tests: the stages that they are for}
STAGES = {
    "base": ("base", "runtime", "dev"),
    "torch": ("runtime", "dev"),
    "dev": ("dev",),
    "runtime": ("runtime",),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that say which images to test."""
    group = parser.getgroup("the image's contract (tests/image)")
    group.addoption(
        "--image", action="append", default=[], help="STAGE=NAME; STAGE is base, runtime or dev"
    )
    group.addoption("--build", default="cpu", help="the torch build it should have (default: cpu)")
    group.addoption("--project", type=Path, default=TOP, help="the folder with its locks")
    group.addoption(
        "--build-arg", action="append", default=[], help="NAME=VALUE that it was built with"
    )
    group.addoption("--stub", action="store_true", help="its torch is a stub, which cannot compute")
    group.addoption("--canaries", action="store_true", help="it was built with the tests' secrets")
    parser.addoption("--no-skips", action="store_true", help="a skipped test fails")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test on the images that have its stage."""
    if "image" not in metafunc.fixturenames:
        return
    option, folder = metafunc.config.getoption, Path(metafunc.module.__file__).parent.name
    metafunc.parametrize(
        "image",
        [
            pytest.param((stage, name), id=f"{option('--build')}-{stage}")
            for stage, _, name in (image.partition("=") for image in option("--image"))
            if stage in STAGES.get(folder, STAGES["runtime"])
            and not (option("--stub") and metafunc.definition.get_closest_marker("real"))
        ],
        indirect=True,
        scope="session",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop tests of stages that an image does not have, rather than skip them."""

    def dropped(item: pytest.Item) -> bool:
        names = getattr(item, "fixturenames", ())
        return "image" in names and not isinstance(item.callspec.params["image"], tuple)

    none = [item for item in items if dropped(item)]
    if none:
        config.hook.pytest_deselected(items=none)
        items[:] = [item for item in items if item not in none]


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return a function that notes what a test saw, for the report."""
    return lambda what: record_property("seen", what)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Return the Docker SDK's client of the engine that the docker command finds."""
    client = docker.from_env(timeout=900)
    yield client
    # If one is gone already, remove the others all the same.
    for container in client.containers.list(
        all=True, filters={"label": LABEL}, ignore_removed=True
    ):
        with suppress(docker.errors.APIError):
            container.remove(force=True, v=True)
    client.close()


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> Image:
    """Return the image that a test is about."""
    stage, name = request.param
    option = request.config.getoption
    project = option("--project").absolute()
    return Image(name, stage, option("--build"), project, tuple(option("--build-arg")))


@pytest.fixture(scope="session")
def contents(image: Image) -> layers.Contents:
    """Return what the image has, read from its layers without a container."""
    return layers.read(image.tag, CANARY.encode())


@pytest.fixture(scope="session")
def docker_run(engine: docker.DockerClient) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs a command in a new container, as `docker run --rm` does."""

    def run(image: Image, *command: str, options: tuple = ()) -> subprocess.CompletedProcess:
        options = (*(f"--env={e}" for e in ENVIRONMENT), f"--label={LABEL}", *options)
        return subprocess.run(
            ["docker", "run", "--rm", *options, image.tag, *command],
            capture_output=True,
            text=True,
            timeout=900,  # seconds: enough for a busy machine
        )

    return run


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
    """Return the image's architecture, as Python names it."""
    names = {"amd64": "x86_64", "arm64": "aarch64"}
    return names[engine.images.get(image.tag).attrs["Architecture"]]


@pytest.fixture(scope="session")
def torch_lock(image: Image, machine: str) -> dict[str, str]:
    """Return {name: version} in the torch lock of the image's build, for its architecture."""
    text = (image.project / f"locks/torch.{image.build}.txt").read_text()
    found = {}
    for pin in wheels.PIN.finditer(text):
        marker = pin["marker"].strip(" ;")
        if not marker or Marker(marker).evaluate({"platform_machine": machine}):
            found[split_locks.normalize(pin["name"])] = pin["version"]
    return found


@pytest.fixture
def pytorch_build(image: Image, torch_lock: dict[str, str]) -> str | None:
    """Return which of PyTorch's builds the image has, or None for one of your own.

    The version in the lock names it, such as 2.13.0+cpu. If not, it is the build's name.
    """
    name = torch_lock["torch"].partition("+")[2] or image.build
    return name if name == "cpu" or wheels.cuda(name) else None


@pytest.fixture
def workspace(image: Image, tmp_path: Path) -> Path:
    """Return a copy of the image's project to mount."""
    folder = tmp_path / "workspace"
    left = {".git", ".tools", ".venv", "template", "results", "reports"}  # only at the top
    top = str(image.project)
    shutil.copytree(top, folder, ignore=lambda at, _: left if at == top else (), symlinks=True)
    return folder


@pytest.fixture
def shell(
    image: Image, workspace: Path, docker_run: Callable[..., subprocess.CompletedProcess]
) -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs bash in the image as `./crate shell` does, not as root.

    The workspace belongs to the user that it runs as, and is mounted.
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
