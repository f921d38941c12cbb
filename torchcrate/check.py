"""Do pyproject.toml, the locks, the Dockerfiles, the bake file and the workflows agree?

It prints one sentence for each disagreement, with the command that mends it, and exits with 1. It
only reads files: it resolves and downloads nothing.
"""

import re
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from torchcrate.build import builds
from torchcrate.host import TOP, fail
from torchcrate.lock import replace
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import LockError

LOCK = "run `./crate lock`"
WRITE = "./crate check --write"


def poetry_check(folder: Path) -> None:
    """Raise LockError if Poetry refuses the folder's pyproject.toml or poetry.lock."""
    command = ["poetry", "check", "--lock", "-C", folder]
    check = subprocess.run(command, capture_output=True, text=True, check=False)
    if "lock" in check.stderr and "changed significantly" in check.stderr:
        raise LockError(f"poetry.lock is out of date with pyproject.toml: {LOCK}.")
    if check.returncode:
        said = " ".join((check.stderr or check.stdout).split())
        raise LockError(
            f"Poetry refuses pyproject.toml or poetry.lock: {said}. Mend them, then {LOCK}."
        )


def argument(file: Path, name: str) -> str:
    """Return the default of a build argument in a Dockerfile, or of a variable in the bake file."""
    pattern = rf'^ARG {name}=(?P<dockerfile>.*)$|^variable "{name}" {{ default = "(?P<bake>.*)" }}$'
    found = re.search(pattern, file.read_text(), re.MULTILINE)
    return (found["dockerfile"] or found["bake"] or "") if found else ""


def wanted(top: Path, pyproject: dict, poetry_lock: dict) -> None:
    """Raise LockError if the Dockerfile's groups and extras are not there, or leave torch out."""
    names = ("DEPENDENCY_GROUPS", "DEV_GROUPS", "EXTRAS")
    groups, _, extras = split_locks.chosen(
        pyproject, *(argument(top / "Dockerfile", name) for name in names)
    )
    split_locks.check_torch_is_wanted(pyproject, poetry_lock, groups, extras)


def locks(top: Path) -> Iterator[str]:
    """Yield where pyproject.toml, poetry.lock and locks/torch.*.txt disagree."""
    from poetry.core.constraints.version import parse_constraint  # of .tools/poetry

    pyproject = split_locks.read(top / "pyproject.toml")
    if not (top / "poetry.lock").is_file():
        yield f"poetry.lock is not there: {LOCK}."
        return
    poetry_lock = split_locks.read_lock(top)
    addresses = [(top / name).read_text() for name in ("pyproject.toml", "poetry.lock")]
    for check in (
        lambda: poetry_check(top),
        lambda: split_locks.check_addresses(*addresses),
        lambda: split_locks.check_paths(poetry_lock),
        lambda: split_locks.check_sisters(poetry_lock),
        lambda: wanted(top, pyproject, poetry_lock),
    ):
        try:
            check()
        except LockError as error:
            yield str(error)
    for build in builds(top):
        try:
            text = split_locks.read_text(top / "locks" / f"torch.{build}.txt")
            split_locks.check_torch_lock(build, text)
            split_locks.check_fit(build, text, poetry_lock)
            split_locks.compiler(top, build, text, pyproject, poetry_lock)
        except LockError as error:
            yield str(error)
    text = (top / "pyproject.toml").read_text()
    for name, url in re.findall(r"([\w.-]+)(?:\[[^\]]*\])? @ (file:[^\s\"']+)", text):
        mend = f"{LOCK}, which makes it a relative one."
        if not url.startswith(f"{top.as_uri()}/{split_locks.PACKAGES}/"):
            folder = f"{split_locks.PACKAGES}/{name}"
            mend = f"move it to {folder}, then run `./crate add ./{folder}`."
        yield f"pyproject.toml names {name} by a path of one machine: {mend}"
    old_style = pyproject.get("tool", {}).get("poetry", {}).get("dependencies", {})
    requires = pyproject.get("project", {}).get("requires-python", old_style.get("python", "*"))
    if not parse_constraint(requires).allows_any(parse_constraint(f"~{python(top)}")):
        yield (
            f"pyproject.toml has requires-python {requires}, and the image Python {python(top)}: "
            f"let that in too, then {LOCK}."
        )


def python(top: Path) -> str:
    """Return the Python that the Dockerfile makes the environment with, such as 3.11."""
    return re.search(r"python(3\.\d+) -m venv", (top / "Dockerfile").read_text()).group(1)


def cpu_dockerfile(text: str) -> str:
    """Return Dockerfile.cpu for a Dockerfile: another build, no GPU, no comments."""
    head, rest = text.partition("\n\n")[::2]
    first = f"# The CPU image, made from Dockerfile by `{WRITE}`: edit that one; it says why."
    head = re.sub(r"\A.*", first, head).replace("docker build ", "docker build -f Dockerfile.cpu ")
    heredoc = r"(<<-?([\"']?)(\w+)\2.*?^\t*\3$)"  # may have lines that only look like comments
    gone = r"^#(?! hadolint| ----)[^\n]*\n|^ENV NVIDIA_[^\n]*\n"
    rest = re.sub(f"{heredoc}|{gone}", lambda found: found[1] or "", rest, flags=re.M | re.S)
    rest = re.sub(r"^ARG TORCH_BUILD=.*", "ARG TORCH_BUILD=cpu", rest, flags=re.M)
    return f"{head}\n\n" + re.sub(r"\n{3,}(?!# ----)", "\n\n", rest)


