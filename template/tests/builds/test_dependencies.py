"""Add all kinds of dependencies to a new project: they are in the image, and torch stays.

The documented commands make a project from the template, add all kinds of dependencies and build it
for the GPU and the CPU, on stub wheels. A server on this machine is the private index and the
private git host. Both want a password, which comes from a netrc file, as a build secret.
"""

import base64
import functools
import http.server
import json
import os
import subprocess
import threading
import urllib.parse
from pathlib import Path

import pytest
import tomlkit

from template.tests import existing, wheelhouse
from template.tests.common import REPOSITORY
from torchcrate import build as build_script
from torchcrate.stages.locks.split_locks import EXTENSIONS, EXTENSIONS_BUILD
from torchcrate.testing.images import CANARY, Image

pytestmark = pytest.mark.template

USER, PASSWORD = "me", f"{CANARY}-index"
AS_ME = ("git", "-c", "user.name=me", "-c", "user.email=me@example.com")
EXTRA, GROUP = "speech", "serve"

# A package in packages/. It needs torch, and NumPy in another range.
MINE = """
[project]
name = "mine"
version = "1.5"
dependencies = ["numpy (<2.4)", "torch"]

[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
"""
# A package whose build imports torch, as torch-scatter's does, and notes torch's version.
COMPILED = """
[project]
name = "compiled"
version = "2.5"
dependencies = ["torch", "einops"]

[build-system]
requires = ["setuptools", "torch"]
build-backend = "setuptools.build_meta"
"""
COMPILED_SETUP = """
import setuptools
import torch
from pathlib import Path

Path("compiled/built.py").write_text(f"AGAINST = {torch.__version__!r}\\n")
setuptools.setup(packages=["compiled"])
"""
PROBE = """
import importlib.metadata as m, json
import torch, pynvml, crcmod._crcfunext, mine, secret_index, secret_git
from compiled.built import AGAINST
print(json.dumps({
    "torch": torch.__version__, "against": AGAINST,
    "there": sorted(d.metadata["Name"].lower() for d in m.distributions()),
    "versions": {name: m.version(name) for name in ("numpy", "mine", "compiled")},
}))
"""

NAMES = """
import importlib.metadata as m
print(*(d.metadata["Name"] for d in m.distributions()))
"""


