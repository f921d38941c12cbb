"""The torch lock in the image `dev`, for the Poetry plugin (hold_torch): which packages it has.

It is /app/.venv/torch.<build>.txt, a copy of the one in locks/ that the image was built from.
"""

import re
from pathlib import Path

from packaging.requirements import Requirement

from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import normalize

PIN = re.compile(r"^[A-Za-z0-9][^\\\n]*", re.MULTILINE)


def find(environment: Path) -> Path | None:
    """Return an environment's torch lock, or None."""
    return next(iter(sorted(environment.glob("torch.*.txt"))), None)


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
        return f"{name} is {there or 'missing'} where {here}: start a new container."
    if wanted is None:
        return f"{name} {there} stays, since this image's torch build has it: {rebuild}."
    if wanted.partition("+")[0] != there.partition("+")[0]:
        return f"{name} stays {there} where poetry.lock wants {wanted}: {rebuild}."
    return ""
