"""What the tests of `make init` and `make update` share: the template, to make projects of.

About the template alone, as those tests are: `make init` leaves all three out of a project.
"""

import os
import shutil
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
NAME = "My-Project.2"
PACKAGE = "a_package_whose_name_has_forty_letters_x"  # the longest there may be
ANSWERS = {
    "NAME": NAME,
    "PACKAGE": PACKAGE,
    "DESCRIPTION": """It's "mine", <b>100 %</b> \\1 — 'as' `it` is; # a & b""",
    "AUTHOR": "Zoë O'Neil <zoe+x@example.com>",
    "IMAGE": "ghcr.io/me/my-image",
    "REPOSITORY": "me/my.project",
}
# Nobody's settings but these: who the user is, for commits and as the author.
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
    """Commit all that there is."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--no-verify", "--message", message)


def make(folder: Path, target: str, *flags: str, **variables: str) -> subprocess.CompletedProcess:
    """Run `make target NAME=value …` in a copy; its .tools are the repository's own."""
    for lock in (folder / "poetry.lock", *(folder / "locks").glob("*.txt")):
        os.utime(lock, (0, 0))  # never newer than .tools, which would be made anew under our feet
    # make itself reads a $ in a value.
    given = [f"{name}={value.replace('$', '$$')}" for name, value in variables.items()]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return run(folder, "make", "--no-print-directory", *flags, target, *given, env=environment)


def copy_template(folder: Path) -> Path:
    """Copy what git tracks here, or would track, into a repository with one commit; return it."""
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
    """Return all that is in a folder, but for git's objects and the environments, by path."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".tools") or (name.startswith(".git/") and name != ".git/HEAD"):
            continue
        found[name] = path.read_bytes() if path.is_file() else None
    if (folder / ".git").exists():
        found["status"] = git(folder, "status", "--porcelain").encode()
        found["refs"] = run(folder, "git", "show-ref").stdout.encode()
    return found
