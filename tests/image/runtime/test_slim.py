"""`runtime` has Python, /app/.venv and your code, and no tool or cache of the build.

Read from the layers, before anything starts. What tests/image/configuration.txt lists may be there.
"""

import fnmatch
import re

import pytest

from torchcrate.testing import system

# What must not be in the image, unless the base image has it.
FORBIDDEN = {
    "a compiler": r"usr/(local/)?bin/(.+-)?(gcc|g\+\+|cc|c\+\+|cpp|clang|ld|as|make)(-[\d.]+)?",
    "headers of Python": r"usr/(local/)?include/python.*",
    "pip": r".*/bin/pip[\d.]*|.*/(site|dist)-packages/pip/.*",
    "Poetry": r".*/bin/poetry|opt/poetry.*",
    "uv": r".*/bin/uvx?|opt/uv.*|.*/\.venv/\.lock",
    "git or curl": r".*/bin/(git|curl)",
    "apt's lists": r"var/lib/apt/lists/.+_.+",
    "apt's packages": r"var/cache/apt/.+",
    "a cache": r"(.*/)?\.cache(/.*)?|(root|home|tmp|var/tmp)/.+",
    "a mount of the build": r"(mnt|run/secrets|opt)/.+",
    "the repository's tests": r"app/tests.*",
    "the repository's locks": r"app/(locks.*|poetry\.lock|pyproject\.toml)",
    "the repository's history": r"(.*/)?\.git(/.*)?",
    "a file of secrets": r"(.*/)?(\.env[^/]*|\.?netrc)",
}
# What of these apt/runtime.txt may ask for: torch.compile needs both.
ASKED = {
    "a compiler": r"(gcc|g\+\+|clang)(-\d+)?|build-essential",
    "headers of Python": r"(lib)?python3\.11-dev",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_absent(contents, image, what, seen):
    """No compiler, headers, pip, Poetry, uv, apt lists, caches, tests, locks, .git or .env."""
    listed = re.sub(r"#.*|[:=/]\S+", "", (image.project / "apt/runtime.txt").read_text())
    if any(re.fullmatch(ASKED.get(what, ""), name) for name in re.split(r"[\s|]+", listed) if name):
        seen("apt/runtime.txt asks for it")
        return
    added = contents.files.keys() - contents.base_files.keys()
    found = sorted(path for path in added if re.fullmatch(FORBIDDEN[what], path))
    found = [path for path in found if not contents.files[path].is_folder]
    for line in system.listed(image.project):
        found = [path for path in found if not fnmatch.fnmatchcase(f"/{path}", line)]
    assert not found, f"{what}: {found[:5]}"
    seen(f"none of {len(added)} paths is {what}")
