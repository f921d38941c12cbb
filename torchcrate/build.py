"""Build an image and run something in it: `./crate run`, `image`, `shell` and `doctor`.

It prints one line for each choice: the engine, the torch build, the base image, the GPU. BUILD and
the variables of docker-bake.hcl in the environment decide.
"""

from __future__ import annotations  # a Mac's own Python is 3.9

import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from torchcrate import engine, host
from torchcrate.host import TOP, argument, fail, say

GIB = 2**30
# Room for a first build: the GPU image took 9.1 GB, measured; the CPU image's is an estimate.
NEEDED = {"gpu": 10 * GIB, "cpu": 4 * GIB}


def builds(project: Path = TOP) -> list[str]:
    """Return the torch builds that have a lock."""
    return sorted(file.name[6:-4] for file in project.glob("locks/torch.*.txt"))


def default_gpu_build() -> str:
    """Return the build that the Dockerfile takes by default."""
    return argument("TORCH_BUILD")


def image_name() -> str:
    """Return the images' name: IMAGE, or what the bake file has."""
    text = (TOP / "docker-bake.hcl").read_text()
    return os.environ.get("IMAGE") or re.search(r'"IMAGE" { default = "(.+)" }', text).group(1)


def version() -> str:
    """Return the project's version."""
    # A Mac's own Python has no tomllib.
    text = (TOP / "pyproject.toml").read_text()
    found = re.search(r'^version = "([^"]+)"', text, re.M)
    return found.group(1) if found else ""


def code(project: Path = TOP) -> dict[str, str]:
    """Return {path in a project: path in the image} of the code, as its Dockerfile copies it."""
    found = {}
    text = (project / "Dockerfile").read_text()
    for sources, target in re.findall(r"^COPY (?:--\S+ )*(.+) /layers/1(/app/src\S*)$", text, re.M):
        for source in sources.split():
            found[source] = target + (Path(source).name if target.endswith("/") else "")
    return found


def torch_index_answers(build: str) -> bool:
    """Return whether the index in a build's lock, or its mirror, has torch."""
    first = (TOP / "locks" / f"torch.{build}.txt").read_text().partition("\n")[0]
    index = first.partition("--index-url ")[2]
    mirror = os.environ.get("TORCH_INDEX_URL")
    if index and mirror:
        index = f"{mirror.rstrip('/')}/{build}"
    return not index or host.answers(f"{index}/torch/")


def choose_build() -> str:
    """Return the torch build to use: BUILD, or the one that fits this machine.

    Ends the program with one sentence if BUILD or another choice is wrong.
    """
    host.check_addresses()
    given()
    wanted = os.environ.get("BUILD")
    if wanted:
        if wanted not in builds():
            fail(
                f"--build {wanted} has no lock locks/torch.{wanted}.txt (there are: "
                f"{', '.join(builds())}): make it with `./crate lock --build {wanted}`."
            )
        say(f"Build: {wanted}, as you asked")
        return wanted
    gpu = default_gpu_build()
    if engine.quiet(["nvidia-smi", "-L"]):
        say(f"Build: {gpu}, since this machine has an NVIDIA GPU")
        return gpu
    if "cpu" in builds() and (os.environ.get("WHEELS") or torch_index_answers("cpu")):
        say("Build: cpu, since this machine has no NVIDIA GPU")
        return "cpu"
    say(
        f"Build: {gpu}, which runs on the CPU too: no NVIDIA GPU here, and PyTorch's index with "
        "the CPU build does not answer"
    )
    return gpu


