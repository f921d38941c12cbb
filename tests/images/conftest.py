"""Fixtures: the engine, the images that the tests look into, containers that are gone afterwards.

Where no engine answers, scripts/engine.py brings one, just as `make run` does. Each image is built
once for all tests.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import testinfra
import tomlkit

import build as build_script
import engine as engine_script
import host as host_script

TOP = Path(__file__).resolve().parent.parent.parent
LABEL = "torchcrate-test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs images, so that `-m 'not images'` is the quick half."""
    for item in items:
        if TOP / "tests" / "images" in item.path.parents:
            item.add_marker("images")


@dataclass(frozen=True)
class Image:
    """An image and what it was made from."""

    tag: str
    build: str  # the torch build, such as cu130 or cpu
    project: Path  # the folder with its pyproject.toml and locks


@dataclass(frozen=True)
class Result:
    """How one `docker build` ended."""

    code: int
    output: str

    @property
    def sentence(self) -> str:
        """The one sentence that stopped the build, without BuildKit's words around it."""
        found = {line.partition("ERROR: ")[2] for line in self.output.splitlines()}
        found = {s for s in found if s and not s.startswith(("process ", "failed to "))}
        assert len(found) == 1, f"not one sentence but {found} in:\n{self.output}"
        return found.pop()


@pytest.fixture(scope="session")
def canary() -> str:
    """Return a line of the secret CA bundle that the tests' builds are handed."""
    return "torchcrate-test: no image may hold this line"


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Return the Docker SDK's client of the engine; the docker command finds the same engine."""
    os.environ.update(engine_script.connect())
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """Return the base image that this machine can build on."""
    os.environ["BASE_IMAGE"] = engine_script.base_image(dict(os.environ))
    return os.environ["BASE_IMAGE"]


@pytest.fixture(scope="session")
def index_url() -> str:
    """Return the package index that this machine's builds need, or ""."""
    return host_script.index_url()


