"""Fixtures: the engine, and the images that the tests use.

If no engine answers, template/engine.py starts one, as for `./crate run`. Each image is built once
for all tests. The tests' containers and images have this session's label: the fixture `engine`
removes them at the end, after Ctrl-C too.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import docker
import pytest

from template import cache, tiers
from template import engine as engine_script
from template.engine import prepare
from template.tests import wheelhouse

# Fixtures and hooks, which pytest finds here.
from template.tests.ahead import (  # noqa: F401
    BESIDE,
    LEFT,
    background,
    begun,
    beside,
    built,
    locked,
    locks,
    quiet,
    stubs_held,
    turn,
)
from template.tests.common import CONTRACT, PATCHING, REPOSITORY, TOP, Project, Result, unpatched
from template.tests.options import (  # noqa: F401
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_itemcollected,
)
from torchcrate import build as build_script
from torchcrate import host as host_script
from torchcrate.testing.images import CANARY, LABEL, Image


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Return the Docker SDK's client of the engine that the docker command finds."""
    prepare()
    client = docker.from_env(timeout=900)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    yield client
    # If one is gone already, remove the others all the same.
    for container in client.containers.list(
        all=True, filters={"label": LABEL}, ignore_removed=True
    ):
        with suppress(docker.errors.APIError):
            container.remove(force=True, v=True)
    for image in client.images.list(filters={"label": LABEL}) + client.images.list(REPOSITORY):
        with suppress(docker.errors.APIError):
            client.images.remove(image.id, force=True)
    signal.signal(signal.SIGTERM, before)
    client.close()


@pytest.fixture(scope="session", autouse=True)
def kept_layers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Set the folder of kept_layers.py, for all processes of this session."""
    os.environ.setdefault("LAYERS_CACHE", str(tmp_path_factory.mktemp("layers")))


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """Return the base image that this machine can build on."""
    return os.environ["BASE_IMAGE"]


@pytest.fixture(scope="session")
def other_base(
    base_image: str, engine: docker.DockerClient, docker_build: Callable[..., Result]
) -> Callable[[], str]:
    """Return a function that makes a base image with another python3.

    It is Debian 13, with Debian 12's archive.
    """

    def make() -> str:
        tag, folder = f"{REPOSITORY}:debian-13-python", TOP / "template/tests/debian-13"
        done = docker_build(folder, "--build-arg=BASE_IMAGE=debian:13", f"--tag={tag}")
        if done.code:  # Docker Hub may not answer
            debian = f"{REPOSITORY}:debian-13"
            engine_script.bootstrap(unpatched(), debian, "trixie")
            done = docker_build(folder, f"--build-arg=BASE_IMAGE={debian}", f"--tag={tag}")
            engine.images.remove(debian)
        assert done.code == 0, done.output
        return tag

    return make


@pytest.fixture(scope="session")
def index_url() -> str:
    """Return the package index that this machine's builds need, or ""."""
    return host_script.index_url()


