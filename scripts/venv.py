"""Make .venv, the image's environment on this machine: same locks, same digests, no Docker.

For Linux with Python 3.11. BUILD says which torch build, by default what fits this machine; WHEELS
names a folder of wheels to take torch from. An environment that is there is made anew.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import build
import host
import split_locks
from host import fail, say
from split_locks import PACKAGES, LockError

TOP = Path(__file__).resolve().parent.parent
VENV = TOP / ".venv"


def run(*command: str | Path, **more: str) -> None:
    """Run a command with more environment, and end the program where it fails."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV), **more}
    if subprocess.run(command, env=environment, check=False).returncode:
        fail(f"{VENV} was not made (the reason is above).")


def poetry_install(folder: Path, options: str) -> None:
    """Install groups of a folder's poetry.lock; the options are a file there."""
    words = (folder / options).read_text().split()
    run("poetry", "install", "--directory", folder, "--no-root", *words)


def make(torch_build: str, locks: Path) -> None:
    """Make the environment for a torch build. Raises LockError; locks is an empty folder."""
    index_urls = host.index_url(), os.environ.get("TORCH_INDEX_URL", "")
    split_locks.split_torch(TOP, locks, torch_build, *index_urls)
    choices = ("DEPENDENCY_GROUPS", "DEV_GROUPS", "EXTRAS")
    split_locks.split_poetry(TOP, locks, *(os.environ.get(n) or build.argument(n) for n in choices))
    run("uv", "venv", "--quiet", "--clear", "--python", "3.11", VENV)
    # A copy, since a build leaves files beside the sources, compiled against this torch perhaps.
    left = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    packages = locks / "poetry" / PACKAGES
    shutil.copytree(TOP / PACKAGES, packages, ignore=left, dirs_exist_ok=True)
    poetry_install(locks / "poetry", "install-dev.options")

    pip = ("uv", "pip", "install", "--python", VENV, "--no-deps")
    run(*pip, "--require-hashes", "--requirement", locks / "torch-needs.txt")
    folder = build.given().get("WHEELS")
    wheels = ("--find-links", folder) if folder else ()
    run(*pip, "--require-hashes", *wheels, "--requirement", locks / "torch.txt")

    # Against this very torch: see docker/extensions/build-extensions.sh.
    path = f"{VENV / 'bin'}:{os.environ['PATH']}"
    for name, how in (("build", ()), ("extensions", ("--no-cache", "--no-build-isolation"))):
        file = locks / "extensions" / f"{name}.txt"
        file.write_text(file.read_text().replace("file:///mnt/", f"{packages.parent.as_uri()}/"))
        if file.read_text():
            run(*pip, *how, "--requirement", file, PATH=path)

    site = VENV / "lib" / "python3.11" / "site-packages"
    (site / "app_src.pth").write_text(f"{TOP / 'src'}\n")


def main() -> None:
    """Run as a command."""
    if sys.platform != "linux":
        fail("the locks are for Linux: work in the dev image instead, with `make shell`.")
    torch_build = build.choose_build()
    try:
        with tempfile.TemporaryDirectory() as folder:
            make(torch_build, Path(folder))
    except LockError as error:
        fail(str(error))
    say(f"Made .venv with torch's build {torch_build}: run `source .venv/bin/activate`.")


if __name__ == "__main__":
    main()
