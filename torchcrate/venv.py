"""Make .venv, the image's environment on this machine: same locks, same hashes, no Docker.

For Linux with Python 3.11. BUILD names the torch build, by default the one that fits this machine.
WHEELS names a folder with torch's wheels. The old environment stays until the new one, made in
.tools, is complete and replaces it.
"""

import os
import shutil
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from torchcrate import build, host
from torchcrate.host import TOP, fail, say
from torchcrate.stages.locks import dist_info, split_locks
from torchcrate.stages.locks.split_locks import PACKAGES, LockError
from torchcrate.tools import beside

NVCC = "torchcrate/stages/install/nvcc.sh"
WITH_NVCC = 'cuda=$1 prefix=$2 nvcc=$3; shift 3; . "$nvcc"; "$@"'
MEND = "mend that, then run `./crate venv` again"


def install(venv: Path, *command: str | Path, **more: str) -> None:
    """Run a command that installs into an environment. Ends the program if it fails."""
    environment = {**os.environ, "VIRTUAL_ENV": str(venv), **more}
    if host.run(command, env=environment):
        fail(f".venv was not made (the reason is above), and the old one is as it was: {MEND}.")


def make(venv: Path, torch_build: str, locks: Path, wheels: Path | None) -> None:
    """Make the environment for a torch build. Raises LockError; locks is an empty folder."""
    choices = ("DEPENDENCY_GROUPS", "DEV_GROUPS", "EXTRAS")
    chosen = (os.environ.get(name) or host.argument(name) for name in choices)
    index_urls = host.index_url(), os.environ.get("TORCH_INDEX_URL", "")
    split_locks.split(TOP, locks, torch_build, *chosen, *index_urls)
    install(venv, "uv", "venv", "--quiet", "--python", "3.11", venv)
    # A copy, since a build leaves files beside the sources.
    left = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    shutil.copytree(TOP / PACKAGES, locks / PACKAGES, ignore=left)
    path = f"{venv / 'bin'}:{os.environ['PATH']}"
    hashes, folder = ("--require-hashes",), ("--find-links", wheels) if wheels else ()
    for name, how in (
        *((name, hashes) for name in ("settled", "new", "dev")),
        ("torch", (*hashes, *folder)),
        *((name, ("--no-cache",)) for name in ("sources", "dev-sources")),
        ("extensions/build", ()),
        # Compiled against this torch: see torchcrate/stages/install/sources.sh.
        ("extensions/extensions", ("--no-cache", "--no-build-isolation")),
    ):
        file = locks / f"{name}.txt"
        file.write_text(file.read_text().replace("file:///mnt/", f"{locks.as_uri()}/"))
        if file.read_text():
            pip = ("uv", "pip", "install", "--python", venv, "--no-deps")
            cuda = (locks / "extensions/cuda.txt").read_text()
            if name == "extensions/extensions" and cuda:
                pip = ("bash", "-euc", WITH_NVCC, "bash", cuda, venv, TOP / NVCC, *pip)
            install(venv, *pip, *how, "--requirement", file, PATH=path)

    site = venv / "lib" / "python3.11" / "site-packages"
    dist_info.write(split_locks.read(TOP / "pyproject.toml"), venv, str(venv / "bin/python"))
    code = [(TOP / name, target) for name, target in build.code().items()]
    found = {path if target == "/app/src" else path.parent for path, target in code}
    (site / "app_src.pth").write_text("".join(f"{folder}\n" for folder in sorted(found)))


def main(_options: Namespace) -> None:
    """Run the command."""
    if sys.platform != "linux":
        fail("the locks are for Linux: work in the dev image instead, with `./crate shell`.")
    torch_build = build.choose_build()
    wheels = build.given().get("WHEELS")
    try:
        split_locks.check_addresses((TOP / "pyproject.toml").read_text())
        with beside(TOP / ".venv") as venv, tempfile.TemporaryDirectory() as folder:
            make(venv, torch_build, Path(folder), wheels)
    except LockError as error:
        fail(str(error))
    say(f"Made .venv with torch's build {torch_build}: run `source .venv/bin/activate`.")
