"""The torch lock in the image `dev`: which packages it has, and whether they are installed.

The lock is /app/.venv/torch.<build>.txt, a copy of the one in locks/ that the image was built from.
The Poetry plugin (hold_torch) asks here which packages to skip. The command `restore-torch`
compares the installed packages with the lock and restores them. It runs in Poetry's environment, as
any user.
"""

import argparse
import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import normalize

PIN = re.compile(r"^[A-Za-z0-9][^\\\n]*", re.MULTILINE)


def find(environment: Path) -> Path | None:
    """Return an environment's torch lock, or None."""
    return next(iter(sorted(environment.glob("torch.*.txt"))), None)


def pruned(environment: Path) -> re.Pattern[str]:
    """Return the pattern of the files that the image's build may have left out, from site-packages.

    Their list is /app/.venv/torch-pruned.txt, a copy of torchcrate/stages/install/prune.txt.
    """
    file = environment / "torch-pruned.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    listed = filter(None, (line.partition("#")[0].strip() for line in lines))
    return re.compile("|".join(map(fnmatch.translate, listed)) or r"(?!)")


def build(lock: Path) -> str:
    """Return the torch build of a lock: "cpu" for torch.cpu.txt."""
    return lock.name.removeprefix("torch.").removesuffix(".txt")


def pins(lock: Path) -> dict[str, str]:
    """Return {name: version} of the lock for this machine."""
    wanted = map(Requirement, PIN.findall(lock.read_text()))
    return {
        normalize(each.name): str(each.specifier).lstrip("=")
        for each in wanted
        if not each.marker or each.marker.evaluate()
    }


def held(lock: Path, packages: list[dict]) -> set[str]:
    """Return the names that Poetry must leave alone, given the packages of a poetry.lock.

    These are the lock's, for any machine, and the family in that poetry.lock: the default index's
    torch needs other CUDA packages than another build.
    """
    return split_locks.family({"package": packages}) | split_locks.pins(lock.read_text()).keys()


def why(lock: Path, name: str, there: str | None, wanted: str | None) -> str:
    """Return a sentence for the user if one of torch's own packages is not as poetry.lock wants it.

    ``there`` and ``wanted`` are versions, None for "not installed" and "to be removed". That the
    image has another build of the wanted version is as it should be, and gives "".
    """
    if name not in split_locks.ROOTS:
        return ""
    locked = pins(lock).get(name)
    rebuild = "run `./crate lock` outside the container and build the image again"
    if locked is None and there is None:
        return f"{name} is not installed, since this image's torch build has none: {rebuild}."
    if there != locked:
        here = f"this image's lock has {locked or 'none'}"
        return f"{name} is {there or 'missing'} where {here}: run `restore-torch`."
    if wanted is None:
        return f"{name} {there} stays, since this image's torch build has it: {rebuild}."
    if wanted.partition("+")[0] != there.partition("+")[0]:
        return f"{name} stays {there} where poetry.lock wants {wanted}: {rebuild}."
    return ""


def damage(lock: Path, installed: Iterable[Distribution]) -> tuple[dict[str, str], set[str]]:
    """Return {name: what is wrong} of the lock's packages, and the names that do not belong.

    A package is right if its version is the lock's and its files, but for what may be left out, are
    there with their sizes. What does not belong is of the family, as the installed packages and the
    poetry.lock beside the environment know it, and is not in the lock.
    """
    found = {normalize(each.metadata["Name"]): each for each in installed}
    wrong, wanted = {}, pins(lock)
    for name, version in wanted.items():
        if name not in found:
            wrong[name] = f"{name} {version} is missing"
        elif found[name].version != version:
            wrong[name] = f"{name} is {found[name].version} instead of {version}"
        elif not whole(found[name], pruned(lock.parent)):
            wrong[name] = f"{name} {version} lacks files, or has others"
    packages = [{"name": name, "dependencies": requirements(each)} for name, each in found.items()]
    known = split_locks.family({"package": packages})
    poetry_lock = lock.parent.parent / "poetry.lock"
    if poetry_lock.exists():
        known |= split_locks.family(tomllib.loads(poetry_lock.read_text()))
    return wrong, (known & found.keys()) - wanted.keys()


