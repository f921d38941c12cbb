"""Images of the contract, built in the background while tests run, two at a time.

First those of stub wheels, then those of the real torch, then what builds/conftest.py has to build.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

import build as build_script
from images import PATCHING, REPOSITORY, TOP, Image, Project, Result, unpatched


class Turns:
    """Work that goes on in several threads at a time, and some that does so only alone."""

    def __init__(self) -> None:
        """Begin with nothing going on."""
        self.changed, self.count = threading.Condition(), 0  # -1: one alone

    @contextmanager
    def turn(self, alone: bool) -> Iterator[None]:
        """Wait until nothing goes on that this may not go on with, and keep it from beginning."""
        with self.changed:
            self.changed.wait_for(lambda: not self.count if alone else self.count >= 0)
            self.count += -1 if alone else 1
        try:
            yield
        finally:
            with self.changed:
                self.count -= -1 if alone else 1
                self.changed.notify_all()


class Background:
    """Two threads, and what was handed to them."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        """Take the threads."""
        self.pool, self.futures = pool, []

    def submit(self, *work: object) -> Future:
        """Have a function called with arguments; return the future of what it returns."""
        self.futures.append(self.pool.submit(*work))
        return self.futures[-1]

    def wait(self) -> None:
        """Wait until nothing goes on."""
        wait(self.futures)

    def end(self) -> None:
        """Begin with nothing more, which after Ctrl-C there is, and wait for what goes on."""
        self.pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def background(docker_build: Callable[..., Result]) -> Iterator[Background]:
    """Return the threads that build; they end before the engine and the cache are tidied up."""
    background = Background(ThreadPoolExecutor(max_workers=2))
    yield background
    background.end()


@pytest.fixture
def quiet(background: Background) -> None:
    """Wait until nothing is built in the background."""
    background.wait()


@pytest.fixture(scope="session", autouse=True)
def ahead(request: pytest.FixtureRequest) -> None:
    """Begin before the first test, in the order in which they are wanted."""
    if request.config.getoption("--image"):
        return
    for marker, images in (("stub", "stub_images"), ("real", "real_images")):
        if wanted(request, marker):
            with suppress(Exception, pytest.fail.Exception):  # again in the tests that want them
                request.getfixturevalue(images)
    request.getfixturevalue("locks")


@pytest.fixture(scope="session")
def built(
    request: pytest.FixtureRequest,
    docker_build: Callable[..., Result],
    stub_projects: dict[str, Project],
) -> Callable[[str, str], Image]:
    """Return a function that builds an image of a kind and stage."""

    def build(kind: str, stage: str) -> Image:
        if kind == "gpu" or stage == "base":
            with PATCHING:
                project = Project(TOP, build_script.default_gpu_build())
        if kind == "gpu":
            with PATCHING:
                build_script.check_disk(unpatched(), "gpu", "none")
        elif kind == "cpu":
            project = request.getfixturevalue("cpu_project")
        elif stage != "base":
            project = stub_projects[kind.removeprefix("stub-")]
        if kind == "debian-13":
            other = request.getfixturevalue("base_with_another_python")
            more = (*project.arguments, f"--build-arg=BASE_IMAGE={other}")
            project = replace(project, arguments=more)
        return build_image(docker_build, project, stage, f"contract-{kind}-{stage}")

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


def wanted(request: pytest.FixtureRequest, marker: str) -> list[tuple[str, str]]:
    """Return each (kind, stage) that the chosen tests with a marker want, in their order."""
    items = [item for item in request.session.items if "image" in getattr(item, "fixturenames", ())]
    return list(
        dict.fromkeys(
            item.callspec.params["image"] for item in items if item.get_closest_marker(marker)
        )
    )


@pytest.fixture(scope="session")
def stub_images(
    request: pytest.FixtureRequest,
    built: Callable[[str, str], Image],
    docker_build: Callable[..., Result],
    background: Background,
) -> dict[tuple[str, str], Future[Image]]:
    """Return the stub images that the chosen tests want, as they will be."""
    base = ("stub-gpu", "base")
    jobs = {base: background.submit(built, *base)}
    # What stubs have in common with the real images is then in the cache as the project's own.
    background.submit(docker_build, TOP, "--target=deps")
    others = [key for key in wanted(request, "stub") if key != base]
    return jobs | {key: background.submit(built, *key) for key in others}


@pytest.fixture(scope="session")
def real_images(
    request: pytest.FixtureRequest, built: Callable[[str, str], Image], background: Background
) -> dict[tuple[str, str], Future[Image]]:
    """Return the images of the real torch that the chosen tests want, as they will be."""
    keys = wanted(request, "real")
    # What they need is made here: a thread would be in the tests' way.
    for kind, needed in (("cpu", "cpu_project"), ("debian-13", "base_with_another_python")):
        if kind in dict(keys):
            request.getfixturevalue(needed)
    return {key: background.submit(built, *key) for key in keys}


@pytest.fixture(scope="session")
def locks(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future]]:
    """Return {test: future}: what the function named by its marker `locked` returns.

    Poetry resolves for minutes, on one core and without the engine, so that a thread does it while
    the tests before go on. The function gets a folder of its own and the fixtures that are named.
    Where none are, it is a partial: a bare function alone pytest takes for the one to mark.
    """
    pool = ThreadPoolExecutor(max_workers=1)
    futures = {}
    for item in request.session.items:
        for marker in item.iter_markers("locked"):
            function, *names = marker.args
            folder = tmp_path_factory.mktemp("locked")
            with suppress(Exception, pytest.fail.Exception):  # again in the test that wants them
                needed = [request.getfixturevalue(name) for name in names]
                futures[item.nodeid] = pool.submit(function, folder, *needed)
    yield futures
    pool.shutdown(cancel_futures=True)


@pytest.fixture
def locked(request: pytest.FixtureRequest, locks: dict[str, Future]) -> object:
    """Return what the function returned that this test's marker `locked` names."""
    for name in request.node.get_closest_marker("locked").args[1:]:
        request.getfixturevalue(name)
    return locks[request.node.nodeid].result()