@pytest.fixture(scope="session")
def docker_build(
    base_image: str,
    index_url: str,
    canary: str,
    engine: docker.DockerClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Result]]:
    """Return a function that runs a plain `docker buildx build` in a folder.

    Its further arguments are added to those that this machine needs, and may override them.
    Without a --tag among them the result is only cached.
    """
    # What this machine trusts, with a line to find again should the bundle leak into an image.
    trusted = host_script.ca_bundle()
    bundle = tmp_path_factory.mktemp("secret") / "ca.crt"
    bundle.write_text(f"# {canary}\n" + (trusted.read_text() if trusted else ""))

    def run(folder: Path, *arguments: str) -> Result:
        command = ["docker", "buildx", "build", "--progress=plain"]
        command += [f"--builder={build_script.builder(dict(os.environ))}"]
        command += [f"--build-arg=BASE_IMAGE={base_image}", f"--build-arg=INDEX_URL={index_url}"]
        command += [f"--secret=id=ca,src={bundle}"] if trusted else []
        command += [f"--label={LABEL}"]
        if not any(argument.startswith("--tag") for argument in arguments):
            command += ["--output=type=cacheonly"]
        done = subprocess.run(
            [*command, *arguments, str(folder)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Result(done.returncode, done.stdout)

    yield run
    engine.images.prune(filters={"dangling": True, "label": LABEL})


@pytest.fixture(scope="session")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a function that copies what git tracks, or would track, to a new folder."""

    def copy() -> Path:
        folder = tmp_path_factory.mktemp("fork")
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, check=True)
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (TOP / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(TOP / name, folder / name)
        (folder / ".tools").symlink_to(TOP / ".tools")
        return folder

    return copy


def torch_wheels() -> Path | None:
    """Return the folder, named by WHEELS or by pip's find-links, that has a wheel of torch+cpu."""
    names = [os.environ.get("WHEELS", ""), *os.environ.get("PIP_FIND_LINKS", "").split()]
    for folder in map(Path, filter(None, names)):
        if any(folder.glob("torch-*+cpu-cp311-*.whl")):
            return folder
    return None


@dataclass(frozen=True)
class Fork:
    """A copy of the repository that a CPU image can be built from on this machine."""

    folder: Path
    build_arguments: tuple[str, ...]
    lock_command: tuple[str, ...] = ("make", "lock", "BUILD=cpu")

    def lock(self) -> None:
        """Bring its locks up to date, as a user would."""
        done = subprocess.run(self.lock_command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def cpu_fork(fork: Callable[[], Path]) -> Fork:
    """Return a copy of the repository for the CPU image.

    Where PyTorch's index does not answer, it is one without torchvision, locked for a folder of
    wheels: this is also how an air-gapped user works.
    """
    folder = fork()
    if build_script.torch_index_answers("cpu"):
        return Fork(folder, ())
    wheels = torch_wheels()
    if not wheels:
        pytest.fail(
            "PyTorch's index does not answer, and no folder has a wheel of torch+cpu: name one "
            "with `make test WHEELS=FOLDER`"
        )
    pyproject = folder / "pyproject.toml"
    document = tomlkit.parse(pyproject.read_text())
    needs = document["project"]["dependencies"]
    needs.remove(next(need for need in needs if need.startswith("torchvision")))
    pyproject.write_text(tomlkit.dumps(document))
    fork_ = Fork(
        folder,
        (f"--build-context=wheels={wheels}",),
        ("make", "lock", "BUILD=cpu", f"WHEELS={wheels}"),
    )
    fork_.lock()
    return fork_


@pytest.fixture(scope="session")
def image(
    engine: docker.DockerClient,
    docker_build: Callable[..., Result],
    base_image: str,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[[str, str], Image]]:
    """Return a function from a kind (gpu, cpu) and a stage (runtime, dev) to the built image."""
    built: dict[tuple[str, str], Image] = {}

    def get(kind: str, stage: str) -> Image:
        if (kind, stage) not in built and kind == "gpu":
            build = build_script.default_gpu_build()
            tag = build_script.build(dict(os.environ), build, stage == "dev")
            built[kind, stage] = Image(tag, build, TOP)
        elif (kind, stage) not in built:
            fork_ = request.getfixturevalue("cpu_fork")
            tag = f"torchcrate-test:cpu-{stage}"
            result = docker_build(
                fork_.folder,
                *("--file=Dockerfile.cpu", f"--target={stage}", f"--tag={tag}"),
                *fork_.build_arguments,
            )
            assert result.code == 0, result.output
            built[kind, stage] = Image(tag, "cpu", fork_.folder)
        return built[kind, stage]

    yield get
    for (kind, _), image_ in built.items():
        if kind == "cpu":
            engine.images.remove(image_.tag, force=True)


@pytest.fixture(scope="module", params=["gpu", "cpu"])
def runtime(image: Callable[[str, str], Image], request: pytest.FixtureRequest) -> Image:
    """Return the runtime image, GPU and CPU in turn."""
    return image(request.param, "runtime")


@pytest.fixture(scope="module", params=["gpu", "cpu"])
def dev(image: Callable[[str, str], Image], request: pytest.FixtureRequest) -> Image:
    """Return the dev image, GPU and CPU in turn."""
    return image(request.param, "dev")


@pytest.fixture(scope="module")
def inside(engine: docker.DockerClient) -> Iterator[Callable[..., testinfra.host.Host]]:
    """Return a function that starts an image and returns testinfra's host inside."""
    containers: dict[tuple, docker.models.containers.Container] = {}

    def start(image: Image, **options: object) -> testinfra.host.Host:
        key = (image.tag, *sorted(options.items()))
        if key not in containers:
            containers[key] = engine.containers.run(
                image.tag, ["sleep", "infinity"], detach=True, init=True, **options
            )
        return testinfra.get_host(f"docker://{containers[key].id}")

    yield start
    for container in containers.values():
        container.remove(force=True)


@pytest.fixture
def docker_run() -> Callable[..., subprocess.CompletedProcess]:
    """Return a function that runs a command in a new container, as `docker run --rm` does."""

    def run(image: Image, *command: str, options: tuple = ()) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["docker", "run", "--rm", *options, image.tag, *command],
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