def requirements(distribution: Distribution) -> set[str]:
    """Return the names of what an installed package may need."""
    found = set()
    for text in distribution.requires or ():
        try:
            found.add(normalize(Requirement(text).name))
        except InvalidRequirement:  # an old package's; it is none of torch's
            continue
    return found


def whole(distribution: Distribution, optional: re.Pattern[str]) -> bool:
    """Return whether each file of a package is there with its size.

    One that matches `optional` may be missing.
    """
    for file in distribution.files or ():
        try:
            size = file.locate().stat().st_size
        except FileNotFoundError:
            if optional.match(str(file)):
                continue
            return False
        if file.size not in (None, size):
            return False
    return True


def uv(*arguments: str | Path) -> bool:
    """Run `uv pip` and return whether it succeeded."""
    return subprocess.run(["/opt/uv/bin/uv", "pip", *arguments], check=False).returncode == 0


def restore(lock: Path, wrong: Iterable[str], strangers: set[str], options: list[str]) -> None:
    """Remove what does not belong and install what is wrong, checked by hash.

    Options are uv's. A folder of wheels comes first, and alone if it has everything. Ends the
    program with one sentence if the wheels cannot be found.
    """
    environment = lock.parent
    if strangers:  # first, since they may have files in common with what the lock has
        uv("uninstall", "--python", environment, *sorted(strangers))
        wrong = {*wrong, *damage(lock, packages_of(environment))[0]}
    folder = os.environ.get("UV_FIND_LINKS") or any("--find-links" in each for each in options)
    own = re.search(r"^--index-url (\S+)", lock.read_text(), re.MULTILINE)
    if own:  # which uv would take for less than UV_DEFAULT_INDEX
        mirror = os.environ.get("TORCH_INDEX_URL", "").rstrip("/")
        options = ["--default-index", f"{mirror}/{build(lock)}" if mirror else own[1], *options]
    again = [f"--reinstall-package={name}" for name in sorted(wrong)]
    command = ["install", "--python", environment, "--no-deps", "--require-hashes"]
    command += [*again, *options, "--requirement", lock]
    if folder:
        if uv(*command, "--offline"):
            return
        print("The folder of wheels does not have all of it: asking the index too", flush=True)
    if not uv(*command):
        sys.exit(
            "ERROR: torch was not restored (uv's message is above): name an index with "
            "UV_DEFAULT_INDEX=... or TORCH_INDEX_URL=..., or a folder of wheels with "
            "`restore-torch --find-links FOLDER`."
        )


def packages_of(environment: Path) -> list[Distribution]:
    """Return the packages that an environment has now."""
    sites = [str(path) for path in environment.glob("lib/python3.*/site-packages")]
    return list(distributions(path=sites))


def main() -> None:
    """Run as a command; see --help."""
    parser = argparse.ArgumentParser(
        prog="restore-torch",
        description="Bring torch and its packages back to the build that this image has.",
        epilog="Further options are those of `uv pip install`, such as --find-links FOLDER.",
    )
    parser.add_argument("--check", action="store_true", help="only say what is wrong")
    arguments, options = parser.parse_known_args()
    environment = Path(os.environ.get("VIRTUAL_ENV") or "/app/.venv")
    lock = find(environment)
    if not lock:
        sys.exit(f"ERROR: {environment} keeps no torch lock: run this in the image `dev`.")
    wrong, strangers = damage(lock, packages_of(environment))
    lines = [*wrong.values(), *(f"{name} does not belong here" for name in sorted(strangers))]
    if lines and not arguments.check:
        restore(lock, wrong, strangers, options)
        wrong, strangers = damage(lock, packages_of(environment))
        lines = [*wrong.values(), *(f"{name} does not belong here" for name in sorted(strangers))]
    if lines:
        print("\n".join(lines))
        sys.exit(f"ERROR: torch is not build {build(lock)} of this image: run `restore-torch`.")
    print(f"torch is build {build(lock)}, as its lock has it")


if __name__ == "__main__":
    main()