class Private(http.server.SimpleHTTPRequestHandler):
    """Serves a folder to those who know the password, and logs nothing."""

    def do_GET(self) -> None:
        """Answer a request, or ask for the password."""
        given = self.headers.get("Authorization", "")
        if given == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode():
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="private"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def private(engine, tmp_path_factory):
    """Serve a folder with a password to builds. Return the folder, its URL and a netrc file."""
    if engine.info()["OperatingSystem"] == "Docker Desktop":
        pytest.skip("Docker Desktop's builds run in a virtual machine, which cannot reach this one")
    (config,) = engine.networks.get("bridge").attrs["IPAM"]["Config"][:1]
    folder = tmp_path_factory.mktemp("private")
    handler = functools.partial(Private, directory=str(folder / "served"))
    with http.server.ThreadingHTTPServer((config["Gateway"], 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://{config['Gateway']}:{server.server_port}"
        netrc = folder / "home" / ".netrc"
        netrc.parent.mkdir()
        host = urllib.parse.urlsplit(url).hostname
        netrc.write_text(f"machine {host} login {USER} password {PASSWORD}\n")
        netrc.chmod(0o600)
        yield folder / "served", url, netrc
        server.shutdown()


def write(folder, files):
    """Write files, {path: text}, below a folder."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def run(*command, cwd, environment=None):
    """Run a command that must succeed, and return what it prints."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def serve(folder):
    """Put a package index and a git repository into a folder, each with one package."""
    wheelhouse.wheel(folder / "simple", "secret-index", "1.0", "cpu", [])
    wheelhouse.pages(folder / "simple")
    source = folder.parent / "secret_git"
    setup = MINE.replace('"mine"', '"secret-git"').replace('["numpy (<2.4)", "torch"]', "[]")
    write(source, {"pyproject.toml": setup, "secret_git/__init__.py": ""})
    run("git", "init", "--quiet", "--initial-branch=main", cwd=source)
    run("git", "add", ".", cwd=source)
    run(*AS_ME, "commit", "--quiet", "--message=one", cwd=source)
    bare = folder / "secret_git.git"
    run("git", "clone", "--quiet", "--bare", str(source), str(bare), cwd=folder)
    run("git", "update-server-info", cwd=bare)


@pytest.fixture(scope="module")
def crate(private):
    """Return a function that runs ./crate in a project as a user who has a netrc file."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    environment = {"HOME": str(private[2].parent), "XDG_CACHE_HOME": cache}
    return lambda folder, *words, **more: run(
        "./crate", *words, cwd=folder, environment=environment | more
    )


@pytest.fixture(scope="module")
def project(fork, private, crate, tmp_path_factory):
    """Return a project made from the template, with every kind of dependency.

    Also {build: the folder of its stub wheels}.
    """
    folder, wheels = fork(), tmp_path_factory.mktemp("wheels")
    with (folder / ".git" / "info" / "exclude").open("a") as file:
        file.write("/.tools\n")  # a link here
    run("git", "add", "--all", cwd=folder)
    run(*AS_ME, "commit", "--quiet", "--message=The template", cwd=folder)
    crate(
        folder, "init", "--name=my-vision", "--author=Me <me@example.com>", "--description=It sees"
    )
    served, url, _ = private
    serve(served)
    write(folder / "packages" / "mine", {"pyproject.toml": MINE, "mine/__init__.py": ""})
    write(
        folder / "packages" / "compiled",
        {"pyproject.toml": COMPILED, "setup.py": COMPILED_SETUP, "compiled/__init__.py": ""},
    )
    packages = folder / "apt/runtime.txt"
    more = "libxdmcp-of-nobody|libxdmcp6  # the second\n"
    more += "fontconfig shared-mime-info  # for their caches\n"
    packages.write_text(packages.read_text() + more)
    pyproject = folder / "pyproject.toml"
    document = tomlkit.parse(pyproject.read_text())
    source = {"name": "private", "url": f"{url}/simple/", "priority": "explicit"}
    document["tool"]["poetry"].setdefault("source", tomlkit.aot()).append(source)
    # Poetry resolves this torch quickly. Below, `./crate add` adds to one group only.
    needs = document["project"]["dependencies"]
    for index, need in enumerate(needs):
        for name, version in (("torch", existing.TORCH), ("torchvision", existing.TORCHVISION)):
            if need.startswith(f"{name} "):
                needs[index] = f"{name} (=={version})"
    document["dependency-groups"] |= {
        GROUP: ["itsdangerous"],
        EXTENSIONS_BUILD: ["setuptools"],
    }
    pyproject.write_text(tomlkit.dumps(document))
    for names in (
        f"torchmetrics nvidia-ml-py crcmod ./packages/mine git+{url}/secret_git.git",
        "--source private secret-index",
        f"--optional {EXTRA} soundfile",
        f"--group {EXTENSIONS} ./packages/compiled",
    ):
        crate(folder, "add", *names.split())
    wheelhouse.family(folder, "cpu", wheels / "cpu")
    crate(folder, "lock", "--build=cpu", f"--wheels={wheels / 'cpu'}")
    crate(folder, "lock", f"--build={existing.GPU}")
    wheelhouse.stub(folder, existing.GPU, wheels / existing.GPU)
    return folder, {build: wheels / build for build in ("cpu", existing.GPU)}


@pytest.fixture(scope="module")
def built(project, private, docker_build, engine):
    """Return a function that builds the project's image for a kind, with build arguments."""
    folder, wheels = project
    made = []

    def build(kind, *arguments, stage="runtime", fails=False):
        build = "cpu" if kind == "cpu" else existing.GPU
        image = Image(f"{REPOSITORY}:dependencies-{kind}-{stage}", stage, build, folder, arguments)
        done = docker_build(
            folder,
            *(f"--file=Dockerfile{'.cpu' * (kind == 'cpu')}", f"--target={stage}"),
            *(f"--tag={image.tag}", f"--build-arg=TORCH_BUILD={build}"),
            *(f"--build-context=wheels={wheels[build]}", f"--secret=id=netrc,src={private[2]}"),
            *(f"--build-arg={argument}" for argument in arguments),
        )
        if fails:
            return done
        assert done.code == 0, done.output
        made.append(image.tag)
        return image

    yield build
    for tag in set(made):
        engine.images.remove(tag, force=True)


# Build arguments, and the optional packages that the image has with them.
ARGUMENTS = ("PRUNE=no", f"DEPENDENCY_GROUPS=main,{GROUP}", f"EXTRAS={EXTRA}")
OPTIONAL = {"soundfile", "itsdangerous"}


def test_no_compiler(built):
    """NVIDIA has no compiler in wheels for CUDA 12: nothing is compiled, not even for the CPU."""
    done = built("gpu", stage="extensions", fails=True)
    assert done.code
    assert "CUDA 12.8 has no nvcc in wheels" in done.sentence
    assert "cuda-nvcc-12-8" in done.sentence


def test_runtime(built, docker_run, hold):
    image = built("cpu", *ARGUMENTS)
    done = docker_run(image, "python", "-c", PROBE)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert docker_run(image, "python", "-c", "import my_vision").returncode == 0
    assert found["torch"].endswith(f"+{image.build}")
    assert found["against"] == found["torch"]
    assert found["versions"]["mine"] == "1.5"
    assert "torchmetrics" in found["there"]  # importing it needs more than a stub of torch
    assert found["versions"]["numpy"] < "2.4"
    assert set(found["there"]) >= OPTIONAL
    promises = ["torch", *(f"runtime/test_{name}.py" for name in ("files", "system_files"))]
    said = hold(image, False, *promises, "runtime/test_no_secrets.py")
    assert set(said.values()) == {""}, said


def test_dev(built, hold):
    image = built("cpu", *ARGUMENTS, stage="dev")
    done = "dev/test_lock_is_installed.py"
    said = hold(image, False, done, "torch/test_locked_packages.py")
    assert set(said.values()) == {""}, said


# Prints {package: {file: digest}} of an environment. Each installer writes the scripts in bin and
# the notes in `left` in its own way, and a compiled file has the path of its build.
CONTENT = """
import hashlib, json, sys
from importlib.metadata import distributions
from pathlib import Path
left = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
found = {}
for d in distributions(path=[f"{sys.argv[1]}/lib/python3.11/site-packages"]):
    files = found[d.metadata["Name"].lower()] = {}
    for file in d.files or ():
        if file.name not in left and file.suffix != ".pyc":
            content = file.locate().read_bytes().replace(sys.argv[1].encode(), b"VENV")
            own = file.suffix == ".so" or file.parts[0] == ".."
            files[str(file)] = "" if own else hashlib.sha256(content).hexdigest()
print(json.dumps(found))
"""
POETRY_INSTALLS = """
cp -r /given/. /mnt
python3.11 -m venv --without-pip /tmp/new
cp /app/.venv/torch.*.txt /tmp/new
VIRTUAL_ENV=/tmp/new poetry install --directory=/mnt --no-root --only=$WANTED --extras=$EXTRAS >&2
python -c "$CONTENT" /tmp/new
"""


def test_as_poetry_installs(project, built, private, docker_run):
    """File by file, the image has what `poetry install` makes of the same lock."""
    image = built("cpu", *ARGUMENTS, stage="dev")
    folder, _ = project
    names = ("pyproject.toml", "poetry.lock", "packages")
    options = [f"--volume={folder / name}:/given/{name}:ro" for name in names]
    options += [*build_script.dev_options(folder)[2:], f"--volume={private[2]}:/tmp/.netrc:ro"]
    options += [
        f"--env=CONTENT={CONTENT}",
        f"--env=WANTED=main,{GROUP},dev",
        f"--env=EXTRAS={EXTRA}",
    ]
    done = docker_run(image, "bash", "-euc", POETRY_INSTALLS, options=tuple(options))
    assert done.returncode == 0, done.stderr
    poetry = json.loads(done.stdout)
    done = docker_run(image, "python", "-c", CONTENT, "/app/.venv")
    ours = json.loads(done.stdout)
    assert {"crcmod", "mine", "secret-git", "secret-index", "numpy", "pytest"} <= poetry.keys()
    different = {
        name: sorted({file for file, _ in files.items() ^ ours.get(name, {}).items()})
        for name, files in poetry.items()
        if files != ours.get(name)
    }
    assert different == {}


def test_local_venv(project, crate):
    folder, wheels = project
    more = dict(argument.split("=", 1) for argument in ARGUMENTS)
    crate(folder, "venv", "--build=cpu", f"--wheels={wheels['cpu']}", **more)
    found = json.loads(run(f"{folder}/.venv/bin/python", "-c", PROBE, cwd=folder))
    assert found["torch"].endswith("+cpu")
    assert found["against"] == found["torch"]
    assert {"torchmetrics", "pytest", *OPTIONAL} <= set(found["there"])
    assert not [name for name in found["there"] if name.startswith("nvidia-cu")]
    package = next((folder / "src").glob("*/__init__.py")).parent.name
    code = f"import importlib.util as u; print(u.find_spec({package!r}).origin)"
    assert run(f"{folder}/.venv/bin/python", "-c", code, cwd="/").startswith(str(folder / "src"))


def test_path_dependencies(project):
    folder, _ = project
    assert str(folder) not in (folder / "pyproject.toml").read_text()
    assert str(folder) not in (folder / "poetry.lock").read_text()


def test_remove(project, built, docker_run, crate):
    folder, wheels = project
    crate(folder, "remove", "torchmetrics", "crcmod")
    # A torch of your own, with a name that is none of PyTorch's builds.
    crate(folder, "lock", "--build=mine", f"--wheels={wheels['cpu']}")
    assert "--index-url" not in (folder / "locks/torch.mine.txt").read_text()
    image = built("cpu", "TORCH_BUILD=mine")
    there = docker_run(image, "python", "-c", NAMES).stdout.split()
    assert not {"torchmetrics", "crcmod", "lightning-utilities", *OPTIONAL} & set(there)
    assert {"mine", "nvidia-ml-py", "torch"} <= set(there)
