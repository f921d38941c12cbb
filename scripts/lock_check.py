"""Do pyproject.toml, the locks, the Dockerfiles, the bake file and the workflows agree?

Prints one sentence for each disagreement, with the command that mends it, and then exits with 1.
Reads files only; nothing is resolved or downloaded.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from poetry.core.constraints.version import Version, parse_constraint

import split_locks
from split_locks import LockError

TOP = Path(__file__).resolve().parent.parent
LOCK = "run `make lock`"


def argument(file: Path, name: str) -> str:
    """Return the default of a build argument in a Dockerfile, or of a variable in the bake file."""
    pattern = rf'^ARG {name}=(?P<dockerfile>.*)$|^variable "{name}" {{ default = "(?P<bake>.*)" }}$'
    found = re.search(pattern, file.read_text(), re.MULTILINE)
    return (found["dockerfile"] or found["bake"] or "") if found else ""


def locks(top: Path) -> Iterator[str]:
    """Yield where pyproject.toml, poetry.lock and locks/torch.*.txt disagree."""
    pyproject = split_locks.read_pyproject(top / "pyproject.toml")
    if not (top / "poetry.lock").is_file():
        yield f"poetry.lock is not there: {LOCK}."
        return
    poetry_lock = split_locks.read_poetry_lock(top / "poetry.lock")
    addresses = [(top / name).read_text() for name in ("pyproject.toml", "poetry.lock")]
    for check in (
        lambda: split_locks.poetry_check(top),
        lambda: split_locks.check_addresses(*addresses),
        lambda: split_locks.check_paths(poetry_lock),
    ):
        try:
            check()
        except LockError as error:
            yield str(error)
    for build in builds(top):
        text = (top / "locks" / f"torch.{build}.txt").read_text()
        try:
            split_locks.check_fit(build, text, poetry_lock)
        except LockError as error:
            yield str(error)
    text = (top / "pyproject.toml").read_text()
    for name, url in re.findall(r"([\w.-]+)(?:\[[^\]]*\])? @ (file:[^\s\"']+)", text):
        mend = f"{LOCK}, which makes it a relative one."
        if not url.startswith(f"{top.as_uri()}/{split_locks.PACKAGES}/"):
            folder = f"{split_locks.PACKAGES}/{name}"
            mend = f"move it to {folder}, then run `make add NAME=./{folder}`."
        yield f"pyproject.toml names {name} by a path of one machine: {mend}"
    old_style = pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {})
    requires = pyproject.get("project", {}).get("requires-python", old_style.get("python", "*"))
    if not parse_constraint(requires).allows(Version.parse(python(top))):
        yield (
            f"pyproject.toml has requires-python {requires}, and the image Python {python(top)}: "
            f"change it to >={python(top)}, then {LOCK}."
        )


def builds(top: Path) -> list[str]:
    """Return the torch builds that have a lock."""
    return sorted(file.name[6:-4] for file in (top / "locks").glob("torch.*.txt"))


def python(top: Path) -> str:
    """Return the Python that the Dockerfile makes the environment with, such as 3.11."""
    return re.search(r"python(3\.\d+) -m venv", (top / "Dockerfile").read_text()).group(1)


def dockerfiles(top: Path) -> Iterator[str]:
    """Yield where the two Dockerfiles and the bake file disagree, or name a build without lock."""
    makefile = next(file for file in (top / "image.mk", top / "Makefile") if file.is_file())
    make = "make" if makefile.name == "Makefile" else f"make -f {makefile.name}"
    with tempfile.TemporaryDirectory() as folder:
        for file in (top / "Dockerfile", makefile):
            shutil.copy(file, folder)
        subprocess.run(
            f"make --silent -f {makefile.name} Dockerfile.cpu".split(),
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        made = Path(folder, "Dockerfile.cpu").read_text()
    cpu = top / "Dockerfile.cpu"
    if cpu.is_file() and made != cpu.read_text():
        yield f"Dockerfile.cpu is not what Dockerfile makes it: run `{make} Dockerfile.cpu`."
    bake = top / "docker-bake.hcl"
    for name in ("BASE_IMAGE", "TORCH_BUILD"):
        here, there = argument(top / "Dockerfile", name), argument(bake, name)
        if here != there:
            yield (
                f"{name} is {here} in Dockerfile and {there} in docker-bake.hcl: change the latter "
                f"to {here}."
            )
    for file in (top / "Dockerfile", cpu):
        build = argument(file, "TORCH_BUILD") if file.is_file() else ""
        if build and build not in builds(top):
            yield f"{file.name} builds {build}, which has no lock: run `{make} lock BUILD={build}`."
    known = set(re.findall(r"^ARG (\w+)", (top / "Dockerfile").read_text(), re.MULTILINE))
    args = re.search(r"^ +args = \{$(.*?)^  \}", bake.read_text(), re.MULTILINE | re.DOTALL)
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}  # Docker knows them without ARG
    for name in re.findall(r"^ +(\w+) +=", args.group(1) if args else "", re.MULTILINE):
        if name not in known | proxies:
            yield f"docker-bake.hcl sets {name}, which Dockerfile has no ARG for: take it out."


def workflows(top: Path) -> Iterator[str]:
    """Yield what workflows name that the project does not have: another Python, a build."""
    examples = {file.name[6:-4] for file in top.glob("examples/*/locks/torch.*.txt")}
    for file in sorted((top / ".github" / "workflows").glob("*.y*ml")):
        text, name = file.read_text(), file.relative_to(top)
        ours = r"run: (make (-f \S+ )?(test|run|image|check|lint)|python3 scripts/ci)\b"
        if not re.search(ours, text):
            continue  # none of ours
        for found in re.findall(r"python-version: *[\"']?([\d.]+)", text):
            if found != python(top):
                yield f"{name} sets up Python {found}, and the image has {python(top)}: change it."
        named = re.findall(r"\bmake .*\bBUILD=([\w.]+)|\b(?:build|BUILD): ([\w.]+)", text)
        for found in sorted({name for pair in named for name in pair if name}):
            if found not in {*builds(top), *examples}:
                yield f"{name} builds {found}, which has no lock: run `make lock BUILD={found}`."


def check(top: Path) -> list[str]:
    """Return a sentence for each disagreement in a project."""
    found = []
    for part in (locks, dockerfiles, workflows):
        try:
            found += part(top)
        except LockError as error:
            found.append(str(error))
    return found


if __name__ == "__main__":
    problems = check(TOP)
    for problem in problems:
        print(f"ERROR: {problem}", file=sys.stderr)
    if not problems:
        print(f"pyproject.toml, poetry.lock and the locks of {', '.join(builds(TOP))} agree.")
    sys.exit(bool(problems))
