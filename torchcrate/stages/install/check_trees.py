"""check_trees.py LOCK FOLDER…: stop the build if the installed packages do not fit together.

Each folder was checked against its own lock. Only together they show that a package needs a newer
torch, for example. Unlike `pip check` and `uv pip check` this follows extras: torch needs most of
CUDA as extras of cuda-toolkit. If a lock lacks one of them, torch cannot be imported.
"""

import os
import platform
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

try:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name
except ImportError:  # in the image, where PYTHONPATH is a wheel of pip
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.utils import canonicalize_name

parsed = cache(Requirement)


def problems(found: Iterable[Distribution], torch_lock: str = "") -> list[str]:
    """Return a line for each package that is missing, in a wrong version, or there twice.

    torch and its sisters must be there if the lock has them for this kind of machine.
    """
    lines: set[str] = set()
    installed: dict[str, Distribution] = {}
    for distribution in found:
        name = canonicalize_name(distribution.metadata["Name"])
        if name in installed:
            lines.add(f"{name} is there twice: {installed[name].version}, {distribution.version}")
        installed[name] = distribution
    for name in re.findall(r"^(torch(?:vision|audio|codec)?)==", torch_lock, re.MULTILINE):
        if name not in installed:
            lines.add(f"{name} is not installed: its lock has no wheel for {platform.machine()}")
    queue = [(name, "") for name in installed]  # (package, one of its extras or "")
    asked = set(queue)
    while queue:
        name, extra = queue.pop()
        for text in installed[name].requires or ():
            if not extra and "extra ==" in text and " or " not in text:
                continue  # most are for an extra, and to read one takes milliseconds
            requirement = parsed(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            if needed not in installed:
                lines.add(f"{name} needs {needed}, which is not installed")
                continue
            version = installed[needed].version
            if not requirement.specifier.contains(version, prereleases=True):
                lines.add(f"{name} needs {needed}{requirement.specifier}, not {version}")
            more = {(needed, wanted) for wanted in requirement.extras} - asked
            asked |= more
            queue += more
    return sorted(lines)


def main() -> None:
    """Check the packages in the folders."""
    lines = problems(distributions(path=sys.argv[2:]), Path(sys.argv[1]).read_text())
    if lines:
        print("\n".join(lines), file=sys.stderr)
        sys.exit(
            f"ERROR: locks/torch.{os.environ['TORCH_BUILD']}.txt and poetry.lock do not fit "
            "together (see above): run `./crate lock`, then build again."
        )


if __name__ == "__main__":
    main()