def check_disk(environment: engine.Environment, kind: str, tag: str) -> None:
    """Stop with one sentence if a first build would fill the disk."""
    if engine.quiet(["docker", "image", "inspect", tag], environment) is not None:
        return
    root = engine.quiet(["docker", "info", "--format", "{{.DockerRootDir}}"], environment)
    if not root or not Path(root).is_dir():
        return  # the engine is on another machine, or in a virtual one
    free = shutil.disk_usage(root).free
    if free < NEEDED[kind]:
        fail(
            f"{root} has {free / GIB:.1f} GB free, and the first build of the {kind.upper()} image "
            f"writes up to {NEEDED[kind] / GIB:.0f} GB: make room, for instance with "
            "`docker builder prune`."
        )


def builder(environment: engine.Environment) -> str:
    """Return the name of the engine's own builder: the name of Docker's context.

    Another builder would not see a base image that was made here, and would have to copy its
    result, with torch's gigabytes, to the engine.
    """
    return engine.quiet(["docker", "context", "show"], environment) or "default"


def given() -> dict[str, Path]:
    """Return the paths in WHEELS and NETRC, if they are set.

    Ends the program with one sentence if a path does not exist.
    """
    found = {}
    for name, kind_of in (("WHEELS", Path.is_dir), ("NETRC", Path.is_file)):
        if os.environ.get(name):
            found[name] = Path(host.home(os.environ[name])).resolve()
            if not kind_of(found[name]):
                fail(f"{name}={os.environ[name]} does not exist: correct it, or leave it out.")
    return found


def build(
    environment: engine.Environment,
    torch_build: str,
    dev: bool,
    tag: str = "",
    options: Sequence[str] = (),
) -> str:
    """Build the runtime or dev image of a torch build and return its tag.

    `tag` replaces the bake file's tag, `options` are more options for `buildx bake`.
    """
    kind = "cpu" if torch_build == "cpu" else "gpu"
    image = image_name()
    named, tag = tag, tag or f"{image}:{torch_build}" + ("-dev" if dev else "")
    check_disk(environment, kind, tag)
    settings = {"IMAGE": image, "INDEX_URL": host.index_url(), "VERSION": version()}
    # Labels with the commit, "-dirty" where there is more, and the address of git's origin.
    settings |= {"BUILDX_GIT_LABELS": "full", "BUILDX_GIT_CHECK_DIRTY": "1"}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):  # most programs read the small letters
        settings[name] = os.environ.get(name) or os.environ.get(name.lower(), "")
    settings["BASE_IMAGE"] = engine.base_image()
    if kind == "gpu":
        settings["TORCH_BUILD"] = torch_build
    readable = [TOP]
    bundle = host.ca_bundle()
    if bundle:
        settings["CA_BUNDLE"] = str(bundle)
        readable.append(bundle)
    for name, path in given().items():
        settings[name] = str(path)
        readable.append(path)
    if settings["INDEX_URL"]:
        say(f"Index: {settings['INDEX_URL']}")
    command = ["docker", "buildx", "bake", "--file", "docker-bake.hcl"]
    command += [f"--builder={builder(environment)}"]
    command += [f"--allow=fs.read={path}" for path in readable]
    target = kind + ("-dev" if dev else "")
    command += [f"--set={target}.tags={named}"] if named else []
    # Bake would take a variable that is set but empty over the Dockerfile's default.
    settings = {name: value for name, value in {**environment, **settings}.items() if value}
    if subprocess.run([*command, *options, target], cwd=TOP, env=settings).returncode:
        fail(f"{tag} was not built (the reason is above).")
    return tag


def gpu_options(environment: engine.Environment, tag: str) -> list[str]:
    """Return the options that give the container the GPUs, if the engine can."""
    probe = ["docker", "run", "--rm", "--gpus", "all", tag, "true"]
    if engine.quiet(probe, environment) is None:
        say("GPU: none that Docker offers, so torch computes on the CPU")
        return []
    say("GPU: all that Docker offers")
    return ["--gpus", "all"]


def user(environment: engine.Environment) -> str:
    """Return the user to run as, so that files written to the host belong to you."""
    security = engine.quiet(["docker", "info", "--format", "{{.SecurityOptions}}"], environment)
    # In rootless Docker, root inside is you, and every other user is another one outside.
    return "0:0" if "rootless" in (security or "") else f"{os.getuid()}:{os.getgid()}"


