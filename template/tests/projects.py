"""What the tests of `./crate init` and `./crate update` share: a template to make projects from."""

import shutil
import subprocess
import sys
from pathlib import Path

from torchcrate.host import TOP

NAME = "My-Project.2"
PACKAGE = "a_package_whose_name_has_forty_letters_x"  # the longest that is allowed
ANSWERS = {
    "name": NAME,
    "package": PACKAGE,
    "description": """It's "mine", <b>100 %</b> \\1 — 'as' `it` is; # a & b""",
    "author": "Zoë O'Neil <zoe+x@example.com>",
    "image": "ghcr.io/me/my-image",
    "repository": "me/my.project",
}
# git's only settings: the user, for commits and as the author.
GITCONFIG = "[user]\n\tname = Git User\n\temail = git@example.com\n"


def run(folder: Path, *command: str, **more) -> subprocess.CompletedProcess:
    """Run a command in a folder and return how it ended, with its output as text."""
    more = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True} | more
    return subprocess.run(command, cwd=folder, **more)


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints; it must not fail."""
    done = run(folder, "git", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def commit(folder: Path, message: str = "A commit") -> None:
    """Commit all files."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", message)


def crate(folder: Path, command: str, *words: str, **options: str) -> subprocess.CompletedProcess:
    """Run `./crate command word … --option=value …` in a copy.

    It uses this Python, of the environment `tests`, so that it sets up no environment. Otherwise a
    lock that a test has changed would replace the environment that all tests share.
    """
    given = [f"--{name}={value}" for name, value in options.items()]
    return run(folder, sys.executable, "crate", command, *words, *given)


def copy_template(folder: Path) -> Path:
    """Copy what git tracks here, or would track, into a new repository with one commit."""
    listed = git(TOP, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    for name in filter(None, listed.split("\0")):
        if (TOP / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, folder / name)
    start(folder)
    commit(folder, "The template")
    git(folder, "gc", "--quiet")  # fewer files to copy
    return folder


def start(folder: Path) -> None:
    """Make a folder a git repository, with the environments of this one."""
    git(folder, "init", "--quiet", "--initial-branch=main")
    share_tools(folder)


def share_tools(folder: Path) -> None:
    """Give a copy the environments of this repository."""
    (folder / ".tools").symlink_to(TOP / ".tools")
    with (folder / ".git/info/exclude").open("a") as file:
        file.write("/.tools\n")  # .gitignore has the folder, this is a link


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Return a folder's files by path, without git's objects, environments and bytecode."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".tools") or (name.startswith(".git/") and name != ".git/HEAD"):
            continue
        if "__pycache__" in path.parts:
            continue
        found[name] = path.read_bytes() if path.is_file() else None
    if (folder / ".git").exists():
        found["status"] = git(folder, "status", "--porcelain").encode()
        found["refs"] = run(folder, "git", "show-ref").stdout.encode()
    return found
