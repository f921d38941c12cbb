"""Images of the contract, built in the background while tests run, two at a time.

First those of stub wheels, then those of the real torch, then what builds/conftest.py has to build.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

import build as build_script
import layers
from images import CANARY, PATCHING, REPOSITORY, TOP, Image, Project, Result, unpatched

# make runs two pytest processes at once. The one with BESIDE set holds the lock, and leaves a list
# of its build records, which the other removes when both are done.
BESIDE, LEFT = TOP / ".tools" / "beside.lock", TOP / ".tools" / "beside.left"


@contextmanager
def turn(lock: Path, alone: bool) -> Iterator[None]:
    """Wait for a turn: alone, or together with all that need not be, in any thread and process."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


class Background:
    """Two threads that build, one that reads what they built, and what was handed to them."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.builders, self.reader = ThreadPoolExecutor(2), ThreadPoolExecutor(1)
        self.futures: list[Future] = []

    def submit(self, *work: object) -> Future:
        """Have a function called with arguments; return the future of what it returns."""
        self.futures.append(self.builders.submit(*work))
        return self.futures[-1]

    def read(self, image: Future[Image]) -> Future[None]:
        """Have an image read once it is there."""
        self.futures.append(self.reader.submit(read, image))
        return self.futures[-1]

    def wait(self) -> None:
        """Wait until nothing goes on."""
        wait(self.futures)

    def end(self) -> None:
        """Begin with nothing more, which after Ctrl-C there is, and wait for what goes on."""
        for pool in (self.builders, self.reader):
            pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def background(docker_build: Callable[..., Result]) -> Iterator[Background]:
    """Return the threads that build; they end before the engine and the cache are tidied up."""
    background = Background()
    yield background
    background.end()


@pytest.fixture(scope="session")
def quiet(background: Background) -> None:
    """Wait until nothing is built in the background, nor by tests in a process beside this one.

    Tests that want it come last.
    """
    background.wait()
    with turn(BESIDE, alone=True):
        pass


@pytest.fixture(scope="session", autouse=True)
def beside() -> Iterator[None]:
    """Hold the lock if this is the process beside, so that tests that want `quiet` wait for it."""
    if not os.environ.get("BESIDE"):
        yield
        return
    with turn(BESIDE, alone=False):
        yield


@pytest.fixture(autouse=True)
def ahead(request: pytest.FixtureRequest, engine_ahead: subprocess.Popen | None) -> None:
    """Begin with images and locks once there is an engine, and at the latest when one is wanted."""
    names = {"engine", "locked"} & set(request.fixturenames)
    if names or (engine_ahead and engine_ahead.poll() is not None):
        request.getfixturevalue("begun")


@pytest.fixture(scope="session")
def begun(request: pytest.FixtureRequest) -> None:
    """Begin with images and locks, in the order in which they are wanted."""
    if request.config.getoption("--image"):
        return
    for name in ("images_ahead", "locks"):
        if name == "locks" or wanted(request):
            with suppress(Exception, pytest.fail.Exception):  # again in the tests that want them
                request.getfixturevalue(name)


@pytest.fixture(scope="session")
def built(
    request: pytest.FixtureRequest,
    docker_build: Callable[..., Result],
    stub_projects: dict[str, Project],
) -> Callable[[str, str], Image]:
    """Return a function that builds an image of a kind and stage, for any thread to call."""
    # What some kinds need is begun here: fixtures are the main thread's.
    kinds = {kind for kind, _ in wanted(request)}
    cpu = request.getfixturevalue("cpu_project_ahead") if "cpu" in kinds else None
    other = request.getfixturevalue("other_base") if "debian-13" in kinds else None

    def build(kind: str, stage: str) -> Image:
        if kind == "gpu" or stage == "base":
            with PATCHING:
                project = Project(TOP, build_script.default_gpu_build())
        if kind == "gpu":
            with PATCHING:
                build_script.check_disk(unpatched(), "gpu", "none")
        elif kind == "cpu":
            project = cpu.result()
        elif stage != "base":
            project = stub_projects[kind.removeprefix("stub-")]
        if kind == "debian-13":
            more = (*project.arguments, f"--build-arg=BASE_IMAGE={other()}")
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


def wanted(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """Return each (kind, stage) that the chosen tests want, in their order."""
    items = [item for item in request.session.items if "image" in getattr(item, "fixturenames", ())]
    return list(dict.fromkeys(item.callspec.params["image"] for item in items))


@pytest.fixture(scope="session")
def images_ahead(
    request: pytest.FixtureRequest,
    built: Callable[[str, str], Image],
    docker_build: Callable[..., Result],
    background: Background,
) -> dict[tuple[str, str], tuple[Future[Image], Future[None]]]:
    """Return the images that the chosen tests want, as they will be, and when they can be read.

    What `runtime` holds is read ahead too: of the GPU's that takes more than a minute.
    """
    keys = wanted(request)
    base = ("stub-gpu", "base")
    if base in keys:
        keys.remove(base)
        jobs = {base: (background.submit(built, *base), None)}
        # What stubs have in common with the real images is then in the cache as the project's own.
        background.submit(docker_build, TOP, "--target=deps")
    else:
        jobs = {}
    for key in keys:
        image = background.submit(built, *key)
        jobs[key] = (image, background.read(image) if key[1] == "runtime" else None)
    return jobs


def read(image: Future[Image]) -> None:
    """Read what an image holds, for `layers.read` to find, in a process of its own."""
    code = "import sys, layers; layers.read(sys.argv[1], sys.argv[2].encode())"
    command = [sys.executable, "-c", code, image.result().tag, CANARY]
    folder = Path(layers.__file__).parent
    subprocess.run(command, cwd=folder, env=unpatched(), check=False)  # the tests say what is wrong


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