@pytest.fixture(scope="session")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Return the options that give a build this machine's certificates and passwords.

    Each has a line with the canary, which the tests look for in images.
    """
    folder = tmp_path_factory.mktemp("secrets")
    trusted = host_script.ca_bundle()
    if not trusted:
        pytest.fail("this machine has no CA bundle: name one with REQUESTS_CA_BUNDLE=FILE")
    (folder / "ca.crt").write_text(f"# {CANARY}-ca\n{trusted.read_text()}")
    passwords = Path(os.environ.get("NETRC") or os.devnull).expanduser().read_text()
    netrc = f"machine {CANARY}.example login {CANARY} password {CANARY}-netrc\n"
    (folder / "netrc").write_text(passwords + netrc)
    yield [f"--secret=id=ca,src={folder}/ca.crt", f"--secret=id=netrc,src={folder}/netrc"]
    shutil.rmtree(folder)  # pytest keeps its folders for three sessions


@pytest.fixture(scope="session")
def fork_cache() -> set[str]:
    """Return the records that forks leave in the build cache; `docker_build` adds them."""
    return set()


@pytest.fixture(scope="session")
def docker_build(
    base_image: str,
    index_url: str,
    secrets: list[str],
    engine: docker.DockerClient,
    fork_cache: set[str],
) -> Iterator[Callable[..., Result]]:
    """Return a function that runs a plain `docker buildx build` in a folder.

    Its further arguments come after those that this machine needs, and may override them. Without a
    --tag the result is only cached. At the end, the cache of forks is removed. The cache of this
    repository stays for the next `./crate run`. The caller removes `records`.
    """
    own: set[str] = set()
    # Builds of this repository run alone, so that it is known which records are theirs.
    lock = TOP / ".tools" / "builds.lock"

    def run(folder: Path, *arguments: str, records: set[str] = fork_cache) -> Result:
        environment = unpatched()
        command = ["docker", "buildx", "build", "--progress=plain", f"--label={LABEL}", *secrets]
        with PATCHING:
            command += [f"--builder={build_script.builder(environment)}"]
        command += [f"--build-arg=BASE_IMAGE={base_image}", f"--build-arg=INDEX_URL={index_url}"]
        # Docker hands these to every build step.
        direct = environment.get("NO_PROXY") or environment.get("no_proxy") or "localhost"
        command += [f"--build-arg=NO_PROXY={direct},{CANARY}.example"]
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "APT_MIRROR", "PPA_URL", "TORCH_INDEX_URL"):
            value = environment.get(name) or environment.get(name.lower())
            command += [f"--build-arg={name}={value}"] if value else []
        if not any(argument.startswith("--tag") for argument in arguments):
            command += ["--output=type=cacheonly"]
        with turn(lock, alone=folder == TOP):
            with PATCHING:
                before = cache.cached(environment)
            done = subprocess.run(
                [*command, *arguments, str(folder)],
                cwd=folder,
                env={**environment, "BUILDX_GIT_LABELS": "full"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            if done.returncode:  # the engine may still finish a step
                time.sleep(1)
            made = own if folder == TOP else records
            with PATCHING:
                made |= cache.cached(environment) - before
        return Result(done.returncode, done.stdout)

    yield run
    engine.images.prune(filters={"dangling": True, "label": LABEL})
    left = fork_cache - own
    if os.environ.get("BESIDE"):  # the other process may still build on these
        with LEFT.open("a") as file:
            file.writelines(f"{record}\n" for record in left)
        return
    with turn(BESIDE, alone=True):
        left |= set(LEFT.read_text().split()) - own if LEFT.exists() else set()
        LEFT.unlink(missing_ok=True)
    cache.uncache(dict(os.environ), left)


@pytest.fixture(scope="session")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Return a function that copies the repository's files to a new one, with a remote."""

    def copy() -> Path:
        folder = tmp_path_factory.mktemp("fork")
        tiers.copy(folder, f"{CANARY}-commit")
        origin = f"https://me:{CANARY}-origin@example.com/me/project.git"
        subprocess.run(["git", "remote", "add", "origin", origin], cwd=folder, check=True)
        return folder

    return copy


@pytest.fixture(scope="session")
def stub_projects(
    fork: Callable[[], Path],
    docker_build: Callable[..., Result],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Project]:
    """Return a copy of the repository for each kind (gpu, cpu), with stub wheels of torch.

    It has secrets in files, as real projects do.
    """
    folder, wheels = fork(), tmp_path_factory.mktemp("wheels")
    builds = {"gpu": build_script.default_gpu_build(), "cpu": "cpu"}
    for build in builds.values():
        wheelhouse.stub(folder, build, wheels / build)
    code = [folder / name for name in build_script.code(folder)]
    for place in [folder, *(path for path in code if path.is_dir())]:
        words = f"{CANARY}-{place.relative_to(folder).name}"
        (place / ".env").write_text(f"TOKEN={words}-env\n")
        (place / ".netrc").write_text(f"machine example.com password {words}-netrc\n")
    return {
        kind: Project(folder, build, (f"--build-context=wheels={wheels / build}",))
        for kind, build in builds.items()
    }


