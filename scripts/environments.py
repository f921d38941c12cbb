"""The virtual environments in .tools, for the Makefile, and how one is put in place of another.

environments.py poetry      Poetry, and uv beside it, as locks/ pins them
environments.py tests       what the tests need, and no torch
"""

from __future__ import annotations  # a Mac's own Python is 3.9

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import host
from host import fail, say

TOP = Path(__file__).resolve().parent.parent
TOOLS = TOP / ".tools"
# Without bytecode Poetry takes two seconds more to start, and it writes none itself where the user
# may not write to .tools or has set PYTHONDONTWRITEBYTECODE.
INSTALL = ("--quiet", "--compile-bytecode")


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Give a path to make a virtual environment at, and put it in place of `target` in the end.

    If that fails or is stopped, the environment that was at `target` is still there. Ends the
    program where something other than a virtual environment is there.
    """
    there = os.path.lexists(target)
    if there and not (target / "pyvenv.cfg").is_file():
        fail(f"{target} is no virtual environment: move it away, then run this again.")
    TOOLS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=TOOLS) as folder:
        new, old = Path(folder, target.name), Path(folder, "old")
        yield new
        move(new, target, old if there else None)


def move(new: Path, target: Path, old: Path | None) -> None:
    """Move an environment from one path to another, and what is there to `old`."""
    # Programs begin with the path of their Python, `activate` has that of the environment.
    for file in (new / "bin").iterdir():
        content = b"" if file.is_symlink() or not file.is_file() else file.read_bytes()
        if bytes(new) in content and b"\0" not in content:
            mode = file.stat().st_mode
            file.unlink()  # it may be a hard link into uv's cache
            file.write_bytes(content.replace(bytes(new), bytes(target)))
            file.chmod(mode)
    try:
        if old:
            target.rename(old)
        new.rename(target)
    except OSError as error:
        if old and old.exists() and not target.exists():
            old.rename(target)
        fail(f"{target} cannot be replaced ({error.strerror}): move it away, then run this again.")


def must(*command: str | Path, **more: str | Path) -> None:
    """Run a command with more environment, and end the program where it fails."""
    environment = {**os.environ, **{name: str(value) for name, value in more.items()}}
    if subprocess.run(command, env=environment, check=False).returncode:
        fail(f"`{' '.join(map(str, command[:3]))} …` failed (the reason is above).")


def poetry() -> None:
    """Make .tools/uv, by pip, and .tools/poetry, by that uv."""
    say("Setting up Poetry in .tools")
    with beside(TOOLS / "uv") as new:
        if subprocess.run([sys.executable, "-m", "venv", new], check=False).returncode:
            fail(
                f"{sys.executable} cannot make virtual environments: install its venv module "
                "(Debian and Ubuntu: apt-get install python3-venv)."
            )
        options = ("--quiet", "--require-hashes", "--requirement", TOP / "locks/uv.txt")
        must(new / "bin/python", "-m", "pip", "install", *options)
    with beside(TOOLS / "poetry") as new:
        must("uv", "venv", "--quiet", "--python", "3.11", new)
        options = (*INSTALL, "--require-hashes", "--requirement", TOP / "locks/poetry.txt")
        must("uv", "pip", "install", "--python", new, *options)
        (new / "done").touch()


def tests() -> None:
    """Make .tools/tests from poetry.lock, or locks/tests.txt, which an adopted project has."""
    say("Setting up the tests' environment in .tools/tests")
    lock = TOP / "locks/tests.txt"
    with beside(TOOLS / "tests") as new:
        must("uv", "venv", "--quiet", "--python", "3.11", new)
        if lock.is_file():
            options = (*INSTALL, "--require-hashes", "--requirement", lock)
            must("uv", "pip", "install", "--python", new, *options)
        else:
            options = ("--quiet", "--only", "image", "--no-root", "--compile")
            must("poetry", "install", *options, VIRTUAL_ENV=new)
        (new / "done").touch()


if __name__ == "__main__":
    host.check_addresses()
    {"poetry": poetry, "tests": tests}[sys.argv[1]]()
