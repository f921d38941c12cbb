"""Lock a torch build from a list of its wheels' digests, without PyTorch's index.

`./crate lock-digests --build cpu FILE` is in the template only. A project locks from an index or
from a folder of wheels.
"""

import tomllib
from argparse import Namespace
from functools import partial
from pathlib import Path

from torchcrate import lock
from torchcrate.host import fail
from torchcrate.stages.locks import split_locks
from torchcrate.stages.locks.split_locks import LockError

KEYS = ("name", "version", "platform", "sha256")


def from_digests(
    file: Path, build: str, poetry_lock: dict, _wheels: Path | None = None
) -> dict[str, lock.Wheels]:
    """Return {machine: wheels} of the torch family from a list of digests.

    The file is TOML with a table [[wheel]] for each wheel: name, version, platform, sha256. The
    versions of torch and its sisters end in +BUILD. Others, such as triton, have the version that
    poetry.lock has. Raises LockError.
    """
    found: dict[str, lock.Wheels] = {machine: {} for machine in lock.PLATFORMS}
    try:
        wheels = tomllib.loads(file.read_text())["wheel"]
        wheels = [{key: wheel[key] for key in KEYS} for wheel in wheels]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise LockError(
            f"{file} is not a list of digests ({error}): write TOML with a table [[wheel]] of "
            f"{', '.join(KEYS)} for each wheel."
        ) from None
    versions = split_locks.versions(poetry_lock)
    family = versions.keys() & split_locks.family(poetry_lock)
    wanted = {name: versions[name][0] for name in family}
    wanted |= {name: f"{version}+{build}" for name, version in lock.roots(poetry_lock).items()}
    for wheel in wheels:
        machine = next((m for m in lock.PLATFORMS if wheel["platform"].endswith(m)), None)
        if machine and wheel["version"] == wanted.get(wheel["name"]):
            found[machine][wheel["name"]] = (wheel["version"], {wheel["sha256"]})
    for name in lock.roots(poetry_lock):
        if name not in found["x86_64"]:
            raise LockError(f"{file} has no digest of {name} for {build} on x86-64.")
    return found


def main(options: Namespace) -> int:
    """Make locks; return 1 if one was not made."""
    if not options.build:
        fail("the digests need a torch build: add --build NAME.")
    lock.from_index = partial(from_digests, Path(options.file))
    options.wheels = ""
    return lock.main(options)
