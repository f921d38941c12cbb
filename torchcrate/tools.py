"""The virtual environments in .tools, and how one is put in place of another.

`poetry` is Poetry and, beside it, uv, as locks/ pins them; `tests` is what tests and linters need,
and no torch. Each is made anew when its lock or its path has changed.
"""

from __future__ import annotations  # a Mac's own Python is 3.9

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchcrate import host
from torchcrate.host import TOP, fail, say

TOOLS = (TOP / ".tools").resolve()
MORE: list[Path] = []  # more locks for `tests`: requirements files with hashes
# Without bytecode Poetry takes two seconds more to start, and it writes none itself where the user
# may not write to .tools or has set PYTHONDONTWRITEBYTECODE.
INSTALL = ("uv", "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "--python")


def inside(name: str) -> bool:
    """Return whether this Python is that of an environment."""
    return Path(sys.prefix).resolve() == TOOLS / name


def environment() -> dict[str, str]:
    """Return the environment in which uv, Poetry and the index of this machine are found.

    VIRTUAL_ENV keeps Poetry from making an environment of its own just to write a lock; git itself,
    unlike the client that Poetry has built in, minds ~/.netrc and the system's certificates; and a
    mirror may stall for longer than Poetry waits.
    """
    index = host.index_url()
    return {
        "POETRY_REQUESTS_TIMEOUT": "90",
        "POETRY_REQUESTS_MAX_RETRIES": "3",
        **os.environ,
        "PATH": f"{TOOLS}/uv/bin:{TOOLS}/poetry/bin:{os.environ.get('PATH', os.defpath)}",
        "INDEX_URL": index,
        "UV_DEFAULT_INDEX": index,
        "POETRY_PYPI_MIRROR_URL": index,
        "UV_SYSTEM_CERTS": "true",
        "POETRY_SYSTEM_GIT_CLIENT": "true",
        "VIRTUAL_ENV": f"{TOOLS}/poetry",
    }


def ready(name: str) -> tuple[Path, dict[str, str]]:
    """Return the Python of an environment, set up if need be, and the environment to run it in."""
    more = environment()
    try:
        TOOLS.mkdir(exist_ok=True)
    except OSError as error:
        fail(f"{TOOLS} cannot be made ({error.strerror}): run this where you may write to {TOP}.")
    for one, make, lock in (
        ("poetry", poetry, [TOP / "locks/poetry.txt", TOP / "locks/uv.txt"]),
        ("tests", tests, [tests_lock(), *MORE]),
    ):
        stamp = "\n".join([str(TOOLS), *(hashlib.sha256(f.read_bytes()).hexdigest() for f in lock)])
        file = TOOLS / one / "made-from"
        works = os.access(TOOLS / one / "bin/python", os.X_OK)  # its link may lead nowhere by now
        if not (works and file.is_file() and file.read_text() == stamp):
            make(more)
            file.write_text(stamp)
        if one == name:
            break
    return TOOLS / name / "bin/python", more


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


def must(environment: dict[str, str], *command: str | Path) -> None:
    """Run a command in an environment, and end the program where it fails."""
    if subprocess.run(command, env=environment, check=False, cwd=TOP).returncode:
        fail(f"`{' '.join(map(str, command[:3]))} …` failed (the reason is above).")


def poetry(environment: dict[str, str]) -> None:
    """Make .tools/uv, by pip, and .tools/poetry, by that uv."""
    say("Setting up Poetry in .tools")
    with beside(TOOLS / "uv") as new:
        if subprocess.run([sys.executable, "-m", "venv", new], check=False).returncode:
            fail(
                f"{sys.executable} cannot make virtual environments: install its venv module "
                "(Debian and Ubuntu: apt-get install python3-venv)."
            )
        options = ("--quiet", "--require-hashes", "--requirement", TOP / "locks/uv.txt")
        pip = {**environment, "PIP_INDEX_URL": environment["INDEX_URL"]}
        pip = pip if environment["INDEX_URL"] else environment
        must(pip, new / "bin/python", "-m", "pip", "install", *options)
    with beside(TOOLS / "poetry") as new:
        must(environment, "uv", "venv", "--quiet", "--python", "3.11", new)
        must(environment, *INSTALL, new, "--requirement", TOP / "locks/poetry.txt")


def tests_lock() -> Path:
    """Return what the tests' environment is made from: an adopted project has a lock for it."""
    lock = TOP / "locks/tests.txt"
    return lock if lock.is_file() else TOP / "poetry.lock"


def tests(environment: dict[str, str]) -> None:
    """Make .tools/tests from locks/tests.txt or, where there is none, from poetry.lock."""
    say("Setting up the tests' environment in .tools/tests")
    lock = tests_lock()
    with beside(TOOLS / "tests") as new:
        must(environment, "uv", "venv", "--quiet", "--python", "3.11", new)
        if lock.suffix == ".txt":
            must(environment, *INSTALL, new, "--requirement", lock)
        else:
            options = ("--quiet", "--only", "image", "--no-root", "--compile")
            must({**environment, "VIRTUAL_ENV": str(new)}, "poetry", "install", *options)
        for more in MORE:
            must(environment, *INSTALL, new, "--requirement", more)