@pytest.fixture(scope="session")
def cpu_project_ahead(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Project]]:
    """Return the future of a copy of the repository for the CPU image with the real torch.

    If PyTorch's index does not answer, it is without torchvision, locked from a folder of wheels.
    Users without internet work like this. Poetry locks it in half a minute.
    """
    folder = tmp_path_factory.mktemp("cpu") / "project"

    def made() -> Project:
        if build_script.torch_index_answers("cpu"):
            tiers.copy(folder)
            return Project(folder, "cpu")
        tiers.without_torchvision(folder)
        wheels = tiers.wheels()
        command = ("./crate", "lock", "--build=cpu", f"--wheels={wheels}")
        project = Project(folder, "cpu", (f"--build-context=wheels={wheels}",), command)
        project.lock()
        return project

    with ThreadPoolExecutor(max_workers=1) as pool:
        yield pool.submit(made)


@pytest.fixture(scope="session")
def cpu_project(cpu_project_ahead: Future[Project]) -> Project:
    """Wait for that copy, and return it."""
    return cpu_project_ahead.result()


@pytest.fixture
def edited(fork: Callable[[], Path]) -> Callable[[str, str, str], Path]:
    """Return a function that copies the repository and replaces text in one of its files."""

    def edit(name: str, old: str, new: str) -> Path:
        folder = fork()
        text = (folder / name).read_text()
        assert re.search(old, text), f"{name} has no {old}"
        (folder / name).write_text(re.sub(old, new, text))
        return folder

    return edit


@pytest.fixture(scope="session")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Return a function that runs tests of the contract on an image, in another pytest.

    It returns {test: why it failed}, with "" for a test that passed. A test is a path in the
    contract's folder, with its parameter, if any, in brackets.
    """
    folder = tmp_path_factory.mktemp("hold")
    # Compiling the tests takes pytest two seconds: once is enough.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def against(image: Image, real: bool, *tests: str) -> dict[str, str]:
        junit = folder / f"{image.tag.replace(':', '-')}.xml"
        ours = f"{image.build}-{image.stage}"
        options = [f"--image={image.stage}={image.tag}", f"--build={image.build}"]
        options += [f"--project={image.project}", f"--junit-xml={junit}", "--canaries"]
        options += [f"--build-arg={argument}" for argument in image.build_args]
        options += [] if real else ["--stub"]
        paths = []
        for test in tests:
            file, colons, name = test.partition("::")
            name = name.replace("[", f"[{ours}-")
            places = [top / file for top in CONTRACT if (top / file).exists()]
            paths += [f"{place}{colons}{name}" for place in places]
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-c", "torchcrate/testing/pytest.ini"),
                *("--rootdir=.", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
                *("-p", "template.tests.kept_layers"),
                *options,
                *paths,
            ],
            cwd=TOP,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        found = {}
        for case in ElementTree.parse(junit).iter("testcase"):
            assert case.find("error") is None, done.stdout
            skipped = case.find("skipped")
            assert skipped is None or "has no torchvision" in skipped.get("message"), done.stdout
            failure = case.find("failure")
            lines = "" if failure is None else f"{failure.get('message')}\n{failure.text}"
            lines = [line for line in lines.splitlines() if line.startswith("E  ")]
            path = re.sub(r"^(tests\.image|template\.stub_contract)\.", "", case.get("classname"))
            name = case.get("name").replace(f"[{ours}]", "").replace(f"[{ours}-", "[")
            found[f"{path.replace('.', '/')}.py::{name}"] = "\n".join(
                line.removeprefix("E ").strip() for line in lines
            )
        return found

    return against
