"""Make the virtual environments in .tools, and replace one by another.

`poetry` has Poetry, and next to it is uv, as locks/ pins them. `tests` has what tests and linters
need, without torch. Each is made again when its lock or its path has changed.
"""

from __future__ import annotations  # a Mac's own Python is 3.9

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from torchcrate import host
from torchcrate.host import TOP, fail, say

TOOLS = (TOP / ".tools").resolve()
MORE: list[Path] = []  # more locks for `tests`: requirements files with hashes
# pip's settings that say where packages come from.
SOURCES = (
    "cert|client-cert|default-timeout|extra-index-url|find-links|index-url|no-index|proxy|retries"
    "|timeout|trusted-host"
)
ELSEWHERE = ("PYTHONHOME", "PYTHONPATH")  # the caller's modules, in place of the environment's
# Without bytecode Poetry takes two more seconds to start. It cannot write any if the user may not
# write to .tools or has set PYTHONDONTWRITEBYTECODE.
INSTALL = ("uv", "pip", "install", "--quiet", "--compile-bytecode", "--require-hashes", "--python")


def inside(name: str) -> bool:
    """Return whether this Python belongs to an environment."""
    return Path(sys.prefix).resolve() == TOOLS / name


def environment() -> dict[str, str]:
    """Return the variables with which uv, Poetry and this machine's index are found.

    VIRTUAL_ENV stops Poetry from making an environment just to write a lock. The system's git reads
    ~/.netrc and the system's certificates; Poetry's built-in one does not. A slow mirror needs more
    time than Poetry's default.
    """
    index = host.index_url()
    return {
        "POETRY_REQUESTS_TIMEOUT": "90",
        "POETRY_REQUESTS_MAX_RETRIES": "3",
        **{name: value for name, value in os.environ.items() if name not in ELSEWHERE},
        "PATH": f"{TOOLS}/uv/bin:{TOOLS}/poetry/bin:{os.environ.get('PATH', os.defpath)}",
        "INDEX_URL": index,
        "UV_DEFAULT_INDEX": index,
        "POETRY_PYPI_MIRROR_URL": index,
        "UV_SYSTEM_CERTS": "true",
        "POETRY_SYSTEM_GIT_CLIENT": "true",
        "VIRTUAL_ENV": f"{TOOLS}/poetry",
    }


def pip_environment(python: Path, environment: dict[str, str]) -> dict[str, str]:
    """Return the variables for a Python's pip: of its settings only where packages come from.

    Others, such as `target` or `user`, would install elsewhere.
    """
    config = [python, "-m", "pip", "config", "list"]
    done = subprocess.run(config, env=environment, capture_output=True, text=True, check=False)
    found = {name: value for name, value in environment.items() if not name.startswith("PIP_")}
    for section in ("global", "install", ":env:"):  # as pip ranks them
        for name, value in re.findall(rf"^{section}\.({SOURCES})='(.*)'$", done.stdout, re.M):
            found[f"PIP_{name.upper().replace('-', '_')}"] = value.replace("\\n", " ").strip()
    index = {"PIP_INDEX_URL": environment["INDEX_URL"]} if environment["INDEX_URL"] else {}
    fixed = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**found, **index, **fixed}


def ready(name: str) -> tuple[Path, dict[str, str]]:
    """Return an environment's Python, set up if needed, and the variables to run it with."""
    more = environment()
    for one, make, lock in (
        ("poetry", poetry, [TOP / "locks/poetry.txt", TOP / "locks/uv.txt"]),
        ("tests", tests, [tests_lock(), *MORE]),
    ):
        stamp = "\n".join([str(TOOLS), *(hashlib.sha256(f.read_bytes()).hexdigest() for f in lock)])
        if not is_made(one, stamp):
            with alone():
                if not is_made(one, stamp):
                    make(more)
                    (TOOLS / one / "made-from").write_text(stamp)
        if one == name:
            break
    return TOOLS / name / "bin/python", more


@contextmanager
def alone() -> Iterator[None]:
    """Let only one process change .tools: of two first runs, one waits."""
    try:
        TOOLS.mkdir(exist_ok=True)
        file = (TOOLS / "lock").open("w")
    except OSError as error:
        fail(f"{TOOLS} cannot be made ({error.strerror}): run this where you may write to {TOP}.")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_made(name: str, stamp: str) -> bool:
    """Return whether an environment is there and was made from these locks at this path."""
    file = TOOLS / name / "made-from"
    works = os.access(TOOLS / name / "bin/python", os.X_OK)  # its link may be broken
    return works and file.is_file() and file.read_text() == stamp


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Give a path for a new virtual environment. At the end it replaces `target`.

    If that fails or is stopped, the old environment stays. Ends the program if `target` is not a
    virtual environment.
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
    """Move an environment to another path, and what was there to `old`."""
    # Programs begin with the path of their Python. `activate` has the environment's path.
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
    """Run a command with these variables. Ends the program if it fails."""
    if subprocess.run(command, env=environment, check=False, cwd=TOP).returncode:
        fail(f"`{' '.join(map(str, command[:3]))} …` failed (the reason is above).")


def poetry(environment: dict[str, str]) -> None:
    """Make .tools/uv with pip, and .tools/poetry with that uv."""
    say("Setting up Poetry in .tools")
    with beside(TOOLS / "uv") as new:
        if subprocess.run([sys.executable, "-m", "venv", new], check=False).returncode:
            mend = "mend what is said above"
            if not find_spec("ensurepip"):
                mend = "install its venv module (Debian and Ubuntu: apt-get install python3-venv)"
            fail(f"{sys.executable} made no virtual environment in {TOOLS}: {mend}.")
        options = ("--quiet", "--require-hashes", "--requirement", TOP / "locks/uv.txt")
        python = new / "bin/python"
        must(pip_environment(python, environment), python, "-m", "pip", "install", *options)
    with beside(TOOLS / "poetry") as new:
        must(environment, "uv", "venv", "--quiet", "--python", "3.11", new)
        must(environment, *INSTALL, new, "--requirement", TOP / "locks/poetry.txt")


def tests_lock() -> Path:
    """Return the lock of the tests' environment: an adopted project has its own."""
    lock = TOP / "locks/tests.txt"
    return lock if lock.is_file() else TOP / "poetry.lock"


def tests(environment: dict[str, str]) -> None:
    """Make .tools/tests from locks/tests.txt, or from poetry.lock if that does not exist."""
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