def dev_options(project: Path) -> list[str]:
    """Return the options that mount a project in its dev image, and that downloads need there.

    It is mounted at /workspace, and its src over the image's copy at /app/src.
    """
    options = ["--workdir", "/workspace"]
    options += ["--volume", f"{project}:/workspace"]
    for name, target in code(project).items():
        options += ["--volume", f"{project / name}:{target}"]
    index = host.index_url()
    for name in ("POETRY_PYPI_MIRROR_URL", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        options += ["--env", f"{name}={index}"] if index else []
    for name in ("TORCH_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        for spelling in (name, name.lower()):
            options += ["--env", spelling] if os.environ.get(spelling) else []
    bundle = host.ca_bundle()
    if bundle:
        # A copy, since Docker Desktop mounts files of the project, not of /etc.
        copy = project / ".tools" / "ca-certificates.crt"
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(bundle, copy)
        options += ["--volume", f"{copy}:/etc/ssl/certs/ca-certificates.crt:ro"]
    files = given()
    if "NETRC" in files:
        options += ["--volume", f"{files['NETRC']}:/tmp/.netrc:ro"]  # HOME is /tmp
    return options


def cache_options() -> list[str]:
    """Return the options that keep downloaded models and compiled kernels, for all projects.

    Hugging Face, torch.hub and Triton look there: https://specifications.freedesktop.org/basedir,
    https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    folder = (folder if folder.is_absolute() else Path.home() / ".cache") / "torchcrate"
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--volume", f"{folder}:/cache"]
    options += ["--env", "XDG_CACHE_HOME=/cache", "--env", "TRITON_HOME=/cache"]
    # torch would load an extension there that another torch compiled: the path has no version.
    options += ["--env", "TORCH_EXTENSIONS_DIR=/tmp/torch_extensions"]
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        options += ["--env", name] if os.environ.get(name) else []
    return options


def run(
    environment: engine.Environment, tag: str, torch_build: str, command: list[str], dev: bool
) -> int:
    """Run a command in a container and return its exit code.

    ./results is at /app/results, the cache at /cache; in `dev` the whole project is at /workspace.
    """
    options = ["--rm", "--init", "--user", user(environment)]
    options += ["--interactive", "--tty"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    options += gpu_options(environment, tag) if torch_build != "cpu" else []
    # DataLoader workers pass batches in shared memory (default: 64 MB).
    options += ["--shm-size", "1g", *cache_options()]
    if dev:
        options += dev_options(TOP)
    else:
        results = TOP / "results"
        results.mkdir(exist_ok=True)
        options += ["--volume", f"{results}:/app/results"]
    try:
        return subprocess.run(
            ["docker", "run", *options, tag, *command], env=environment
        ).returncode
    except KeyboardInterrupt:
        return 130


def start(options: Namespace, *command: str, dev: bool = False) -> int:
    """Build an image and run a command in it, or its default; return the exit code."""
    torch_build = choose_build()
    environment = engine.connect()
    tag = build(environment, torch_build, dev)
    say(f"Image: {tag}")
    words = list(command or options.command)
    words = words[1:] if words[:1] == ["--"] else words
    return run(environment, tag, torch_build, words, dev)


def run_image(options: Namespace) -> int:
    """Build the image and run its command."""
    return start(options)


def build_image(options: Namespace) -> int:
    """Build the image and run nothing."""
    torch_build = choose_build()
    say(f"Image: {build(engine.connect(), torch_build, options.dev)}")
    return 0


def shell(options: Namespace) -> int:
    """Start a shell, or a command, in the image `dev`, with the project mounted."""
    return start(options, dev=True)


def doctor(options: Namespace) -> int:
    """Say what the image can do on this machine."""
    return start(options, "doctor")