def cpu_container(text: str) -> str:
    """Return the CPU's devcontainer.json for the GPU's: another image, no GPU."""
    first = f"// Made from the one in gpu/ by `{WRITE}`: edit that one."
    text = re.sub(r"\A.*", first, text).replace("on the GPU", "on the CPU")
    text = text.replace('Dockerfile"', 'Dockerfile.cpu"')
    return re.sub(r"^.*hostRequirements.*\n", "", text, flags=re.M)


def generated(top: Path) -> dict[Path, str]:
    """Return {file: text} of the generated files that the project has, as they should be."""
    container = top / ".devcontainer"
    made = (
        (top / "Dockerfile.cpu", cpu_dockerfile, top / "Dockerfile"),
        (
            container / "cpu/devcontainer.json",
            cpu_container,
            container / "gpu/devcontainer.json",
        ),
    )
    return {
        file: make(source.read_text())
        for file, make, source in made
        if file.is_file() and source.is_file()
    }


def dockerfiles(top: Path) -> Iterator[str]:
    """Yield where the Dockerfiles and the bake file disagree, and builds without a lock."""
    for file, text in generated(top).items():
        if file.read_text() != text:
            yield f"{file.relative_to(top)} is not what it is made from says: run `{WRITE}`."
    cpu = top / "Dockerfile.cpu"
    bake = top / "docker-bake.hcl"
    here, there = argument(top / "Dockerfile", "TORCH_BUILD"), argument(bake, "TORCH_BUILD")
    if here != there:
        yield (
            f"TORCH_BUILD is {here} in Dockerfile and {there} in docker-bake.hcl: change that in "
            f"docker-bake.hcl to {here}."
        )
    for file in (top / "Dockerfile", cpu):
        build = argument(file, "TORCH_BUILD") if file.is_file() else ""
        if build and build not in builds(top):
            yield f"{file.name} builds {build}, which has no lock: {LOCK[:-1]} --build {build}`."
    known = set(re.findall(r"^ARG (\w+)", (top / "Dockerfile").read_text(), re.MULTILINE))
    args = re.search(r"^ +args = \{$(.*?)^  \}", bake.read_text(), re.MULTILINE | re.DOTALL)
    proxies = {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}  # Docker knows them without ARG
    for name in re.findall(r"^ +(\w+) +=", args.group(1) if args else "", re.MULTILINE):
        if name not in known | proxies:
            yield f"docker-bake.hcl sets {name}, which Dockerfile has no ARG for: take it out."


def workflows(top: Path) -> Iterator[str]:
    """Yield the builds that workflows name and that have no lock."""
    examples = {file.name[6:-4] for file in top.glob("*/examples/*/locks/torch.*.txt")}
    for file in sorted((top / ".github" / "workflows").glob("*.y*ml")):
        text, name = file.read_text(), file.relative_to(top)
        ours = r"run: (make (test|run)|\./crate)\b"
        if not re.search(ours, text):
            continue  # none of ours
        named = re.findall(r"--build[ =]([\w.]+)|\b(?:build|BUILD): ([\w.]+)", text)
        for found in sorted({name for pair in named for name in pair if name}):
            if found not in {*builds(top), *examples}:
                yield f"{name} builds {found}, which has no lock: {LOCK[:-1]} --build {found}`."


def check(top: Path) -> list[str]:
    """Return a sentence for each disagreement in a project."""
    found = []
    for part in (locks, dockerfiles, workflows):
        try:
            with split_locks.readable():
                found += part(top)
        except LockError as error:
            found.append(str(error))
        except OSError as error:
            found.append(
                f"{error.filename} cannot be read ({error.strerror}): bring it back, for instance "
                "with `git restore`."
            )
    return found


@split_locks.readable()
def notes(top: Path) -> Iterator[str]:
    """Yield what may fail in a build: packages that are compiled, and perhaps against torch."""
    poetry_lock = split_locks.read_lock(top)
    pyproject = split_locks.read(top / "pyproject.toml")
    grouped = split_locks.groups(pyproject).get(split_locks.EXTENSIONS, set())
    for package in poetry_lock.get("package", []):
        name = split_locks.normalize(package["name"])
        against = "torch" in package.get("dependencies", {}) or name.startswith("torch-")
        against = against and package.get("source", {}).get("type", "legacy") == "legacy"
        if against and name and name not in grouped and not split_locks.has_wheel(package):
            yield (
                f"Note: {name} has no wheel for this machine. If it is compiled against torch: "
                f"`./crate remove {name}`, then `./crate add --group torch-extensions {name}`."
            )


def main(options: Namespace) -> int:
    """Run the command. Return 1 if files disagree."""
    if options.write:
        for file, text in generated(TOP).items():
            if file.read_text() != text:
                try:
                    replace(file, text)
                except LockError as error:
                    fail(str(error))
    problems = check(TOP)
    for problem in problems:
        print(f"ERROR: {problem}", file=sys.stderr)
    if not problems:
        for note in notes(TOP):
            print(note)
        print(f"pyproject.toml, poetry.lock and the locks of {', '.join(builds(TOP))} agree.")
    return int(bool(problems))
