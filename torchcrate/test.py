"""Test what images promise, and lint the files: `test`, `contract`, `lint`."""

import os
import subprocess
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torchcrate import build, engine, host
from torchcrate.host import TOP, fail, say
from torchcrate.testing.images import CANARY

REPORTS = TOP / "reports"


def pytest(reports: Path, *arguments: str) -> int:
    """Run pytest on this machine, with the settings of the tests about images."""
    command = [sys.executable, "-m", "pytest", "--rootdir=.", f"--junit-xml={reports}/junit.xml"]
    # These tests have their own settings, not those in pyproject.toml.
    command += [] if "-c" in arguments else ["-c", "torchcrate/testing/pytest.ini"]
    command += arguments
    return subprocess.run(command, cwd=TOP, check=False).returncode


def canaries(folder: Path) -> dict[str, str]:
    """Return variables that give builds secrets with a word that the tests look for in images."""
    found = {}
    bundle = host.ca_bundle()
    if bundle:
        (folder / "ca.crt").write_text(f"# {CANARY}-ca\n{bundle.read_text()}")
        found["REQUESTS_CA_BUNDLE"] = str(folder / "ca.crt")
    passwords = build.given().get("NETRC", Path(os.devnull)).read_text()
    machine = f"machine {CANARY}.example login {CANARY} password {CANARY}-netrc\n"
    (folder / "netrc").write_text(passwords + machine)
    direct = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "localhost"
    return {**found, "NETRC": str(folder / "netrc"), "NO_PROXY": f"{direct},{CANARY}.example"}


def images(torch_build: str, project: Path = TOP, log: IO | None = None, **more: str) -> None:
    """Build a project's images `runtime` and `dev`. Ends the program if that fails.

    `log` is a file for the output, `more` are more variables.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **canaries(Path(folder)), **more}
        for dev in ((), ("--dev",)):
            command = [sys.executable, project / "crate", "image", f"--build={torch_build}", *dev]
            how = {"cwd": project, "env": environment, "stdout": log, "stderr": log}
            if subprocess.run(command, check=False, **how).returncode:
                fail(
                    f"the image of {torch_build} was not built: {log.name if log else 'see above'}."
                )


def build_arguments() -> list[str]:
    """Return pytest's options for the build arguments that the environment has for bake."""
    names = ("PRUNE", "TORCH_CUDA_ARCH_LIST")
    return [f"--build-arg={name}={os.environ[name]}" for name in names if os.environ.get(name)]


def main(options: Namespace) -> int:
    """Build the images of one torch build, or of two side by side, and hold the contract."""
    second = "--second" in options.words  # the first build is asked everything
    words = [word for word in options.words if word != "--second"]
    if options.build:
        return hold(options.build, words, not second)
    builds = [build.default_gpu_build(), *(["cpu"] if "cpu" in build.builds() else [])]
    with beside(
        "cpu", *(["test", "--build=cpu", "--second", *words] if builds[1:] else [])
    ) as other:
        return hold(builds[0], words, first=True) or other()


@contextmanager
def beside(name: str, *arguments: str, folder: Path = TOP) -> Iterator[Callable[[], int]]:
    """Run another ./crate command meanwhile. Give a function that waits and prints how it ended.

    Tests wait a lot, so two at once take little longer than one.
    """
    log = REPORTS / f"{name}.log"
    if not arguments:
        yield lambda: 0
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        command = [sys.executable, folder / "crate", *arguments]
        other = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file)
    say(f"Beside this, `./crate {' '.join(arguments[:2])}`: {log.relative_to(TOP)}")

    def ended() -> int:
        code = other.wait()
        lines = log.read_text(errors="replace").splitlines()
        say("\n".join(lines if code else lines[-1:]))
        return code

    try:
        yield ended
    finally:
        if other.poll() is None:
            other.terminate()
            other.wait()


def hold(torch_build: str, words: list[str], first: bool) -> int:
    """Build the images `runtime` and `dev` of a torch build, and hold the contract against them."""
    engine.connect()
    images(torch_build)
    tag = f"{build.image_name()}:{torch_build}"
    arguments = [f"--image=runtime={tag}", f"--image=dev={tag}-dev", f"--build={torch_build}"]
    base = os.environ.get("BASE_IMAGE") or host.argument("BASE_IMAGE")
    arguments += [f"--build-arg=BASE_IMAGE={base}", "--canaries", *build_arguments()]
    arguments += [] if first else ["-m", "not once"]
    code = pytest(REPORTS if first else REPORTS / "cpu", *arguments, *words)
    return 0 if code == 5 else code  # no test was selected, for example with -k


def contract(options: Namespace) -> int:
    """Hold the contract against an image that exists."""
    engine.connect()
    if not options.build:
        fail("name the image's torch build: `./crate contract NAME --build cpu`.")
    image = f"--image={options.stage}={options.image}"
    return pytest(REPORTS, image, f"--build={options.build}", *build_arguments(), *options.words)


def lint(_options: Namespace) -> int:
    """Run pre-commit on all files."""
    command = [Path(sys.prefix) / "bin/pre-commit", "run", "--all-files"]
    return subprocess.run(command, cwd=TOP, check=False).returncode
