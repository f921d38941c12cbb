"""Make images and locks in the background while tests run, two builds at a time."""

import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from template.tests.common import PATCHING, REPOSITORY, TOP, Project, Result
from torchcrate import build as build_script
from torchcrate.testing.images import Image

# Two pytest processes run at once. The one with BESIDE set holds the lock, and leaves a list of its
# build records. The other removes these when both are done.
BESIDE, LEFT = TOP / ".tools" / "beside.lock", TOP / ".tools" / "beside.left"


@contextmanager
def turn(lock: Path, alone: bool) -> Iterator[None]:
    """Hold a lock, across threads and processes: alone, or shared with others that share it."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


class Background:
    """Two threads that build, and the work that they were given."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.pool = ThreadPoolExecutor(2)
        self.futures: list[Future] = []

    def submit(self, *work: object) -> Future:
        """Run a function with arguments in a thread, and return its future."""
        self.futures.append(self.pool.submit(*work))
        return self.futures[-1]

    def wait(self) -> None:
        """Wait until all work is done."""
        wait(self.futures)

    def end(self) -> None:
        """Cancel the work that has not begun, and wait for the rest."""
        self.pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def background(docker_build: Callable[..., Result]) -> Iterator[Background]:
    """Return the threads that build. They end before the engine and the cache are cleaned up."""
    background = Background()
    yield background
    background.end()


@pytest.fixture(scope="session")
def quiet(background: Background) -> None:
    """Wait until nothing is built in the background, nor by the other process's tests.

    Tests that use it run last.
    """
    background.wait()
    with turn(BESIDE, alone=True):
        pass


@pytest.fixture(scope="session", autouse=True)
def beside() -> Iterator[None]:
    """Hold the lock if BESIDE is set, so that `quiet` in the other process waits for this one."""
    if not os.environ.get("BESIDE"):
        yield
        return
    with turn(BESIDE, alone=False):
        yield


@pytest.fixture(scope="session")
def built(
    docker_build: Callable[..., Result],
    stub_projects: dict[str, Project],
    other_base: Callable[[], str],
) -> Callable[[str, str], Image]:
    """Return a function that builds a stub image of a kind and stage, for any thread to call."""

    def build(kind: str, stage: str) -> Image:
        project = stub_projects["cpu" if kind == "cpu" else "gpu"]
        if kind == "debian-13":
            more = (*project.arguments, f"--build-arg=BASE_IMAGE={other_base()}")
            project = replace(project, arguments=more)
        return build_image(docker_build, project, stage, f"{kind}-{stage}")

    return build


def build_image(
    docker_build: Callable[..., Result], project: Project, stage: str, name: str, **more: object
) -> Image:
    """Build a stage of a project; it must succeed."""
    image = Image(f"{REPOSITORY}:{name}", stage, project.build, project.folder)
    with PATCHING:
        version = build_script.version()
    done = docker_build(
        project.folder,
        *(f"--file={project.dockerfile}", f"--target={stage}", f"--tag={image.tag}"),
        *(f"--build-arg=VERSION={version}", *project.arguments),
        **more,
    )
    assert done.code == 0, done.output
    return image


@pytest.fixture(scope="session")
def stubs_held(
    request: pytest.FixtureRequest,
    built: Callable[[str, str], Image],
    background: Background,
    docker_build: Callable[..., Result],
    hold: Callable[..., dict[str, str]],
) -> dict[tuple[str, str], Future[dict[str, str]]]:
    """Return {(kind, stage): future of the contract's result} for the chosen stub images."""

    def held(kind: str, stage: str) -> dict[str, str]:
        folders = ["torch"] if kind == "cpu" else ["base", "torch", "runtime", "dev"]
        return hold(built(kind, stage), False, *folders)

    wanted = [
        item.callspec.params["image_kind"]
        for item in request.session.items
        if "image_kind" in getattr(getattr(item, "callspec", None), "params", ())
    ]
    # Build this repository first, so that the cache that it shares with the stubs is kept.
    background.submit(docker_build, TOP, "--target=settled")
    return {key: background.submit(held, *key) for key in dict.fromkeys(wanted)}


@pytest.fixture(scope="session")
def locks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future]]:
    """Return {test: future of the function that its marker `locked` names}.

    Poetry resolves for minutes on one core and needs no engine, so a thread does it while earlier
    tests run. The function gets a folder of its own and the named fixtures. Without fixtures, it
    must be a partial: https://docs.pytest.org/en/stable/example/markers.html
    """
    pool = ThreadPoolExecutor(max_workers=1)
    futures = {}
    for item in request.session.items:
        for marker in item.iter_markers("locked"):
            function, *names = marker.args
            folder = tmp_path_factory.mktemp("locked")
            with suppress(Exception, pytest.fail.Exception):  # its test raises it again
                needed = [request.getfixturevalue(name) for name in names]
                futures[item.nodeid] = pool.submit(function, folder, *needed)
    yield futures
    pool.shutdown(cancel_futures=True)


@pytest.fixture
def locked(request: pytest.FixtureRequest, locks: dict[str, Future]) -> object:
    """Return the result of the function that this test's marker `locked` names."""
    for name in request.node.get_closest_marker("locked").args[1:]:
        request.getfixturevalue(name)
    return locks[request.node.nodeid].result()


@pytest.fixture(autouse=True)
def begun(request: pytest.FixtureRequest) -> None:
    """Begin to make images and locks before the first test that needs them or an engine."""
    if {"engine", "locked", "stubs_held"} & set(request.fixturenames):
        for name in ("stubs_held", "locks"):
            with suppress(Exception, pytest.fail.Exception):  # its test raises it again
                request.getfixturevalue(name)
